"""What became of an earlier verdict, in sentences: what the documents changed, and what the grading."""

from collections.abc import Iterator, Sequence

from evaluation.results import Drift, Report

MAX_NAMED = 20


def drift_sentences(report: Report) -> list[str]:
    """Whole sentences for a reader; none where no earlier verdict was looked at again."""
    if report.drift is None:
        return []
    return [*_asked(report.drift, len(report.rows)), *_graded(report.drift), *_verdict(report.drift)]


def _asked(drift: Drift, num_questions: int) -> Iterator[str]:
    counts = [(len(drift.changed), "changed"), (len(drift.added), "new"), (len(drift.deleted), "deleted")]
    how = ", ".join(f"{number:,} {word}" for number, word in counts if number)
    number = len(drift.changed) + len(drift.added) + len(drift.deleted)
    documents = f"{number:,} {'document differs' if number == 1 else 'documents differ'} from those of {drift.since}"
    again = f"{len(drift.asked):,} of {num_questions:,} questions were asked again."
    yield f"{documents}{f' ({how})' if how else ''}; {again}"


def _graded(drift: Drift) -> Iterator[str]:
    if drift.num_kept and drift.num_regraded:
        why = " or accepted answers" if drift.edited else ""
        yield (
            f"{drift.num_regraded:,} of {drift.num_kept:,} answers that were kept are graded otherwise than in the "
            f"report of then, by today's rules{why}. They answer {_named(drift.regraded)}."
        )
    if drift.edited:
        yield f"How these questions are graded was edited since: {_named(drift.edited)}."
    if drift.settings:
        names = ", ".join(f"`evaluation.{name}`" for name in drift.settings)
        yield f"The answers that were kept were given under other settings: {names}."


def _verdict(drift: Drift) -> Iterator[str]:
    yield "The verdict still stands." if drift.stands else f"The verdict was: {drift.before}"
    if drift.before_today is None or (drift.before_today == drift.before and drift.documents_stand == drift.stands):
        return
    yield f"By today's rules and settings the answers of then alone give: {drift.before_today}"
    if not drift.stands:
        yield (
            "So the grading changed the verdict, and the documents did not."
            if drift.documents_stand
            else "So the documents changed the verdict, and the grading too."
        )


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MAX_NAMED:,} more" if len(ids) > MAX_NAMED else ""
    return f"{', '.join(ids[:MAX_NAMED])}{more}"
