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
from random import Random
from typing import Any

from cluster.errors import TandemError
from cluster.models import digest_model, find_model
from cluster.registry import AdapterVersion
from cluster.runs import Run
from cluster.storage import Storage
from training.config import TrainingConfig
from training.data import DataReport, Row, check_rows
from training.job import ADAPTER, HELD_OUT_ROWS, METRICS, SUMMARY, TRAINING_ROWS, Job
from training.publish import fingerprint, publish, template_hash, write_trained

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

    report = check_rows(_data(config))
    tokenizer = _load_tokenizer(model)
    examples = encode_rows(report, tokenizer, min(config.sequence_length, _max_positions(model)))
    kept_out = held_out_rows(config, len(examples))
    trained = [number for number in range(len(examples)) if number not in kept_out]
    rows = Examples.of([examples[number] for number in trained])
    rows.save(folder / TRAINING_ROWS)
    Examples.of([examples[number] for number in sorted(kept_out)]).save(folder / HELD_OUT_ROWS)
    job = Job(config, model, folder, num_steps=0)
    packs = plan_epoch(rows.lengths, job.capacity, job.packs_per_step, config.seed, epoch=0)
    job = Job(config, model, folder, num_steps=config.epochs * len(packs) // job.packs_per_step)
    deepspeed_config(config, job.num_steps)
    return Prepared(job, report, [report.rows[number] for number in trained], template_hash(tokenizer))


def held_out_rows(config: TrainingConfig, num_rows: int) -> set[int]:
    """The rows that are not trained on, drawn by the seed: the asked share, at least one, never the last one left."""
    if config.held_out == 0 or num_rows < 2:
        return set()
    number = min(num_rows - 1, max(1, round(config.held_out * num_rows)))
    return set(Random(f"held-out-{config.seed}").sample(range(num_rows), number))


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


def _data(config: TrainingConfig) -> Path:
    if not config.data or config.data[0].path is None:
        raise TandemError(
            "The project names no training data.",
            "`training.data`: a JSONL file with chat messages or prompt and completion.",
            "Name one.",
        )
    return config.data[0].path


def _load_tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    find_model(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise TandemError(
            f"The tokenizer of {model} cannot be loaded ({str(error).splitlines()[0]}).",
            "A model with a fast tokenizer, in a folder or on the hub.",
            "Set `model` in the project file.",
        ) from error
    if not tokenizer.chat_template:
        raise TandemError(
            f"The model {model} has no chat template.",
            "A model that was made for chat, or a tokenizer with a `chat_template`.",
            "Name an instruct model, or put chat_template.jinja beside the tokenizer.",
        )
    return tokenizer


def _max_positions(model: str) -> int:
    from transformers import AutoConfig

    positions = getattr(AutoConfig.from_pretrained(model).get_text_config(), "max_position_embeddings", None)
    return int(positions) if positions else 1 << 30
