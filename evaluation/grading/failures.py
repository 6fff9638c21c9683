"""What went wrong with a wrong answer: the rules, in this order, the first that holds.

1. `wrong_form`: the question asks for a form, the form was missed, and the value is right or stands in the answer word
   for word. Or the answer was cut off at `max_tokens` with the value in it.
2. `not_in_documents`: the question cannot be answered from the documents. It is marked `answerable: false` and was
   answered all the same (a false answer), or the index was looked into, does not hold the value (`index_holds` is
   False), and no source of the question was retrieved.
3. `not_retrieved`: the question names sources, and none of them was in front of the model; an arm that retrieves
   nothing has none. Or the right document was there and the passage that holds the value was not: no passage shown has
   it, and the index does.
4. `misread`: a passage with the value was in front of the model, or a source of the question whose text is not kept.
   It gave another value, or refused.
5. `wrong_reasoning`: everything else. No document is needed (the question names none), or the right document was there
   and the value does not stand in it: it has to be worked out.

A value stands in a text where its words are there one after the other once both are made plain, or a number, date or
time that is equal to it (values/holding.py). Right answers,
failed calls and ungradable answers have no kind.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from evaluation.config import ArmName
from evaluation.grading.values.holding import holds_value
from evaluation.questions.question import Question
from evaluation.replies import FailureKind, Reply
from evaluation.results import Row


def failure_kind(question: Question, reply: Reply, index_holds: bool | None = None) -> FailureKind | None:
    """The kind of failure; None where there is none.

    Args:
        index_holds: whether a passage in the index holds an accepted value; None where nobody looked.
    """
    if reply.counted is None or reply.counted.correct:
        return None
    if _misses_form(question, reply):
        return "wrong_form"
    if not question.answerable:
        return "not_in_documents"
    shown = any(_stands_in(question, passage.text) for passage in reply.citations)
    if _is_not_retrieved(question, reply, shown, index_holds):
        return "not_in_documents" if index_holds is False else "not_retrieved"
    if shown or (question.sources and any(passage.text is None for passage in reply.citations)):
        return "misread"
    return "not_retrieved" if index_holds else "wrong_reasoning"


def with_failures(rows: Sequence[Row], index_holds: Mapping[str, bool] | None = None) -> list[Row]:
    """The rows with the kind of failure in the grade of each wrong answer.

    Args:
        index_holds: by question id, whether a passage in the index holds an accepted value; nothing for the others.
    """
    known = index_holds or {}
    return [_sorted(row, known.get(row.question.id)) for row in rows]


def count_failures(rows: Sequence[Row], arm: ArmName) -> dict[FailureKind, int]:
    """How often each kind occurred in an arm, the commonest first."""
    grades = [row.replies[arm].grade for row in rows]
    return dict(Counter(grade.failure for grade in grades if grade and grade.failure).most_common())


def _sorted(row: Row, index_holds: bool | None) -> Row:
    replies = {arm: _with_kind(row.question, reply, index_holds) for arm, reply in row.replies.items()}
    return row.model_copy(update={"replies": replies})


def _with_kind(question: Question, reply: Reply, index_holds: bool | None) -> Reply:
    kind = failure_kind(question, reply, index_holds)
    if reply.grade is None or reply.grade.failure == kind:
        return reply
    return reply.model_copy(update={"grade": reply.grade.model_copy(update={"failure": kind})})


def _is_not_retrieved(question: Question, reply: Reply, shown: bool, index_holds: bool | None) -> bool:
    """Without named sources only the value itself can say so, and only where somebody looked for it."""
    if question.sources:
        return reply.grade is None or not reply.grade.retrieved_right
    return index_holds is not None and not shown


def _misses_form(question: Question, reply: Reply) -> bool:
    if reply.grade is None or (reply.grade.form is not False and not reply.cut_off):
        return False
    return reply.grade.content or (not reply.grade.refused and _stands_in(question, reply.text))


def _stands_in(question: Question, text: str | None) -> bool:
    return text is not None and holds_value(question, text)
