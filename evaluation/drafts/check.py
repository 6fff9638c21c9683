"""What can be said about test questions before anything is asked.

checked = check(questions, read_documents(config.retrieval), trained_rows)
for line in describe(checked):
    print(line)
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.fingerprints.digests import normalise_question
from evaluation.drafts.documents import Documents, DraftDocument
from evaluation.drafts.near_duplicates import find_near_duplicates
from evaluation.questions.leaks import Leak, describe_leak, find_leaks_among
from evaluation.questions.question import Question
from evaluation.verdicts.statistics import smallest_effect

MAX_NAMED = 20
DISCORDANCE = 0.3
LOOKED_UP_KINDS = ("value", "number")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class QuestionSetCheck:
    """What was found. Questions are named by their ids.

    `stale`: no accepted answer stands in any source that was read. `unknown_sources`: id and source, where no such
    document was read. `num_not_looked_up`: answerable questions whose answer was not looked for in a document.
    `smallest_effect`: the smallest true difference between two arms that this many questions show in four of five
    cases, where the arms differ on three of ten questions; None where it cannot be said.
    """

    num_questions: int
    slices: dict[str, int]
    kinds: dict[str, int]
    alike: tuple[tuple[str, str, float], ...]
    stale: tuple[str, ...]
    unknown_sources: tuple[tuple[str, str], ...]
    num_not_looked_up: int
    not_read: tuple[str, ...]
    leaks: tuple[Leak, ...]
    num_trained: int
    num_exact_only: int
    """Training rows from before near leaks were looked for: only exact ones are found among them."""
    smallest_effect: float | None


def check_question_set(
    questions: Sequence[Question], documents: Documents, trained: Iterable[dict[str, Any]]
) -> QuestionSetCheck:
    """Look at the questions, at their sources, and at what was or will be trained on.

    Args:
        trained: rows as trained.jsonl holds them (leaks.read_trained).
    """
    rows = _Counted(trained)
    leaks = tuple(find_leaks_among(questions, rows))
    looked_up = [(question, _sources(question, documents)) for question in questions if _can_be_looked_up(question)]
    return QuestionSetCheck(
        num_questions=len(questions),
        slices=dict(Counter(question.slice for question in questions)),
        kinds=dict(Counter(question.kind for question in questions)),
        alike=tuple((pair.first.id, pair.second.id, pair.similarity) for pair in find_near_duplicates(questions)),
        stale=tuple(question.id for question, sources in looked_up if sources and not _holds_answer(question, sources)),
        unknown_sources=tuple(_unknown(questions, documents)),
        num_not_looked_up=sum(each.answerable for each in questions) - sum(bool(sources) for _, sources in looked_up),
        not_read=documents.not_read,
        leaks=leaks,
        num_trained=rows.num_rows,
        num_exact_only=rows.num_exact_only,
        smallest_effect=smallest_effect(len(questions), DISCORDANCE),
    )


def describe_check(checked: QuestionSetCheck) -> Iterator[str]:
    """One line of words for each thing that was found."""
    yield f"{checked.num_questions:,} questions; {_counts('slice', checked.slices)}; {_counts('kind', checked.kinds)}"
    if checked.smallest_effect is not None:
        yield (
            f"where two arms differ on {DISCORDANCE * 100:.0f} % of the questions, a comparison shows which is better, "
            f"four times in five, from a difference of {checked.smallest_effect:.2f} on"
        )
    pairs = [f"{first} and {second} ({similarity:.2f})" for first, second, similarity in checked.alike]
    yield from _found(pairs, "pairs are nearly the same question")
    yield from _found(checked.stale, "questions have an answer that does not stand in their documents")
    unknown = [f"{name}: {source}" for name, source in checked.unknown_sources]
    yield from _found(unknown, "sources are no document that was read")
    yield from _found(checked.not_read, "files or kinds of files were not read")
    if checked.num_not_looked_up:
        yield f"{checked.num_not_looked_up:,} answers were not looked for in a document"
    yield from _leaks(checked)


class _Counted:
    """Rows that are counted as they pass: a hundred thousand of them are not kept."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.rows, self.num_rows, self.num_exact_only = rows, 0, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            self.num_rows += 1
            self.num_exact_only += "question_words_sha256" not in row
            yield row


def _leaks(checked: QuestionSetCheck) -> Iterator[str]:
    if not checked.num_trained:
        yield "no training rows to compare with"
        return
    yield from _found([describe_leak(leak) for leak in checked.leaks], "questions are trained on")
    if not checked.leaks:
        yield f"none is trained on, in {checked.num_trained:,} training rows"
    if checked.num_exact_only:
        yield (
            f"{checked.num_exact_only:,} of the training rows were published before near leaks were looked for: among "
            "them only exact ones are found"
        )


def _found(items: Sequence[str], what: str) -> Iterator[str]:
    if items:
        more = f", and {len(items) - MAX_NAMED:,} more" if len(items) > MAX_NAMED else ""
        yield f"{len(items):,} {what}: {', '.join(items[:MAX_NAMED])}{more}"


def _counts(what: str, counts: dict[str, int]) -> str:
    shown = list(counts.items())[:MAX_NAMED]
    more = f" and {len(counts) - MAX_NAMED:,} more" if len(counts) > MAX_NAMED else ""
    return f"by {what}: {', '.join(f'{name} {number:,}' for name, number in shown)}{more}"


def _can_be_looked_up(question: Question) -> bool:
    return question.answerable and bool(question.answers) and question.kind in LOOKED_UP_KINDS


def _sources(question: Question, documents: Documents) -> list[DraftDocument]:
    return [document for source in question.sources for document in documents.find(source)[:1]]


def _holds_answer(question: Question, sources: Sequence[DraftDocument]) -> bool:
    """As whole words, up to case, spacing and thousands separators."""
    texts = [_plain(source.text) for source in sources]
    answers = [re.escape(_plain(answer).rstrip(".")) for answer in question.answers]
    return any(re.search(rf"(?<!\w){answer}(?!\w)", text) for answer in answers for text in texts)


def _plain(text: str) -> str:
    return _THOUSANDS.sub("", normalise_question(text))


def _unknown(questions: Sequence[Question], documents: Documents) -> Iterator[tuple[str, str]]:
    for question in questions:
        yield from ((question.id, source) for source in question.sources if not documents.find(source))
