"""Run the workers of a job under Ray Train, and show their progress: a bar, the loss, tokens per second, time left."""

import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.full_disk import explain_full_disk
from cluster.storage.buckets import BucketUnreachable, open_filesystem
from cluster.storage.run_copies import RunCopy
from training.data.progress import format_duration
from training.plan.placement import worker_environment
from training.trainer.job import METRICS_FILE, SUMMARY_FILE, TrainingJob, local_folder
from training.trainer.worker_errors import MAKE_ROOM, find_error

_POLL_S = 0.25
_PULL_S = 2.0
_BAR_WIDTH = 20
CHECKPOINTS_FOLDER = "checkpoints"


def _ignore(_: str) -> None:
    pass


@dataclass(frozen=True)
class TrainingReporter:
    """Shows a training to the user: `progress` replaces the line it showed before, `note` adds a line that stays."""

    progress: Callable[[str], None] = _ignore
    note: Callable[[str], None] = _ignore


def run_job(
    job: TrainingJob,
    reporter: TrainingReporter,
    on_metrics: Callable[[dict[str, Any]], None] = lambda _: None,
    copy: RunCopy | None = None,
) -> None:
    """Run the workers to the end, and report each step and each restart; `on_metrics` gets each line of metrics.jsonl.

    With `copy` the workers read the folder's files from a bucket, and write their own files there.

    Ray Train runs in a thread of its own: in the main thread it would take over Ctrl-C for the rest of the process.

    Raises:
        DiskFull: a disk is full, whichever process found it out. The workers are not started again for it.
        TandemError: the workers failed more often than they may.
    """
    (job.folder / SUMMARY_FILE).unlink(missing_ok=True)
    if copy:
        copy.remove(SUMMARY_FILE)
        copy.push()
    metrics = job.folder / METRICS_FILE
    position = metrics.stat().st_size if metrics.exists() else 0
    outcome: Future[None] = Future()
    attempt = f"{job.folder.name}-{uuid.uuid4().hex}"
    threading.Thread(target=_run_in_thread, args=(outcome, job, attempt), daemon=True).start()
    progress = ProgressLine(job.num_steps)
    for line in _follow_metrics(metrics, position, outcome, copy, attempt):
        on_metrics(line)
        if "note" in line:
            reporter.note(line["note"])
        elif "loss" in line:
            reporter.progress(progress.render(line))
    remove_local_files(job)
    if copy:
        copy.pull()
    outcome.result()


def remove_local_files(job: TrainingJob) -> None:
    """Delete the files that workers left on this node when they were killed."""
    folder = local_folder(job.folder.name)
    for leftover in (folder, *folder.parent.glob(f"{folder.name}-rank-*")):
        shutil.rmtree(leftover, ignore_errors=True)


def _run_in_thread(outcome: "Future[None]", job: TrainingJob, attempt: str) -> None:
    try:
        _run_ray_train(job, attempt)
        outcome.set_result(None)
    except BaseException as error:  # noqa: BLE001 - raised again in the main thread
        outcome.set_exception(error)


def _run_ray_train(job: TrainingJob, attempt: str) -> None:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    # The worker imports Ray at its top, which must not happen before a Ray session is open.
    from training.trainer.worker import run_worker

    config = job.config
    filesystem, path = open_filesystem(job.store) if job.store else (None, str(job.folder))
    placement = job.placement
    scaling = {"use_gpu": placement.kind == "gpu", **config.ray_options}
    workers = config.workers.max if config.workers.min == config.workers.max else tuple(dict(config.workers).values())
    by_loss = config.keep_by == "held_out_loss"
    trainer = TorchTrainer(
        run_worker,
        train_loop_config={"job": job.to_dict(), "attempt": attempt},
        scaling_config=ScalingConfig(num_workers=workers, **scaling),
        torch_config=TorchConfig(backend=placement.backend),
        run_config=RunConfig(
            name=CHECKPOINTS_FOLDER,
            worker_runtime_env={"env_vars": worker_environment(placement, os.environ)},
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.keep_checkpoints,
                checkpoint_score_attribute="held_out_loss" if by_loss else None,
                checkpoint_score_order="min" if by_loss else "max",
            ),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if not (job.folder / SUMMARY_FILE).exists():  # bad input, of which the caller reads there
            raise _training_failed_error(error, job) from error


def _follow_metrics(
    path: Path, position: int, outcome: "Future[None]", copy: RunCopy | None, attempt: str
) -> Iterator[dict[str, Any]]:
    """The lines that the first worker appends behind `position`, until the outcome is known.

    Raises:
        TandemError: a worker posted it.
    """
    while True:
        running = not outcome.done()
        if error := find_error(attempt):
            raise error
        if copy:
            with suppress(BucketUnreachable):
                copy.pull(METRICS_FILE)
        if path.exists():
            with path.open() as file:
                file.seek(position)
                text = file.read()
            complete = text.rfind("\n") + 1
            position += len(text[:complete].encode())
            yield from (json.loads(line) for line in text[:complete].splitlines() if line)
        if not running:
            return
        wait([outcome], _PULL_S if copy else _POLL_S)


def _training_failed_error(error: BaseException, job: TrainingJob) -> TandemError:
    log = job.folder / "error.txt"
    if full_disk := explain_full_disk(error, job.folder, MAKE_ROOM):
        return full_disk
    log.write_text(f"{error}\n")
    return TandemError(
        f"The training failed and was started again {job.config.max_failures} times; the last error was: "
        f"{str(error).strip().splitlines()[-1]}",
        "Workers that run to the end.",
        f"The whole error is in {log}; `tandem train --resume` continues from the last checkpoint.",
    )


class ProgressLine:
    """Renders the recorded values of each step as a progress bar."""

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._first: tuple[int, float] | None = None
        self._tokens = 0

    def render(self, values: dict[str, Any]) -> str:
        """The progress bar after a step; speed and time left are means since the first step that was rendered."""
        step, now = int(values["step"]), float(values["time"])
        if self._first is None or step <= self._first[0]:
            self._first, self._tokens = (step, now), 0
        else:
            self._tokens += int(values["tokens"])
        filled = _BAR_WIDTH * step // self._num_steps
        bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
        return f"{bar} step {step}/{self._num_steps}, loss {values['loss']:.4f}{self._speed(step, now)}"

    def _speed(self, step: int, now: float) -> str:
        """Nothing after the first step, whose time is not that of a step."""
        assert self._first is not None
        steps, seconds = step - self._first[0], now - self._first[1]
        if not steps or seconds <= 0:
            return ""
        seconds_left = seconds / steps * (self._num_steps - step)
        return f", {self._tokens / seconds:,.0f} tokens/s, {format_duration(seconds_left)} left"
