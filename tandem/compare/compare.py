"""`tandem compare`: the list of its steps.

Base and retrieval are measured first; a training is started only if they give wrong answers of a kind that training can
correct. `spend_all` measures every arm anyway. What was trained or answered before from the same inputs is not done
again, so that a comparison that was broken off continues where it stopped. Where only other endpoints are asked, no
Ray session, engine or document store is started.
"""

from contextlib import ExitStack
from pathlib import Path

from cluster.errors import TandemError
from cluster.hardware import read_hardware
from cluster.registry.registry import Registry
from cluster.session import ray_session
from cluster.storage.runs import Run
from evaluation.measure_again import measure_again
from evaluation.results import Report
from evaluation.verdicts.drift import changes_between, read_report
from serving.deploy.run import validate_serving as check_serving
from tandem.compare.arm_training import adapters_of
from tandem.compare.check import check_data
from tandem.compare.mlflow_results import log_to_mlflow
from tandem.compare.steps import Comparison
from tandem.compare.tracked_results import log_to_trackers
from tandem.console import Console
from tandem.pipeline.document_copies import forgotten_names, remove_answers
from tandem.pipeline.documents import milvus
from tandem.pipeline.endpoint import known_hardware, on_loopback
from tandem.pipeline.room import check_adaptable, check_room
from tandem.pipeline.runs import find_run, read_documents, recorded
from tandem.pipeline.training import check_rank
from tandem.project.project import Project
from training.trainer.trackers import check_trackers_installed


def compare(
    project: Project, console: Console, spend_all: bool = False, fresh: bool = False, since: str | None = None
) -> tuple[Report, Run]:
    """Measure the project's arms on its questions and write the report.

    Args:
        spend_all: train every arm that has to be trained, whatever base and retrieval get wrong.
        fresh: ask every question again, even where the answer is known.
        since: an earlier run, by `find_run`: only what documents that changed since then touch is asked again.

    Raises:
        TandemError: a file, a setting or a service cannot be used; nothing is left running.
    """
    folder = find_run(project, since) if since else None
    earlier = read_report(folder / "report.json") if folder else None
    arms = [arm.name for arm in earlier.arms] if earlier else project.evaluation.arms
    check_trackers_installed(project.training)
    data = check_data(project, console, arms)
    if data.needs_endpoint:
        hardware = known_hardware(project.cluster)
        check_serving(on_loopback(project.serving), project.model, hardware=hardware, retrieves=project.retrieves)
    if project.tunes:
        check_rank(project)
        check_adaptable(project)
    with recorded(project, "compare", console) as run, ExitStack() as services:
        uri = ""
        if data.needs_endpoint:
            uri = services.enter_context(milvus(project))
            services.enter_context(ray_session(project.cluster))
        if project.retrieves:  # what was forgotten on another machine has left its answers on this one
            remove_answers(project, forgotten_names(project))
        comparison = Comparison(project, data, run, uri, console, fresh)
        if data.needs_endpoint:
            check_room(project, read_hardware(), comparison.merged)
        report = run_since(comparison, folder, earlier) if folder and earlier else run_all(comparison, spend_all)
        if project.training.mlflow:
            log_to_mlflow(project.training.mlflow, report, run.path, console)
        log_to_trackers(project.training, report, run.path, console)
        return report, run


def run_all(comparison: Comparison, spend_all: bool) -> Report:
    """Index, decide what is worth training, train, measure, and pass the gates."""
    comparison.index()
    decides, lacks_raft_rows = comparison.decides(spend_all), comparison.lacks_raft_rows()
    staging = None
    if decides or lacks_raft_rows:
        with comparison.serve() as served:
            if decides:
                staging = comparison.decide(served)
                if not staging.trained:
                    return comparison.measure(served, comparison.untrained_arms, staging)
            if lacks_raft_rows:
                comparison.make_raft_rows(served)
    comparison.train()
    with comparison.serve() as served:
        comparison.check_parity(served)
        report = comparison.measure(served, comparison.project.evaluation.arms, staging)
    comparison.pass_gates(report)
    return report


def run_since(comparison: Comparison, folder: Path, earlier: Report) -> Report:
    """Index, ask again what the changes touch, and conclude whether an earlier run's verdict still holds.

    Args:
        folder: the run's; `earlier` is its report.

    Raises:
        TandemError: that run had other questions, has no list of documents, or its adapter is gone.
    """
    before = read_documents(folder)
    comparison.index()
    after = read_documents(comparison.run.path)
    if before is None or after is None:
        raise TandemError(
            f"The run {folder.name} has no list of the documents that it was measured on.",
            "A run of `tandem compare` with retrieval.",
            "Name another run, or measure anew with `tandem compare`.",
        )
    comparison.use(adapters_of(earlier, Registry.of(comparison.project.storage)))
    with comparison.serve() as served:
        arms = comparison.arms(served, [arm.name for arm in earlier.arms])
        report = measure_again(
            comparison.project.evaluation, served.url, arms, comparison.run, comparison.console.progress,
            comparison.setting(), earlier, changes_between(before, after), comparison.retrieved(served, earlier),
            comparison.data.questions,
        )  # fmt: skip
    comparison.announce_report()
    return report
