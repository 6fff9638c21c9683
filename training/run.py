"""Train an adapter and publish it: everything is checked first, then the workers start, then one version appears.

with ray_session(ClusterConfig()):
    version = train(config, model, "helpdesk", storage, run, print)
"""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.models import digest_model
from cluster.registry import AdapterVersion
from cluster.runs import Run
from cluster.storage import Storage
from training.config import TrainingConfig
from training.data import DataReport, Row, check_rows, warn_of
from training.job import ADAPTER, HELD_OUT_ROWS, METRICS, SUMMARY, TRAINING_ROWS, Job
from training.publish import fingerprint, publish, template_hash, write_trained
from training.tokenizer import load_tokenizer, longest_row

__all__ = ["fingerprint", "train"]

_POLL_S = 0.25


def train(
    config: TrainingConfig,
    model: str,
    adapter: str,
    storage: Storage,
    run: Run,
    on_progress: Callable[[str], None],
) -> AdapterVersion:
    """Train `adapter` on `config.data` and publish it as a new version; inside an open Ray session.

    Raises:
        TandemError: bad rows, a model that cannot be loaded, settings that contradict each other, or a training that
            failed more often than `config.max_failures`. Nothing is published then, nor after KeyboardInterrupt.
    """
    prepared = prepare(config, model, run.path)
    job = prepared.job
    on_progress(f"{len(prepared.trained)} rows, {job.num_steps} steps, {config.workers.max} workers")
    fit(job, on_progress)
    summary = json.loads((run.path / SUMMARY).read_text())
    if "error" in summary:
        raise TandemError(*summary["error"])
    write_trained(prepared.trained, run.path / ADAPTER)
    return publish(
        storage, adapter, run.path / ADAPTER, config, model=model, base_digest=digest_model(model),
        template=prepared.template, prompt_hash=prepared.report.prompt_hash,
        metrics={"num_rows": len(prepared.trained), "num_steps": job.num_steps, **summary},
    )  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A job whose rows are encoded and lie in the run folder."""

    job: Job
    report: DataReport
    trained: list[Row]
    template: str


def prepare(config: TrainingConfig, model: str, folder: Path) -> Prepared:
    """Check and encode every row, set some aside, and count the steps; no worker is needed for it.

    Raises:
        TandemError: as `train`.
    """
    from training.examples import Examples
    from training.packing import plan_epoch
    from training.plan import deepspeed_config
    from training.template import encode_rows

    report = check_rows(config)
    tokenizer = load_tokenizer(model)
    data = encode_rows(report, tokenizer, longest_row(config, model), config.max_bad_rows)
    warn_of(data.left_out)
    trained, held_out = data.split(config)
    rows = Examples.of_rows(trained)
    rows.save(folder / TRAINING_ROWS)
    Examples.of_rows(held_out).save(folder / HELD_OUT_ROWS)
    job = Job(config, model, folder, num_steps=0)
    packs = plan_epoch(rows.lengths, job.capacity, job.packs_per_step, config.seed, epoch=0)
    job = Job(config, model, folder, num_steps=config.epochs * len(packs) // job.packs_per_step)
    deepspeed_config(config, job.num_steps)
    return Prepared(job, report, [each.row for each in trained], template_hash(tokenizer))


def fit(job: Job, on_progress: Callable[[str], None]) -> None:
    """Run the workers to the end, telling each epoch as it is finished.

    Ray Train runs in a thread of its own: in the main thread it would take over Ctrl-C for the rest of the process.

    Raises:
        TandemError: the workers failed more often than they may.
    """
    outcome: Future[None] = Future()
    threading.Thread(target=_settle, args=(outcome, job), daemon=True).start()
    for line in _epochs(job.folder / METRICS, outcome):
        held_out = f", held-out {line['held_out_loss']:.4f}" if "held_out_loss" in line else ""
        on_progress(
            f"epoch {line['epoch']}/{job.config.epochs}: loss {line['epoch_loss']:.4f}{held_out}, "
            f"{line['epoch_tokens_per_s']:,.0f} tokens/s"
        )
    outcome.result()


def _settle(outcome: "Future[None]", job: Job) -> None:
    try:
        _fit(job)
        outcome.set_result(None)
    except BaseException as error:  # noqa: BLE001 - raised again in the main thread
        outcome.set_exception(error)


def _fit(job: Job) -> None:
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from training.worker import run_worker

    config = job.config
    use_gpu = ray.cluster_resources().get("GPU", 0) >= config.workers.max
    trainer = TorchTrainer(
        run_worker,
        train_loop_config=job.to_dict(),
        scaling_config=ScalingConfig(num_workers=config.workers.max, use_gpu=use_gpu),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(job.folder),
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise _training_failed(error, job) from error


def _epochs(path: Path, outcome: "Future[None]") -> Iterator[dict[str, Any]]:
    """The lines about whole epochs, as the first worker appends them, until the outcome is known."""
    position = 0
    while True:
        running = not outcome.done()
        if path.exists():
            with path.open() as file:
                file.seek(position)
                text = file.read()
            complete = text.rfind("\n") + 1
            position += len(text[:complete].encode())
            yield from (line for line in map(json.loads, text[:complete].splitlines()) if "epoch_loss" in line)
        if not running:
            return
        wait([outcome], _POLL_S)


def _training_failed(error: BaseException, job: Job) -> TandemError:
    last = str(error).strip().splitlines()[-1]
    return TandemError(
        f"The training failed and was started again {job.config.max_failures} times; the last error was: {last}",
        "Workers that run to the end.",
        f"The whole error stands in {_write_log(error, job)}.",
    )


def _write_log(error: BaseException, job: Job) -> Path:
    path = job.folder / "error.txt"
    path.write_text(f"{error}\n")
    return path
