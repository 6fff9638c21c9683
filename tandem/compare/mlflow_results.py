"""A comparison in MLflow, where `training.mlflow` names one: an MLflow run with the numbers, the report and tags.

The comparison is over by then and its files are written: whatever MLflow does, nothing of it is lost.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from evaluation.results import Report, Share
from tandem.console import Console
from training.trainer.metrics import MLFLOW_EXPERIMENT, MLFLOW_TAG, MLFLOW_VALUES

REPORTS = ("report.html", "report.md", "report.json")
LONGEST_TAG = 5000
"""Characters of a tag's value that MLflow takes."""
WAIT_S = 60.0
"""How long the end of a comparison waits for MLflow."""


def log_to_mlflow(uri: str, report: Report, folder: Path, console: Console) -> None:
    """Log a comparison; a note says where MLflow did not take it.

    Args:
        uri: MLflow's tracking URI.
        folder: the run's, with the report's files.
    """
    problem = ["it did not answer in time"]

    def log() -> None:
        try:
            _log(uri, report, [folder / name for name in REPORTS if (folder / name).is_file()])
            problem.clear()
        except Exception as error:  # noqa: BLE001  # whatever the client raises, the comparison is done
            words = _without_password(" ".join(str(error).split()))
            problem[:] = [f"{type(error).__name__}: {words[:300]}"]

    shown = _without_password(uri)
    # The client asks again for minutes; a thread that the process does not wait for cannot hold up its end.
    sending = threading.Thread(target=log, name="write to MLflow", daemon=True)
    sending.start()
    sending.join(WAIT_S)
    if problem:
        console.stage(
            "mlflow", f"The comparison is not in MLflow at {shown} ({problem[0]}). Its files are in {folder}."
        )
    else:
        console.stage("mlflow", f"The comparison is the run {report.run} of MLflow at {shown}.")


def metrics_of(report: Report) -> dict[str, float]:
    """Every number of the cells and costs that is known, as `ARM/SLICE/NAME` and `ARM/cost/NAME`; shares with their
    interval (`_low`, `_high`) and count (`_n`)."""
    values = {f"{cell.arm}/{cell.slice}/{name}": value for cell in report.cells for name, value in _numbers(cell)}
    values |= {f"{cost.arm}/cost/{name}": value for cost in report.costs for name, value in _numbers(cost)}
    return values | {"num_questions": float(len(report.rows)), "duration_s": report.duration_s}


def tags_of(report: Report) -> dict[str, str]:
    """What was compared and what came of it."""
    tags = {
        MLFLOW_TAG: report.run,
        "tandem.kind": "comparison",
        "tandem.questions_digest": report.questions_digest,
        "tandem.outcome": report.recommendation.outcome,
        "tandem.recommended_arm": report.recommendation.arm or "",
        "tandem.headline": report.recommendation.headline,
        "tandem.git_commit": report.git_commit or "",
        "tandem.index_version": report.index_version or "",
        **{f"tandem.model.{arm.name}": ", ".join(arm.answered_as) or arm.model for arm in report.arms},
        **{f"tandem.version.{name}": version for name, version in report.versions.items()},
    }
    return {name: value[:LONGEST_TAG] for name, value in tags.items() if value}


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def _numbers(measured: BaseModel) -> Iterator[tuple[str, float]]:
    for name in type(measured).model_fields:
        value = getattr(measured, name)
        if isinstance(value, Share):
            parts = {name: value.share, f"{name}_low": value.low, f"{name}_high": value.high, f"{name}_n": value.n}
            yield from ((part, float(number)) for part, number in parts.items() if number is not None)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


def _log(uri: str, report: Report, files: Sequence[Path]) -> None:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(MLFLOW_EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(MLFLOW_EXPERIMENT)
    tags = tags_of(report)
    run = client.create_run(number, tags=tags, run_name=report.run).info.run_id
    created = int(report.created.timestamp() * 1000)
    metrics = [Metric(name, value, created, 0) for name, value in metrics_of(report).items()]
    for start in range(0, len(metrics), MLFLOW_VALUES):
        client.log_batch(run, metrics=metrics[start : start + MLFLOW_VALUES])
    for file in files:
        client.log_artifact(run, str(file))
    client.set_terminated(run)
