"""Questions that stand in a file more than once, under several ids.

The same words are the same question, however they are spaced, cased and punctuated; of a multiple choice the same
choices belong to it. Where an accepted answer is shared too, it is one question: it counts once, by the answer to the
first of its ids. Where no accepted answer is shared, the file contradicts itself: both count, and are named. General
questions repeat only one another: they are counted by themselves.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.questions.question import GENERAL, Question
from evaluation.questions.words import normalise


@dataclass(frozen=True)
class Repeats:
    """What stands in the file more than once, by ids; each tuple is in the order of the file.

    `same`: one question under several ids, of which the first counts. `conflicting`: the same words with other accepted
    answers.
    """

    same: tuple[tuple[str, ...], ...] = ()
    conflicting: tuple[tuple[str, ...], ...] = ()


def find_repeats(questions: Sequence[Question]) -> Repeats:
    """All questions that are in the file more than once."""
    same, conflicting = [], []
    for numbers in _by_wording(questions).values():
        kept = _distinct(questions, numbers)
        same += [tuple(questions[number].id for number in group) for group in kept if len(group) > 1]
        if len(kept) > 1 and any(_conflict(questions[kept[0][0]], questions[group[0]]) for group in kept[1:]):
            conflicting.append(tuple(questions[group[0]].id for group in kept))
    return Repeats(tuple(same), tuple(conflicting))


def distinct_numbers(questions: Sequence[Question]) -> list[int]:
    """The numbers of the questions that count: of each that is there more than once the first, in the file's order."""
    return sorted(group[0] for group in _groups(questions))


def with_shared_sources(questions: Sequence[Question]) -> list[Question]:
    """The questions, each that is there more than once with the sources of all of its ids: they join its documents."""
    known = list(questions)
    for group in _groups(questions):
        sources = tuple(dict.fromkeys(source for number in group for source in questions[number].sources))
        for number in group if len(group) > 1 else ():
            known[number] = questions[number].model_copy(update={"sources": sources})
    return known


def distinct_questions(questions: Sequence[Question]) -> list[Question]:
    """The questions that count, each with the sources of all of its ids."""
    known = with_shared_sources(questions)
    return [known[number] for number in distinct_numbers(questions)]


def describe_repeats(repeats: Repeats) -> list[str]:
    """Whole sentences for a reader, none where nothing is there more than once."""
    sentences = []
    if repeats.same:
        extra = sum(len(ids) - 1 for ids in repeats.same)
        what = "question repeats an" if extra == 1 else "questions repeat an"
        named = "; ".join(" = ".join(ids) for ids in repeats.same[:MAX_NAMED])
        sentences.append(
            f"{extra:,} {what} earlier one under another id, and each counts once: {named}{_more(repeats.same)}."
        )
    if repeats.conflicting:
        named = "; ".join(" and ".join(ids) for ids in repeats.conflicting[:MAX_NAMED])
        sentences.append(
            "The same question is in the file with accepted answers that contradict each other. Correct or remove one: "
            f"{named}{_more(repeats.conflicting)}."
        )
    return sentences


MAX_NAMED = 10


def _groups(questions: Sequence[Question]) -> list[list[int]]:
    """Numbers of the questions, those together that are one."""
    return [group for numbers in _by_wording(questions).values() for group in _distinct(questions, numbers)]


def _by_wording(questions: Sequence[Question]) -> dict[Hashable, list[int]]:
    """Numbers of questions that ask the same in the same words; what holds no word, such as "?", is like no other."""
    groups: dict[Hashable, list[int]] = {}
    for number, question in enumerate(questions):
        words, choices = normalise(question.question), frozenset(map(normalise, question.choices))
        key = (words, choices, question.slice == GENERAL) if words else number
        groups.setdefault(key, []).append(number)
    return groups


def _distinct(questions: Sequence[Question], numbers: Sequence[int]) -> list[list[int]]:
    """Questions of one wording, those together that accept the same."""
    kept: list[list[int]] = []
    for number in numbers:
        group = next((group for group in kept if _is_same(questions[group[0]], questions[number])), None)
        if group is None:
            kept.append([number])
        else:
            group.append(number)
    return kept


def _is_same(first: Question, second: Question) -> bool:
    return _demand(first) == _demand(second) and not _conflict(first, second)


def _demand(question: Question) -> list[Any]:
    """What is asked of an answer beside its value."""
    return [question.form, question.json_schema, question.rubric and normalise(question.rubric)]


def _conflict(first: Question, second: Question) -> bool:
    if first.answerable != second.answerable:
        return True
    accepted, others = ({normalise(answer) or answer for answer in each.answers} for each in (first, second))
    return bool(accepted and others) and not accepted & others


def _more(groups: Sequence[tuple[str, ...]]) -> str:
    return f"; and {len(groups) - MAX_NAMED:,} more" if len(groups) > MAX_NAMED else ""
