"""A project's training: its rows are checked before anything is started, and its adapter is trained or found again."""

from dataclasses import dataclass

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from cluster.storage.runs import Run
from tandem.console import Console
from tandem.pipeline.served_copies import checks_of_training
from tandem.project.project import Project
from training.config import TrainingConfig
from training.data.progress import Report
from training.data.rows import DataReport, check_rows
from training.model.base_weights import check_base_weights
from training.publish.publish import digest_sources, known_fingerprints, result_kind, was_trained_on
from training.run import find_interrupted, resume_training, run_training
from training.trainer.fit import TrainingReporter
from training.trainer.trackers import check_trackers_installed


@dataclass(frozen=True)
class CheckedRows:
    """Training rows that were read and checked, and the digest of the sources that they were read from."""

    report: DataReport
    digest: str

    def if_unchanged(self, config: TrainingConfig) -> DataReport | None:
        """The rows, where the sources of `config` still hold what was read."""
        return self.report if digest_sources(config) == self.digest else None


def check_training(project: Project, progress: Report | None = None) -> CheckedRows:
    """Read the rows. Raises TandemError where the adapter could not be served or a row is bad."""
    check_rank(project)
    check_trackers_installed(project.training)
    check_sources(project)
    check_base_weights(project.model)
    return read_rows(project, progress)


def check_rank(project: Project) -> None:
    """Raises TandemError where the adapter to be trained could not be served."""
    rank, max_rank = project.training.rank, project.serving.max_lora_rank
    if result_kind(project.training) == "adapter" and rank > max_rank:
        raise TandemError(
            f"`training.rank` is {rank} and `serving.max_lora_rank` is {max_rank}: the adapter could not be served.",
            "A rank that is served.",
            "Raise `serving.max_lora_rank`, or lower `training.rank`.",
        )


def check_sources(project: Project) -> None:
    """Raises TandemError where an arm has to be trained and the project names no training data."""
    if project.tunes and not project.training.data:
        raise TandemError(
            f"{project.path} names no training data.",
            "`training.data`: a file with rows, such as JSONL, CSV or Parquet.",
            "Name one, or take `tuned`, `tuned_retrieval` and `raft` out of `evaluation.arms`.",
        )


def read_rows(project: Project, progress: Report | None = None) -> CheckedRows:
    """Read and check every training row.

    Args:
        progress: gets a line from time to time where it takes long.

    Raises:
        TandemError: as `training.data.check_rows`.
    """
    digest = digest_sources(project.training)
    return CheckedRows(check_rows(project.training, progress), digest)


def train(
    project: Project, run: Run, console: Console, resuming: bool = False, rows: CheckedRows | None = None
) -> AdapterVersion:
    """Train and publish an adapter, or find the version that was made from exactly these inputs.

    Args:
        resuming: the run is one that did not end; it continues from its last checkpoint.
        rows: the rows of this project's training, so that they are not read again. They are not used where their
            sources have changed since.
    """
    check_sources(project)
    known = find_trained(project, rows, console)
    if known:
        console.stage("train", f"reused {known.name}@{known.version}: data, model and settings have not changed")
        return known
    version = _train(project, run, console, resuming, rows)
    loss = version.manifest.metrics.get("held_out_loss")
    measured = f", held-out loss {loss:.3f}" if loss is not None else ""
    console.stage("train", f"published {version.name}@{version.version}{measured} -> {version.path}")
    return version


def find_trained(project: Project, rows: CheckedRows | None, console: Console | None = None) -> AdapterVersion | None:
    """The newest version that was made from exactly these inputs, if there is one.

    A version of an earlier release that read some of the same rows otherwise is none; `console` gets a line with it.

    Raises:
        TandemError: `rows` are not given or their sources have changed, and a row is bad.
    """
    fingerprints = known_fingerprints(project.training, project.model, digest_model(project.model))
    versions = Registry.of(project.storage).find(project.adapter, *fingerprints)
    if not versions:
        return None
    report = (rows.if_unchanged(project.training) if rows else None) or check_rows(project.training)
    for version in versions:
        if was_trained_on(version.path, report.rows):
            return version
        if console:
            name = f"{version.name}@{version.version}"
            console.stage("train", f"{name} was trained on rows that are read differently now: it is trained anew")
    return None


def interrupted_training(project: Project) -> Run:
    """The newest training of this project that did not end, opened again; inside no Ray session.

    Raises:
        TandemError: there is none, it still runs, or data or settings are no longer what it was started with.
    """
    storage = project.storage
    storage.fetch(project.name, "*/job.json", "*/manifest.json")
    return find_interrupted(
        storage.runs(project.name), project.training, project.model, digest_model(project.model), storage
    )


def _train(project: Project, run: Run, console: Console, resuming: bool, rows: CheckedRows | None) -> AdapterVersion:
    config, model, adapter = project.training, project.model, project.adapter
    if config.parity_tolerance is None and checks_of_training(project):
        # A version that is live before its check on a copy would be refused there in the place of the one before.
        config = config.model_copy(update={"parity_tolerance": "auto"})
    reporter = TrainingReporter(console.progress, lambda text: console.stage("train", text))
    if resuming:
        return resume_training(config, model, adapter, project.storage, run, reporter)
    data = rows.if_unchanged(config) if rows else None
    return run_training(config, model, adapter, project.storage, run, reporter, data)
