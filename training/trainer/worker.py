"""What each Ray Train worker runs: the same loop on every rank, each with its share of the packs."""

import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch

from cluster.errors import TandemError
from cluster.full_disk import explain_full_disk
from cluster.storage.buckets import BucketUnreachable, open_bucket
from cluster.storage.files import write_atomically
from cluster.storage.run_copies import RunCopy
from training.model.light_imports import hidden_packages
from training.model.model import set_worker_threads
from training.trainer.checkpointer import Checkpointer
from training.trainer.collectives import is_true_for_any
from training.trainer.job import HELD_OUT_ROWS_FILE, SUMMARY_FILE, TRAINING_ROWS_FILE, TrainingJob, local_folder
from training.trainer.loop import TrainingDiverged, TrainingLoop
from training.trainer.worker_errors import MAKE_ROOM, find_error, post_error

PUSH_INTERVAL_S = 5.0


def run_worker(settings: dict[str, Any]) -> None:
    """Train to the end, from the last checkpoint if there is one; leaves adapter and summary in the run folder.

    Bad input is not a failure to recover from: the error is written to the summary, where a restarted worker finds it.
    Neither is a full disk, on which no summary can be written: the driver ends the training as soon as it is posted.

    Args:
        settings: `job`, and the driver's `attempt`, under which errors are posted.
    """
    _import_models()
    job, attempt = TrainingJob.from_dict(settings["job"]), settings["attempt"]
    if find_error(attempt):  # the driver has ended this training, and Ray started its workers again
        return
    with _full_disk_posted(job.folder, attempt):
        _train_on_copy(job, attempt)


def _import_models() -> None:
    """Import transformers without scikit-learn, which takes a second and serves one way of generating."""
    with hidden_packages("sklearn"):
        importlib.import_module("transformers.generation.candidate_generator")


@contextmanager
def _full_disk_posted(folder: Path, attempt: str) -> Iterator[None]:
    """Let the driver know of a full disk before Ray knows of the error."""
    try:
        yield
    except Exception as error:
        if explained := explain_full_disk(error, folder, MAKE_ROOM):
            post_error(attempt, explained)
        raise


def _train_on_copy(job: TrainingJob, attempt: str) -> None:
    run, rank = job.folder.name, ray.train.get_context().get_world_rank()
    copy = _pull_copy(job, rank)
    with copy.kept_up(PUSH_INTERVAL_S) if copy else nullcontext():
        _train_rank(replace(job, folder=copy.folder) if copy else job, run, rank, copy, attempt)
    if copy:
        shutil.rmtree(copy.folder, ignore_errors=True)


def _pull_copy(job: TrainingJob, rank: int) -> RunCopy | None:
    """This worker's copy of a run folder in a bucket. The first worker's copy is sent back there as it grows."""
    if job.store is None:
        return None
    copy = RunCopy(open_bucket(job.store), local_folder(f"{job.folder.name}-rank-{rank}"))
    copy.pull(*(("*",) if rank == 0 else (TRAINING_ROWS_FILE, HELD_OUT_ROWS_FILE, SUMMARY_FILE)))
    return copy


def _train_rank(job: TrainingJob, run: str, rank: int, copy: RunCopy | None, attempt: str) -> None:
    context = ray.train.get_context()
    summary = job.folder / SUMMARY_FILE
    if is_true_for_any(summary.exists()):  # a file system or a copy of the folder may show it to some workers only
        return
    set_worker_threads(context.get_local_world_size())
    num_workers = context.get_world_size()
    storage = context.get_storage()

    def send(local: Path, name: str, metrics: dict[str, float], upload: Any, wait: bool) -> None:
        if copy:  # so that the bucket has the metrics up to each checkpoint
            with suppress(BucketUnreachable):
                copy.push()

        def upload_or_post(local: Path, name: str) -> Any:  # runs beside the training, which hears of errors later
            with _full_disk_posted(job.folder, attempt):
                return upload(local, name)

        report_checkpoint(local, name, metrics, upload_or_post, wait)

    checkpoints = Checkpointer(
        storage.storage_filesystem, storage.experiment_fs_path, run, rank, num_workers, context.get_local_rank(), send,
        context.get_local_world_size(),
    )  # fmt: skip
    try:
        loop = TrainingLoop(job, rank, num_workers, _device(job), checkpoints)
        loop.train()
        figures: dict[str, Any] = loop.finish()
    except TrainingDiverged as error:
        checkpoints.close()
        figures = {"error": _error_parts(error)}
    except TandemError as error:
        # Perhaps on this rank alone: the other ranks wait for it, and end when it fails.
        write_atomically(summary, json.dumps({"error": _error_parts(error)}) + "\n")
        raise
    if rank == 0:
        write_atomically(summary, json.dumps(figures) + "\n")


def _device(job: TrainingJob) -> torch.device:
    """The device that the driver placed this worker on.

    Raises:
        TandemError: it is a GPU, and PyTorch cannot use it.
    """
    if job.placement.kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TandemError(
            f"Ray gave this worker a GPU, and PyTorch {torch.__version__} (built for CUDA "
            f"{torch.version.cuda or 'no version'}) cannot use it.",
            "The GPU packages, and a driver for their CUDA, on every node.",
            "Run `tandem doctor --cluster`: it names the node and what is missing there.",
        )
    return ray.train.torch.get_device()


def _error_parts(error: TandemError) -> list[str]:
    """The error as it is written to the summary, from which the driver raises it again."""
    return [error.seen, error.accepted, error.remedy]


def report_checkpoint(local: Path, name: str, metrics: dict[str, float], upload: Any, wait: bool) -> None:
    """Hand a checkpoint to Ray Train, which calls `upload(local, name)` and keeps or deletes it by its metrics."""
    mode = ray.train.CheckpointUploadMode.SYNC if wait else ray.train.CheckpointUploadMode.ASYNC

    def persist(checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        filesystem, path = upload(Path(checkpoint.path), name)
        return ray.train.Checkpoint(path, filesystem)

    ray.train.report(
        metrics,
        checkpoint=ray.train.Checkpoint.from_directory(local),
        checkpoint_dir_name=name,
        checkpoint_upload_mode=mode,
        checkpoint_upload_fn=persist,
        delete_local_checkpoint_after_upload=True,
    )
