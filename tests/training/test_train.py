"""Real trainings: Ray Train, two workers, DeepSpeed ZeRO-2 over gloo, a published adapter."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from cluster.config import ClusterConfig
from cluster.errors import TandemError
from cluster.registry.registry import AdapterVersion, Registry, UnknownAdapter
from cluster.session import ray_session
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from tests.training.served import load_served, served_dtype, served_logprobs
from training.config import TrainingConfig
from training.publish.publish import fingerprint
from training.run import prepare_run, resume_training, run_training
from training.trainer.fit import TrainingReporter
from training.trainer.job import local_folder
from training.trainer.metrics import read_metrics

pytestmark = pytest.mark.slow

CITIES = ("Paris", "Rome", "Oslo", "Cairo", "Lima", "Quito", "Delhi", "Tokyo", "Accra", "Minsk", "Sofia", "Riga")


class Training:
    """One training with all that it left."""

    def __init__(self, folder: Path, model: Path, data: Path, **settings: object) -> None:
        self.storage = Storage(folder / "runs")
        self.config = TrainingConfig.model_validate({
            "data": data, "precision": "fp32", "rank": 4, "epochs": 20, "learning_rate": 1e-2, "micro_batch_size": 1,
            "sequence_length": 128, "held_out": 0.2, "max_failures": 1, **settings,
        })  # fmt: skip
        self.model, self.run, self.progress = model, Run.start(self.storage, "test", "train", {}), list[str]()

    def start(self, on_progress: Callable[[str], None] = lambda _: None) -> AdapterVersion:
        def tell(line: str) -> None:
            self.progress.append(line)
            on_progress(line)

        return run_training(
            self.config, str(self.model), "cities", self.storage, self.run, TrainingReporter(tell, tell)
        )

    @property
    def num_steps_done(self) -> int:
        """Steps, with those that were done again."""
        return (self.run.path / "metrics.jsonl").read_text().count('"loss"')

    @property
    def losses(self) -> dict[int, float]:
        """The loss of each step; where a step was done again after a failure, the last time."""
        lines = map(json.loads, (self.run.path / "metrics.jsonl").read_text().splitlines())
        return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = [{"prompt": f"City {n}?", "completion": city, "source": f"{n}.md"} for n, city in enumerate(CITIES)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with ray_session(ClusterConfig()):
        yield


@pytest.fixture(scope="module")
def trained(
    session: None, tmp_path_factory: pytest.TempPathFactory, model_folder: Path, data: Path
) -> tuple[Training, AdapterVersion]:
    training = Training(tmp_path_factory.mktemp("trained"), model_folder, data)
    return training, training.start()


def test_a_training_publishes_a_version_that_has_learnt(trained: tuple[Training, AdapterVersion]) -> None:
    training, version = trained
    losses = list(training.losses.values())
    assert losses[-1] < 0.8 * losses[0]
    assert " step 1/" in training.progress[0]
    manifest = version.manifest
    registry = Registry(training.storage.adapters)
    assert registry.get("cities", version.version).path == version.path
    with pytest.raises(UnknownAdapter):
        registry.resolve("cities")  # it goes live when it has been found to be served as it was trained
    assert manifest.fingerprint == fingerprint(training.config, manifest.base_model, manifest.base_digest)
    assert manifest.metrics["held_out_loss"] > 0
    assert {"ray", "torch", "deepspeed", "peft", "transformers"} <= manifest.versions.keys()
    rows = [json.loads(line) for line in (version.path / "trained.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    assert len({row["sources"][0] for row in rows}) == 10


def test_the_model_card_shows_settings_losses_and_how_to_serve(trained: tuple[Training, AdapterVersion]) -> None:
    from PIL import Image

    training, version = trained
    card = (version.path / "README.md").read_text()
    assert "10 rows of rows.jsonl; 20% of the rows were held out" in card
    assert version.manifest.data_digest in card
    assert f"{version.manifest.metrics['epoch_loss']:.4f}" in card
    assert "| rank | 4 |" in card
    assert "base:cities" in card
    assert str(training.run.path) not in card
    for name in ("loss.png", "learning_rate.png"):
        picture = Image.open(version.path / name).convert("RGB")
        assert len(picture.getcolors(1 << 20) or []) > 10, "axes and a curve"


def test_the_published_adapter_loads_in_peft_and_gives_the_recorded_log_probabilities(
    trained: tuple[Training, AdapterVersion],
) -> None:
    from transformers import AutoModelForCausalLM

    training, version = trained
    tuned = load_served(str(training.model), version.path)
    base = AutoModelForCausalLM.from_pretrained(training.model, dtype=served_dtype(str(training.model))).eval()
    lines = [json.loads(line) for line in (version.path / "parity.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert line["dtype"] == "float32", "the log-probabilities are the training engine's"
        for model, recorded in ((tuned, line["logprobs"]), (base, line["base_logprobs"])):
            torch.testing.assert_close(torch.tensor(recorded), served_logprobs(model, line), atol=0.05, rtol=0.02)


def test_where_only_the_publishing_failed_no_worker_is_started_again(
    trained: tuple[Training, AdapterVersion], tmp_path: Path
) -> None:
    training, version = trained
    storage, steps, before = Storage(tmp_path / "other"), training.num_steps_done, train_workers()
    storage.adapters.mkdir(parents=True)
    (storage.adapters / "cities").write_text("in the way")
    arguments = training.config, str(training.model), "cities", storage, training.run, TrainingReporter()
    with pytest.raises(OSError, match="cities"):
        resume_training(*arguments)
    (storage.adapters / "cities").unlink()
    again = resume_training(*arguments)
    assert training.num_steps_done == steps and train_workers() <= before
    assert again.manifest.metrics == version.manifest.metrics
    for name in ("adapter_model.safetensors", "parity.jsonl"):
        assert (again.path / name).read_bytes() == (version.path / name).read_bytes(), name


@pytest.mark.matrix
@pytest.mark.parametrize("method", ["full", "dora"])
def test_what_cannot_be_an_adapter_is_published_as_a_whole_model(
    session: None, tmp_path: Path, model_folder: Path, data: Path, method: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    version = Training(tmp_path, model_folder, data, method=method, epochs=6).start()
    assert version.manifest.kind == "merged"
    assert not (version.path / "adapter_config.json").exists()
    assert (version.path / "adapter" / "adapter_config.json").exists() == (method == "dora")
    model, base = (
        AutoModelForCausalLM.from_pretrained(path, dtype=served_dtype(str(model_folder)))
        for path in (version.path, model_folder)
    )
    assert any((new != old).any() for new, old in zip(model.parameters(), base.parameters(), strict=True))
    assert AutoTokenizer.from_pretrained(version.path).get_chat_template()
    line = json.loads((version.path / "parity.jsonl").read_text().splitlines()[0])
    for served, recorded in ((model, line["logprobs"]), (base, line["base_logprobs"])):
        expected = served_logprobs(served.eval(), line)
        torch.testing.assert_close(torch.tensor(recorded), expected, atol=0.05, rtol=0.02)


@pytest.mark.matrix
def test_a_killed_worker_is_replaced_and_the_result_is_the_same(
    trained: tuple[Training, AdapterVersion], tmp_path: Path, model_folder: Path, data: Path
) -> None:
    undisturbed, version = trained
    training = Training(tmp_path, model_folder, data)
    killer = threading.Thread(target=kill_a_worker, args=(training.run.path / "metrics.jsonl",))
    killer.start()
    again = training.start()
    killer.join()
    assert training.num_steps_done > undisturbed.num_steps_done, "the worker was killed too late"
    assert training.losses == undisturbed.losses
    assert again.manifest.fingerprint == version.manifest.fingerprint
    for name in ("adapter_model.safetensors", "parity.jsonl", "trained.jsonl", "README.md", "loss.png"):
        assert (again.path / name).read_bytes() == (version.path / name).read_bytes(), name


@pytest.mark.matrix
def test_a_loss_that_is_no_number_ends_the_training_and_publishes_nothing(
    session: None, tmp_path: Path, model_folder: Path, data: Path
) -> None:
    training = Training(tmp_path, model_folder, data, learning_rate=1e30, max_grad_norm=1e30, epochs=4)
    with pytest.raises(TandemError, match="The training diverged: the loss became"):
        training.start()
    assert Registry(training.storage.adapters).names() == []


@pytest.mark.matrix
def test_early_stopping_publishes_the_best_weights_and_the_best_checkpoints_are_kept(
    session: None, tmp_path: Path, model_folder: Path, data: Path
) -> None:
    from safetensors.torch import load_file

    training = Training(
        tmp_path, model_folder, data, early_stopping=3, eval_steps=2, learning_rate=3e-2, epochs=60,
        checkpoint_steps=4, keep_checkpoints=2, keep_by="held_out_loss",
    )  # fmt: skip
    version = training.start()
    lines = read_metrics(training.run.path / "metrics.jsonl")
    losses = {line["step"]: line["held_out_loss"] for line in lines if "held_out_loss" in line}
    best = min(losses, key=losses.__getitem__)
    metrics = version.manifest.metrics
    assert metrics["held_out_loss"] == losses[best]
    assert metrics["num_steps_done"] == max(losses) == best + 2 * 3 < metrics["num_steps"]
    kept = load_file(training.run.path / "best.safetensors")
    published = load_file(version.path / "adapter_model.safetensors")
    assert sorted(weight.sum().item() for weight in kept.values()) == sorted(w.sum().item() for w in published.values())

    saved = [line["step"] for line in lines if "checkpoint_stall_s" in line]
    there = {int(path.name.split("-")[1]) for path in (training.run.path / "checkpoints").glob("step-*")}
    assert there == {*sorted(saved, key=losses.__getitem__)[:2], *there & {saved[-1]}}


@pytest.mark.matrix
def test_a_tuning_publishes_the_best_of_its_trials(
    session: None, tmp_path: Path, model_folder: Path, data: Path
) -> None:
    space = {"learning_rate": [1e-2, 1e-9], "rank": [4]}
    training = Training(tmp_path, model_folder, data, tune={"space": space, "reduction_factor": 2}, held_out_data=data)
    version = training.start()
    good, bad = json.loads((training.run.path / "search" / "search.json").read_text())
    assert (good["settings"], good["share"]) == ({"learning_rate": 1e-2, "rank": 4}, 1.0)
    assert bad["share"] < 1 and bad["held_out_loss"] > good["held_out_loss"]
    assert version.manifest.metrics["held_out_loss"] == good["held_out_loss"]
    assert version.manifest.fingerprint == fingerprint(training.config, str(model_folder), version.manifest.base_digest)
    assert any("trial 2 of 2" in line and "stopped after" in line for line in training.progress)
    assert not train_workers(), "a trial that is stopped leaves no worker"
    trials = [path.name for path in (training.run.path / "search").iterdir() if "-trial-" in path.name]
    assert len(trials) == 2 and not any(local_folder(name).exists() for name in trials), "and no file on its node"


@pytest.mark.matrix
def test_what_a_worker_finds_wrong_is_told_and_not_tried_again(
    session: None, tmp_path: Path, model_folder: Path, data: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_folder, model)
    training = Training(tmp_path, model, data, max_failures=3)
    job = prepare_run(training.config, str(model), training.run.path)
    (model / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(TandemError, match="cannot be loaded"):
        resume_training(training.config, str(model), "cities", training.storage, training.run, TrainingReporter())
    assert not (job.folder / "error.txt").exists()
    assert Registry(training.storage.adapters).names() == []


def kill_a_worker(metrics: Path) -> None:
    """SIGKILL one of our training workers after the first checkpoint, with epochs done that no checkpoint holds.

    The epochs are short: the workers are held while it is looked how far they are.
    """
    before, workers = train_workers(), set[psutil.Process]()
    while len(workers) < 2:
        time.sleep(0.1)
        workers = train_workers() - before
    while True:
        time.sleep(0.003)
        num_epochs = metrics.read_text().count("epoch_loss") if metrics.exists() else 0
        if num_epochs < 4:
            continue
        for worker in workers:
            worker.suspend()
        if metrics.read_text().count("epoch_loss") % 3:
            break
        for worker in workers:
            worker.resume()
    workers.pop().kill()
    workers.pop().resume()


def train_workers() -> set[psutil.Process]:
    """Our training workers, those of an earlier training that still end among them."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "RayTrainWorker" in "".join(process.cmdline()):
                found.add(process)
    return found
