"""What an exported task of lm-evaluation-harness calls: its questions, their prompts, and the grade of an answer."""

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.grading.choices import lettered_wording
from evaluation.grading.grading import grade_reply
from evaluation.questions.question import Question
from evaluation.replies import Reply


def load(path: Path) -> Any:
    """The questions of an exported file, as the harness takes them: a `datasets.DatasetDict` with the split `test`.

    A question is one column of JSON: a schema in it would else become columns.
    """
    from datasets import Dataset, DatasetDict

    questions = [Question.model_validate_json(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    rows = [
        {"id": question.id, "slice": question.slice, "question": question.model_dump_json(exclude_unset=True)}
        for question in questions
    ]
    return DatasetDict({"test": Dataset.from_list(rows)})


def prompt_of(doc: Mapping[str, str]) -> str:
    """What is sent: the question word for word, with its choices where it has them."""
    question = _question(doc)
    return lettered_wording(question) if question.kind == "choice" else question.question


def target_of(doc: Mapping[str, str]) -> int | str:
    """The place of the right choice; else an accepted answer, which the harness shows beside the model's."""
    question = _question(doc)
    if question.kind == "choice":
        return question.choices.index(question.answers[0])
    return next(iter(question.answers), question.reference or "(no accepted value)")


def letters_of(doc: Mapping[str, str]) -> list[str]:
    """The continuations whose likelihoods are compared."""
    return list(string.ascii_uppercase[: len(_question(doc).choices)])


def grade_answer(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """The grade of an answer by Tandem's rules. An answer that these cannot decide on is neither right nor wrong."""
    question = _question(doc)
    graded = grade_reply(question, Reply(text=results[0]), False)
    counted = graded.counted
    if counted is None:
        return {"unclear": 1.0}
    right = float(counted.correct)
    return {"right": right, f"right_{question.slice}": right, "refused": float(counted.refused), "unclear": 0.0}


def _question(doc: Mapping[str, str]) -> Question:
    return Question.model_validate_json(doc["question"])
