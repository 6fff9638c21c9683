"""What changed documents touch: the questions that are asked again, and whether the verdict still stands.

A question is touched where a changed, new or deleted document is one of its sources, was in front of an arm the last
time, or is found for it now. The other answers are kept, and graded by today's rules.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cluster.errors import TandemError
from evaluation.config import EvaluationConfig
from evaluation.grading.answer_line import is_lined
from evaluation.questions.question import GENERAL, Question
from evaluation.questions.sources import same_document
from evaluation.replies import Reply
from evaluation.results import SCHEMA_VERSION, Drift, Recommendation, Report, Row

ASKED_WITH = ("temperature", "max_tokens", "thinking_tokens", "answer_line", "few_shot", "repeats")
"""Settings that an answer depends on."""
MAX_NAMED = 10


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
    earlier: Report,
    changes: Changes,
    asked: Collection[str],
    kept: Sequence[Row],
    before: Recommendation,
    after: Recommendation,
    config: EvaluationConfig,
) -> Drift:
    """The verdict of then beside that of now, and what of the difference is due to grading.

    Args:
        asked: ids of the questions that were asked again; `kept`: the other rows, graded by today's rules.
        before: what the earlier answers give by today's rules and settings; `after`: the verdict now.
        config: today's settings.
    """
    told = {row.question.id: row for row in earlier.rows}
    numbers = {row.question.id: _count_regraded(told[row.question.id], row) for row in kept}
    return Drift(
        since=earlier.run,
        changed=sorted(changes.changed),
        added=sorted(changes.added),
        deleted=sorted(changes.deleted),
        asked=sorted(asked),
        before=earlier.recommendation.headline,
        stands=_is_same(earlier.recommendation, after),
        before_today=before.headline,
        documents_stand=_is_same(before, after),
        num_kept=sum(len(_replies(row)) for row in kept),
        num_regraded=sum(numbers.values()),
        regraded=[name for name, number in numbers.items() if number],
        edited=[row.question.id for row in kept if row.question != told[row.question.id].question],
        settings=[name for name in ASKED_WITH if getattr(earlier.config, name) != getattr(config, name)],
    )


def _is_same(before: Recommendation, after: Recommendation) -> bool:
    return (before.outcome, before.arm) == (after.outcome, after.arm)


def _count_regraded(before: Row, now: Row) -> int:
    told = _replies(before)
    return sum(key in told and _counts_as(told[key]) != _counts_as(reply) for key, reply in _replies(now).items())


def _replies(row: Row) -> dict[tuple[object, ...], Reply]:
    """All replies of a row, by kind, arm and number."""
    once = {arm: [reply] for arm, reply in row.replies.items() if not reply.not_asked}
    return {
        (kind, arm, number): reply
        for kind, by_arm in enumerate((once, row.again, row.paraphrased))
        for arm, replies in by_arm.items()
        for number, reply in enumerate(replies)
    }


def _counts_as(reply: Reply) -> tuple[object, ...]:
    """What a reply counts as in shares and in the verdict."""
    grade = reply.grade
    if grade is None:
        return reply.failed is None, reply.no_answer, reply.ungradable is None
    return grade.correct, grade.content, grade.form, grade.refused, grade.unclear


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


def check_same_questions(report: Report, questions: Sequence[Question], has_line: bool = False) -> None:
    """Raises TandemError where other questions are asked than in the earlier report: then there is nothing to compare.

    How they are graded may have changed: accepted answers follow the documents.

    Args:
        has_line: whether questions are asked with a line for the answer (grading/answer_line.py).
    """
    asked = {row.question.id: _sent(row.question, has_line) for row in report.rows}
    now = {question.id: _sent(question, has_line) for question in questions}
    if asked == now:
        return
    others = [name for name in {**asked, **now} if asked.get(name) != now.get(name)]
    more = f" and {len(others) - MAX_NAMED:,} more" if len(others) > MAX_NAMED else ""
    raise TandemError(
        f"The questions have changed since {report.run}: {', '.join(others[:MAX_NAMED])}{more}.",
        "The same questions, paraphrases and choices under the same ids. Accepted answers, forms, slices and sources "
        "may differ.",
        "Measure anew with `tandem compare`; later runs can name that one.",
    )


def _sent(question: Question, has_line: bool) -> tuple[object, ...]:
    """What an arm is asked."""
    lined = has_line and is_lined(question)
    return question.question, question.paraphrases, question.choices, question.slice == GENERAL, lined
