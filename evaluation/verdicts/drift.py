"""What changed documents touch: the questions that are asked again, and whether the verdict still stands.

A question is touched where a changed, new or deleted document is one of its sources, was in front of an arm the last
time, or is found for it now. The other answers stand as they were.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cluster.errors import TandemError
from evaluation.questions.question import Question
from evaluation.questions.sources import same_document
from evaluation.results import SCHEMA_VERSION, Drift, Recommendation, Report, Row


@dataclass(frozen=True)
class Changes:
    """Names of documents, as the collection knows them."""

    changed: frozenset[str]
    added: frozenset[str]
    deleted: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.changed | self.added | self.deleted

    @property
    def present(self) -> frozenset[str]:
        """Those that a search can find now."""
        return self.changed | self.added


def changes_between(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """What differs between two states of a collection, each a digest by name."""
    return Changes(
        changed=frozenset(name for name in before if name in after and before[name] != after[name]),
        added=frozenset(after.keys() - before.keys()),
        deleted=frozenset(before.keys() - after.keys()),
    )


def touched_questions(rows: Iterable[Row], changes: Changes, found_now: Mapping[str, Collection[str]]) -> set[str]:
    """Ids of the questions to be asked again.

    Args:
        rows: of the earlier report.
        found_now: names of the documents that a search finds now, by question id.
    """
    return {row.question.id for row in rows if _touches(row, changes, found_now.get(row.question.id, ()))}


def _touches(row: Row, changes: Changes, found_now: Collection[str]) -> bool:
    read = {name for reply in row.replies.values() for each in reply.citations for name in (each.source, *each.also_in)}
    if read & changes.all or changes.present & set(found_now):
        return True
    return any(same_document(name, source) for source in row.question.sources for name in changes.all)


def make_drift(
    since: str, changes: Changes, asked: Collection[str], before: Recommendation, after: Recommendation
) -> Drift:
    """The verdict of then beside that of now."""
    return Drift(
        since=since,
        changed=sorted(changes.changed),
        added=sorted(changes.added),
        deleted=sorted(changes.deleted),
        asked=sorted(asked),
        before=before.headline,
        stands=(before.outcome, before.arm) == (after.outcome, after.arm),
    )


def read_report(path: Path) -> Report:
    """An earlier report. Raises TandemError where it cannot be read, or is of another version's shape."""
    remedy = "Name another run, or measure anew with `tandem compare`."
    try:
        report = Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TandemError(
            f"{path} cannot be read ({error.strerror}).", "A run of `tandem compare` that has ended.", remedy
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TandemError(
            f"{path} is no report of this version ({'.'.join(map(str, first['loc']))}: {first['msg']}).",
            f"A report.json with schema_version {SCHEMA_VERSION}.",
            remedy,
        ) from None
    if report.schema_version != SCHEMA_VERSION:
        raise TandemError(
            f"{path} is of another version of Tandem (schema_version {report.schema_version}).",
            f"A report.json with schema_version {SCHEMA_VERSION}.",
            remedy,
        )
    return report


def check_same_questions(report: Report, questions: Sequence[Question]) -> None:
    """Raises TandemError where the questions are not those of the earlier report: then there is nothing to compare."""
    if [row.question for row in report.rows] != list(questions):
        raise TandemError(
            f"The questions have changed since {report.run}.",
            "The same questions, so that only the documents differ.",
            "Measure anew with `tandem compare`; later runs can name that one.",
        )
