"""Numbers and marks as a reader of a report sees them: shares, times, money, and what became of an answer."""

import math

from evaluation.config import ArmName
from evaluation.questions.question import OVERALL
from evaluation.replies import FailureKind, Reply
from evaluation.results import Report, Share
from evaluation.verdicts.percentages import bounds, percent, points, points_bounds, with_interval

DOES_NOT_SEARCH = "not_searched"
"""What `not_retrieved` is called where the arm does not search at all."""
FAILURE_WORDS: dict[str, str] = {
    "not_searched": "does not search",
    "not_retrieved": "not retrieved",
    "misread": "retrieved but misread",
    "not_in_documents": "not in the documents",
    "wrong_form": "wrong form",
    "wrong_reasoning": "wrong reasoning",
}
FAILURE_MEANINGS: dict[str, str] = {
    "not_searched": "the answer is in the documents, and this arm does not read them",
    "not_retrieved": "the passage that holds the answer was not found",
    "misread": "the passage was in front of the model and the answer is wrong all the same",
    "not_in_documents": "no document holds the answer",
    "wrong_form": "the value is right, the form that was asked for is missed",
    "wrong_reasoning": "none of the others",
}
COLUMN_MEANINGS = (
    (("right",), "In bold: the best arm of a slice, and those that its questions do not tell apart from it."),
    (("documents",), "Documents: as how many the graded questions count, where some share one."),
    (("failed",), "Failed: the call gave no reply."),
    (("not asked",), "Not asked: the arm could not win any more."),
    (("no answer",), "No answer: the reply holds none."),
    (("unclear",), "Unclear: the rules cannot say whether the answer is right."),
    (("ungradable",), "Ungradable: nobody can grade the answer."),
    (("failed", "no answer", "unclear", "ungradable"), "None of these is right or wrong."),
    (("refused",), "Refused: “I do not know” and the like."),
    (("form", "value"), "Form and value: scored apart where a form is asked for."),
    (("false",), "False: answers other than a plain refusal where nobody can know."),
    (("found",), "Found: a document that holds the answer was retrieved."),
    (("cited",), "Cited: a document that holds the answer was cited."),
    (("citation precision",), "Citation precision: the part of the cited documents that hold the answer."),
    (("citation recall",), "Citation recall: the part of the documents that hold the answer that was cited."),
    (("grounded",), "Grounded: a cited passage holds the answer."),
    (("F1",), "F1: words shared with the nearest accepted answer."),
    (("p50", "p95"), "p50 and p95: half and 95 % of the answers came within this time."),
)
"""What the columns of the table of all numbers mean, each with the headings of which one has to be shown."""
NOTHING = "–"


def answer_mark(reply: Reply) -> str:
    """`right`, `wrong`, `unclear` (the rules cannot say), `ungradable` (nobody can), `no answer`, `failed` or
    `not asked` (the arm could not win any more)."""
    if reply.not_asked:
        return "not asked"
    if reply.no_answer is not None:
        return "no answer"
    if reply.grade is not None and reply.grade.unclear:
        return "unclear"
    if reply.grade is not None:
        return "right" if reply.grade.correct else "wrong"
    return "failed" if reply.failed is not None or reply.text is None else "ungradable"


def retrieving_arms(report: Report) -> set[ArmName]:
    """The arms that search the documents."""
    return {arm.name for arm in report.arms if arm.name not in report.config.endpoints and "+" in arm.model}


def failure_shown(kind: FailureKind, retrieves: bool) -> str:
    """The key of FAILURE_WORDS for a wrong answer of an arm that searches the documents, or of one that does not."""
    return DOES_NOT_SEARCH if kind == "not_retrieved" and not retrieves else kind


def source_mark(reply: Reply) -> str:
    """What became of the document that holds the answer, in words; empty where that is not judged."""
    if reply.grade is None or reply.grade.cited_right is None:
        return ""
    if reply.grade.cited_right:
        return "right source cited"
    return "right source found, not cited" if reply.grade.retrieved_right else "right source not found"


def documents_counted(report: Report) -> str:
    """What was done about questions that share a document, in sentences; empty for a report of an earlier version."""
    counted = [cell for cell in report.cells if cell.accuracy.num_documents is not None]
    overall = [cell.accuracy for cell in counted if cell.slice == OVERALL]
    if not overall:
        return ""
    if all(cell.accuracy.num_documents == cell.accuracy.n for cell in counted):
        return "No two of the questions share a document, so each counts by itself."
    widest = max(overall, key=lambda share: share.n)
    return (
        "Questions that share a document count together in every share, difference and test, and so do documents that "
        f"one question names: {widest.n:,} questions count as {widest.num_documents:,} documents, a question without a "
        "source as one by itself. The table of all numbers says as how many each share counts its questions."
    )


def format_percent(value: float | None) -> str:
    return NOTHING if value is None else percent(value)


def format_bounds(share: Share) -> str:
    """`87 to 94 %`; a dash where nothing was measured."""
    return NOTHING if share.low is None or share.high is None else f"{bounds(share.low, share.high)} %"


def format_points(value: float | None) -> str:
    return NOTHING if value is None else points(value)


def format_points_bounds(low: float | None, high: float | None) -> str:
    return NOTHING if low is None or high is None else points_bounds(low, high)


def format_interval(share: Share | None) -> str:
    """`91 % (87 to 94)`; a dash where nothing was measured."""
    return with_interval(share) if share and share.n else NOTHING


def format_seconds(value: float | None) -> str:
    """A time in seconds, in the unit that is easiest to read."""
    if value is None:
        return NOTHING
    if value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.01 or value == 0 else f"{value * 1000:.2g} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def format_money(value: float | None, currency: str) -> str:
    """A sum with three digits that count, such as `USD 0.00123`."""
    return NOTHING if value is None else f"{currency} {format_amount(value)}"


def format_amount(value: float) -> str:
    """A number with three digits that count and no exponent: 0.00123, 12.3, 1,230."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:.2f}".removesuffix(".00")
    if abs(value) >= 0.001:
        return f"{value:.3g}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}".rstrip("0")
