"""Which questions count together, and which count at all.

Answers to questions on one document are right or wrong together. Questions that share any source are one cluster, over
any number of steps: where one question names `a.md` and `b.md`, all questions on either are one. A question without a
source is a cluster by itself. A question that is in the file under several ids counts once (questions/repeats.py).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.questions.question import Question
from evaluation.questions.repeats import distinct_numbers, with_shared_sources
from evaluation.questions.sources import join_questions
from evaluation.results import Row


def clusters_of(rows: Sequence[Row]) -> NDArray[np.int64]:
    """The number of each row's cluster, `[rows]`, from 0 in the order of the file."""
    return clusters_of_questions([row.question for row in rows])


def clusters_of_questions(questions: Sequence[Question]) -> NDArray[np.int64]:
    """The number of each question's cluster, `[questions]`, from 0 in the order of the file."""
    known: dict[int, int] = {}
    joined = join_questions([question.sources for question in questions])
    return np.array([known.setdefault(number, len(known)) for number in joined], dtype=np.int64)


def distinct_rows(rows: Sequence[Row], questions: Sequence[Question] = ()) -> list[Row]:
    """The rows that count: a question that is there under several ids counts once, by the first, with the sources of
    all of them.

    Args:
        questions: all of the comparison, where the rows are a part of it.
    """
    whole = with_shared_sources(questions or [row.question for row in rows])
    known = {question.id: question for question in whole}
    asked = [row.model_copy(update={"question": known[row.question.id]}) for row in rows]
    return [asked[number] for number in distinct_numbers([row.question for row in asked])]
