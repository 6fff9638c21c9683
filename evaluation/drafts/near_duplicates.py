"""Test questions that are nearly the same as one another, by the rules that leaks.py has for training rows.

for pair in alike(questions):
    print(pair.first.id, pair.second.id, pair.similarity)
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cluster.fingerprints.minhash import digest_words, question_minhash
from evaluation.questions.leaks import MIN_SIMILARITY, long_answers, wordings_of
from evaluation.questions.question import Question


@dataclass(frozen=True)
class NearDuplicate:
    """Two questions that are nearly the same, and how nearly (1 where they differ in filler only)."""

    first: Question
    second: Question
    similarity: float


def find_near_duplicates(questions: Sequence[Question]) -> list[NearDuplicate]:
    """Pairs of questions that are nearly the same: of several that are the same, each with the one before it."""
    return [
        NearDuplicate(questions[first], questions[second], how)
        for first, second, how in near_duplicate_indices(questions)
    ]


def near_duplicate_indices(questions: Sequence[Question]) -> list[tuple[int, int, float]]:
    """As `alike`, by the questions' numbers."""
    similarities: dict[tuple[int, int], float] = {}
    for first, second, how in [*_same_words(questions), *_same_answer(questions)]:
        if first != second:
            similarities.setdefault((min(first, second), max(first, second)), how)
    return [(first, second, how) for (first, second), how in sorted(similarities.items())]


def _same_words(questions: Sequence[Question]) -> Iterator[tuple[int, int, float]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        for text in wordings_of(question):
            groups[digest_words(text)].append(number)
    for group in groups.values():
        yield from ((first, second, 1.0) for first, second in pairwise(group))


def _same_answer(questions: Sequence[Question]) -> Iterator[tuple[int, int, float]]:
    numbers = {number: question_minhash(question.question) for number, question in enumerate(questions)}
    groups: dict[str, list[int]] = defaultdict(list)
    for number, question in enumerate(questions):
        for answer in long_answers(question) if numbers[number] else ():
            groups[answer].append(number)
    for group in groups.values():
        rows = np.array([numbers[number].hashvalues for number in group])
        for place in range(1, len(group)):
            similar = (rows[:place] == rows[place]).mean(axis=1)
            yield from ((group[n], group[place], float(similar[n])) for n in np.flatnonzero(similar >= MIN_SIMILARITY))
