"""Earlier comparisons of the same project, beside the one that is reported.

Only the numbers are read from the other runs' report.json, and nothing in them can stop a report: what cannot be read,
or was written by an older version, is listed with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from evaluation.config import ArmName
from evaluation.questions.question import OVERALL
from evaluation.results import SCHEMA_VERSION, Report, Share

MAX_RUNS = 10


@dataclass(frozen=True)
class EarlierRun:
    """What another run found over all questions. `not_comparable`: why its numbers are not shown."""

    run: str
    created: datetime | None = None
    arms: dict[ArmName, Share] = field(default_factory=dict)
    same_questions: bool = False
    not_comparable: str | None = None


def read_earlier_runs(folder: Path, report: Report) -> list[EarlierRun]:
    """The last ten runs under the project's runs folder that came before this report, the newest first.

    A run that cannot be compared stands at the end, with the reason. Nothing is raised for what the folder holds.
    """
    # A run's name holds the time at which it began.
    paths = sorted(folder.glob("*-*/report.json"), key=lambda path: path.parent.name.partition("-")[2], reverse=True)
    runs = [_read(path, report) for path in paths if path.parent.name != report.run][: 2 * MAX_RUNS]
    comparable = [run for run in runs if run.created is not None and run.created < report.created]
    comparable.sort(key=lambda run: run.created or report.created, reverse=True)
    return comparable[:MAX_RUNS] + [run for run in runs if run.not_comparable][:MAX_RUNS]


class _Numbers(BaseModel):
    """The part of a report that is read; questions and answers are passed over."""

    model_config = ConfigDict(extra="ignore")


class _Cell(_Numbers):
    arm: ArmName
    slice: str
    accuracy: Share


class _Summary(_Numbers):
    schema_version: int
    run: str
    created: datetime
    questions_digest: str
    cells: Sequence[_Cell]


class _Version(_Numbers):
    schema_version: int


def _read(path: Path, report: Report) -> EarlierRun:
    name = path.parent.name
    try:
        content = path.read_bytes()
        version = _Version.model_validate_json(content).schema_version
        if version != SCHEMA_VERSION:
            return EarlierRun(name, not_comparable=f"written in format {version}; this one is {SCHEMA_VERSION}")
        summary = _Summary.model_validate_json(content)
    except OSError as error:
        return EarlierRun(name, not_comparable=f"cannot be read: {error.strerror}")
    except ValidationError:
        return EarlierRun(name, not_comparable="its report.json is not a whole report")
    if summary.created.tzinfo is None:
        return EarlierRun(name, not_comparable="its time has no time zone")
    arms = {cell.arm: cell.accuracy for cell in summary.cells if cell.slice == OVERALL}
    return EarlierRun(name, summary.created, arms, summary.questions_digest == report.questions_digest)
