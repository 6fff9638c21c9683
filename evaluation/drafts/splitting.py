"""A questions file in two: one side to train on, one to test with, and no document on both.

Questions that share a source document stay together, and so do questions that are nearly the same (alike.py): what is
joined by either, over any number of steps, is one group, and each group goes to one side. A near pair is therefore
never cut in two. Groups are dealt out in an order drawn by the seed, large ones first, each to the side that lacks
more of its slices (as iterative stratification does: Sechidis et al., 2011), so that slices keep their shares as
nearly as groups allow.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from cluster.errors import TandemError
from evaluation.drafts.near_duplicates import near_duplicate_indices
from evaluation.questions.question import Question
from evaluation.questions.sources import join_questions

REFUSAL = "I do not know."


@dataclass(frozen=True)
class Split:
    """The two sides, in the order of the file; how many groups there were, and how large the largest is."""

    train: tuple[Question, ...]
    test: tuple[Question, ...]
    num_groups: int
    num_in_largest: int


def split_questions(questions: Sequence[Question], test_share: float, seed: int = 0) -> Split:
    """Deal the questions out. The same questions, share and seed give the same sides.

    Args:
        test_share: the share of each slice that is for testing, between 0 and 1.

    Raises:
        TandemError: a side would be empty.
    """
    groups = _groups(questions)
    tested = _deal(questions, groups, test_share, seed)
    if not 0 < len(tested) < len(questions):
        raise _one_sided(questions, groups, test_share)
    return Split(
        train=tuple(question for number, question in enumerate(questions) if number not in tested),
        test=tuple(question for number, question in enumerate(questions) if number in tested),
        num_groups=len(groups),
        num_in_largest=max(map(len, groups)),
    )


def to_jsonl(questions: Sequence[Question]) -> str:
    """The text of a questions file: what was set of each question, a line each."""
    rows = (question.model_dump(mode="json", exclude_unset=True) for question in questions)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_training_rows(questions: Sequence[Question]) -> str:
    """Chat rows (JSONL) as `training.data` reads them: the question, and the reference or the first accepted answer.

    Raises:
        TandemError: a question does not say what a right answer looks like.
    """
    if unclear := [question.id for question in questions if _answer(question) is None]:
        raise TandemError(
            f"{len(unclear)} questions do not say how a right answer is written: {', '.join(unclear[:10])}.",
            "A question of a form or with a pattern, a schema or a rubric needs a `reference` to be trained on.",
            "Write a `reference` for these questions.",
        )
    return "".join(json.dumps(_row(question), ensure_ascii=False) + "\n" for question in questions)


def _row(question: Question) -> dict[str, Any]:
    messages = [{"role": "user", "content": question.question}, {"role": "assistant", "content": _answer(question)}]
    return {"id": question.id, "sources": list(question.sources), "messages": messages}


def _answer(question: Question) -> str | None:
    if question.reference:
        return question.reference
    if not question.answerable:
        return REFUSAL
    written = question.form is None and question.kind not in ("regex", "json", "rubric")
    return question.answers[0] if written and question.answers else None


def _groups(questions: Sequence[Question]) -> list[list[int]]:
    """Numbers of questions that belong together, found by joining sets."""
    near = [(first, second) for first, second, _ in near_duplicate_indices(questions)]
    groups: dict[int, list[int]] = {}
    for number, joined in enumerate(join_questions([question.sources for question in questions], near)):
        groups.setdefault(joined, []).append(number)
    return list(groups.values())


def _deal(questions: Sequence[Question], groups: Sequence[list[int]], test_share: float, seed: int) -> set[int]:
    """The numbers of the questions to test with."""
    sizes = Counter(question.slice for question in questions)
    # What each side still lacks of each slice, in questions.
    lacks = {"test": {name: test_share * size for name, size in sizes.items()}}
    lacks["train"] = {name: (1 - test_share) * size for name, size in sizes.items()}
    order = list(groups)
    Random(f"split-{seed}").shuffle(order)
    tested: set[int] = set()
    for group in sorted(order, key=len, reverse=True):
        counts = Counter(questions[number].slice for number in group)
        side = max(("test", "train"), key=lambda name: _gain(lacks[name], counts))
        for name, count in counts.items():
            lacks[side][name] -= count
        if side == "test":
            tested.update(group)
    return tested


def _gain(lacks: dict[str, float], counts: Counter[str]) -> float:
    """How much nearer a side comes to its shares with these questions: less what is squared of what it then lacks."""
    return sum(lacks[name] ** 2 - (lacks[name] - count) ** 2 for name, count in counts.items())


def _one_sided(questions: Sequence[Question], groups: Sequence[list[int]], test_share: float) -> TandemError:
    largest = max(map(len, groups), default=0)
    return TandemError(
        f"{len(questions)} questions cannot be split at {test_share:g}: {largest} of them hang together by shared "
        f"sources or nearly the same words, in {len(groups)} groups in all.",
        "Two groups or more, and a share between 0 and 1 that leaves questions on both sides.",
        "Choose another share, or questions from more documents.",
    )
