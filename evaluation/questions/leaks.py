"""No test question may stand in what an adapter was trained on, word for word or nearly.

What it was trained on comes by file: `trained.jsonl` in the published version, one JSON object per training row. It
holds no text but what text is known by, digests and MinHash numbers: training/publish/publish.py writes them and
cluster/fingerprints/minhash.py computes them. A test question is a leak where

1. `exact`: a row has a question with the same digest: the same text up to case, spacing and Unicode form;
2. `same_words`: a row has a question with the same plain words in the same order: the same question up to punctuation
   and filler ("please", "could you", "the", "of" for "for");
3. `same_answer`: for questions of 15 words or more with an answer of five or more. A row's question is nearly the same
   (a similarity of 0.6 or more in plain words and pairs of them) and its answer has the same plain words as an accepted
   one or the reference. This finds long questions in which a word or two were changed.

Not a leak is a fact that was trained on in other words, nor the same template about something else.

Error rates, measured on the training rows and all 2,326 facts in the documents of examples/quickstart (a part of it is
measured again by tests/evaluation/questions/test_leak_rates.py):

    edited, so to be found                                     of      found
    case, punctuation, "please", "could you", filler        10,610    10,610
    long question, one word exchanged or misspelt            6,600     6,600
    long question, two words exchanged                       3,300     3,287
    short question, one word misspelt                        1,061         0
    different, so not to be found                              of      found
    every fact in nine short wordings, against each other   20,934         0
    long question about another fact in the same words       6,600         0
    long question about the same fact in other words         6,600         0

5,000 questions against 100,000 rows of long questions took 7 s of one core and 70 MiB, most of it to read the file.

A file without `question_words_sha256` (from before it was written) is checked by rule 1 alone. Limits: filler is known
in English only, and a short question with a misspelt or exchanged word is not told from one about something else.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_question
from cluster.fingerprints.minhash import NUM_PERMUTATIONS, digest_answer, digest_words, question_minhash
from evaluation.questions.question import Question
from evaluation.questions.sources import document_name

MAX_PAIRS_NAMED = 10
MIN_SIMILARITY = 0.6
LeakKind = Literal["exact", "same_words", "same_answer"]
_STRONGEST_FIRST: tuple[LeakKind, ...] = ("exact", "same_words", "same_answer")


@dataclass(frozen=True)
class Leak:
    """A test question that was trained on, and the training row: its id where it has one, else its line.

    `similarity` is 1 but for `same_answer`, where it is the estimated one of the two questions.
    """

    question: Question
    row: str
    kind: LeakKind = "exact"
    similarity: float = 1.0


@dataclass(frozen=True)
class SourceOverlap:
    """Ids of the test questions with a source that was trained on, and these sources."""

    num_questions: int
    num_with_sources: int
    questions: tuple[str, ...]
    sources: tuple[str, ...]


def find_leaks(questions: Sequence[Question], trained: Path) -> list[Leak]:
    """Test questions that were trained on, each with the row that is most like it, in the order of the questions.

    Raises:
        TandemError: where the file cannot be read.
    """
    return find_leaks_among(questions, read_trained_rows(trained))


def refuse_leaks(questions: Sequence[Question], trained: Path) -> None:
    """Raise a TandemError that names the pairs where a test question was trained on."""
    raise_for_leaks(find_leaks(questions, trained), len(questions))


def raise_for_leaks(leaks: Sequence[Leak], num_questions: int) -> None:
    """Raise a TandemError that names up to ten of the leaks, where there is one."""
    if not leaks:
        return
    pairs = "; ".join(map(describe_leak, leaks[:MAX_PAIRS_NAMED]))
    more = f"; and {len(leaks) - MAX_PAIRS_NAMED} more" if len(leaks) > MAX_PAIRS_NAMED else ""
    raise TandemError(
        f"{len(leaks)} of {num_questions} test questions were trained on: {pairs}{more}.",
        "Training must not have seen a test question: the tuned arms would be measured on what they learnt by heart.",
        "Take these questions out of the training data and train again, or out of the test questions.",
    )


def describe_leak(leak: Leak) -> str:
    """One pair in words."""
    if leak.kind == "exact":
        return f"{leak.question.id} is training row {leak.row}"
    why = {"same_words": "the same words but for filler", "same_answer": "with the same answer"}[leak.kind]
    return f"{leak.question.id} is nearly training row {leak.row} (similarity {leak.similarity:.2f}, {why})"


def find_leaks_among(questions: Sequence[Question], rows: Iterable[dict[str, Any]]) -> list[Leak]:
    """As `leaked`, for rows as trained.jsonl holds them: one pass, and only the questions are kept in memory."""
    return _LeakSearch(questions).among(rows)


def source_overlap(questions: Sequence[Question], trained: Path) -> SourceOverlap:
    """Which test questions come from documents that were trained on. That is no leak; a report should say it.

    Raises:
        TandemError: where the file cannot be read.
    """
    known = {document_name(source) for row in read_trained_rows(trained) for source in row.get("sources", ())} - {""}
    endings = {ending for source in known for ending in _endings(source)}
    shared = {
        question.id: [
            each for each in question.sources if endings & ({document_name(each)} - {""}) or known & set(_endings(each))
        ]
        for question in questions
    }
    return SourceOverlap(
        num_questions=len(questions),
        num_with_sources=sum(bool(question.sources) for question in questions),
        questions=tuple(name for name, sources in shared.items() if sources),
        sources=tuple(sorted({source for sources in shared.values() for source in sources})),
    )


def wordings_of(question: Question) -> list[str]:
    """Everything that is sent for a question: itself, and where it has them its paraphrases."""
    return [question.question, *question.paraphrases]


def read_trained_rows(trained: Path) -> Iterator[dict[str, Any]]:
    """The rows of a trained.jsonl, each with an `id` (`in line 7` where it has none of its own).

    Raises:
        TandemError: where the file cannot be read, or a line does not say which questions were trained on.
    """
    try:
        with trained.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                yield _row(line, f"{trained}:{number}", number)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise _unreadable(f"{trained} cannot be read ({reason}).") from error


def _row(line: str, where: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
        digests = row["question_sha256"]
        row["question_sha256"] = [digests] if isinstance(digests, str) else list(digests)
    except (ValueError, LookupError, TypeError) as error:
        raise _unreadable(f"{where} holds no question_sha256.") from error
    numbers = [each for each in row.get("question_minhash", []) if each is not None]
    if any(not isinstance(each, list) or len(each) != NUM_PERMUTATIONS for each in numbers):
        raise _unreadable(f"{where} holds a MinHash that is not {NUM_PERMUTATIONS} numbers.")
    return {**row, "id": str(row.get("id") or f"in line {number}")}


class _LeakSearch:
    """The questions, to be found by what is known of a training row."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self.found: dict[int, Leak] = {}
        self.by_digest: dict[str, list[int]] = defaultdict(list)
        self.by_words: dict[str, list[int]] = defaultdict(list)
        self.by_answer: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        for number, question in enumerate(questions):
            for text in wordings_of(question):
                self.by_digest[digest_question(text)].append(number)
                self.by_words[digest_words(text)].append(number)
                for answer in long_answers(question) if question_minhash(text) else ():
                    self.by_answer[answer].append((number, question_minhash(text).hashvalues))

    def among(self, rows: Iterable[dict[str, Any]]) -> list[Leak]:
        for row in rows:
            for digest in row["question_sha256"]:
                self._keep(row, "exact", ((number, 1.0) for number in self.by_digest.get(digest, ())))
            for digest in row.get("question_words_sha256", ()):
                self._keep(row, "same_words", ((number, 1.0) for number in self.by_words.get(digest, ())))
            turns = zip(row.get("question_minhash", ()), row.get("answer_words_sha256", ()), strict=False)
            for numbers, answer in turns:
                if numbers and answer in self.by_answer:
                    self._keep(row, "same_answer", self._like(numbers, self.by_answer[answer]))
        return [self.found[number] for number in sorted(self.found)]

    def _like(self, numbers: list[int], candidates: list[tuple[int, Any]]) -> Iterator[tuple[int, float]]:
        similar = (np.array([each for _, each in candidates]) == np.array(numbers)).mean(axis=1)
        for place in np.flatnonzero(similar >= MIN_SIMILARITY):
            yield candidates[place][0], float(similar[place])

    def _keep(self, row: dict[str, Any], kind: LeakKind, matches: Iterable[tuple[int, float]]) -> None:
        for number, similarity in matches:
            known = self.found.get(number)
            if known is None or _strength(kind, similarity) > _strength(known.kind, known.similarity):
                self.found[number] = Leak(self.questions[number], row["id"], kind, similarity)


def _strength(kind: LeakKind, similarity: float) -> tuple[int, float]:
    return -_STRONGEST_FIRST.index(kind), similarity


def long_answers(question: Question) -> set[str]:
    """Digests of the right answers of five words or more. A refusal is the same for every question, so none of it."""
    answers = [*question.answers, question.reference or ""] if question.answerable else []
    return {digest for digest in map(digest_answer, answers) if digest}


def _endings(source: str) -> Iterator[str]:
    """A path without its first folders, one after the other: training and questions may count from different ones."""
    parts = document_name(source).split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _unreadable(seen: str) -> TandemError:
    accepted = "An adapter's version lists what it was trained on."
    return TandemError(seen, accepted, "Train and publish the adapter again.")
