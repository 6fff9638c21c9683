"""Draft questions from documents: from facts in a fixed form (facts.py), and with a model from prose (prose.py).

Every document gives one question after the other, the surest first; one in eight is a question that the documents do
not answer (unanswerable.py), where there are such. What is drafted is for a person to approve (draft_files.py).
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TypeVar

from cluster.errors import TandemError
from evaluation.drafts.documents import Documents
from evaluation.drafts.draft_files import Draft
from evaluation.drafts.facts import LAST_RANK, Fact, find_facts, is_skipped, name_documents
from evaluation.drafts.markdown import read_outline
from evaluation.drafts.near_duplicates import near_duplicate_indices
from evaluation.drafts.prose import DraftingResult, DraftWriter, find_passages, write_drafts_from
from evaluation.drafts.refusals import similar
from evaluation.drafts.unanswerable import UnanswerableFinder
from evaluation.questions.words import words_of

UNANSWERABLE_EVERY = 8
MAX_MENTIONS = 4
MAX_OF_ONE_DOCUMENT = 10
MAX_LENGTH = 1_000_000
T = TypeVar("T")


def draft_questions(
    documents: Documents,
    number: int,
    writer: DraftWriter | None = None,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> DraftingResult:
    """Draft up to `number` questions, spread over the documents; with a writer half of them from prose.

    Raises:
        TandemError: no document could be read, or there is nothing in them to ask for.
    """
    if not documents.documents:
        raise TandemError(
            f"No document could be read{': ' if documents.not_read else ''}{', '.join(documents.not_read)}.",
            "Markdown or text files in the folders of `retrieval.sources`.",
            "Name such a folder, or write the questions by hand.",
        )
    drafted = DraftingResult(too_long=tuple(each.source for each in documents.documents if len(each.text) > MAX_LENGTH))
    documents = Documents(tuple(each for each in documents.documents if len(each.text) <= MAX_LENGTH), ())
    _draft_facts(documents, -(-number // 2) if writer else number, seed, drafted)
    if writer:
        passages = _spread([find_passages(each) for each in documents.documents], seed)
        asyncio.run(write_drafts_from(passages, writer, number, drafted, on_progress))
    drafted.drafts = _each_once(drafted)
    return drafted


def _draft_facts(documents: Documents, number: int, seed: int, drafted: DraftingResult) -> None:
    """A question with two answers in the documents is not asked: nobody could say which is right."""
    outlines = {each.source: read_outline(each.text) for each in documents.documents}
    names = name_documents(outlines)
    facts = [find_facts(each, outlines[each.source], names[each.source]) for each in documents.documents]
    values: dict[str, set[tuple[str, ...]]] = {}
    for fact in (fact for found in facts for fact in found):
        for question in {fact.question.casefold(), _without_place(fact.question)}:
            values.setdefault(question, set()).add(words_of(fact.value))
    clear = [[fact for fact in found if len(values[fact.question.casefold()]) == 1] for found in facts]
    drafted.left_out["the documents give two answers"] += sum(
        len(a) - len(b) for a, b in zip(facts, clear, strict=True)
    )
    finder = UnanswerableFinder(documents.documents, outlines)
    open_ended = [finder.find(each, outlines[each.source], names[each.source])
                  for each in documents.documents if not is_skipped(each, outlines[each.source])]  # fmt: skip
    asked = _none_too_often(
        _once(_spread_facts(_distinctive(clear, documents), seed), drafted), len(documents.documents)
    )
    unanswerable = filter(finder.is_open, _spread(open_ended, seed))
    for place in range(number):
        is_their_turn = place % UNANSWERABLE_EVERY == UNANSWERABLE_EVERY - 1
        if is_their_turn and (left_open := next(unanswerable, None)):
            drafted.drafts.append(left_open.as_draft(f"unanswerable-{place:04}"))
        elif surest := next(asked, None):
            drafted.drafts.append(surest.as_draft(f"fact-{place:04}"))
        else:
            break


def _without_place(question: str) -> str:
    """What is asked, without the document that is asked about."""
    asked = question.casefold()
    place = max(asked.rfind(f", {word} ") for word in ("what", "which", "how", "is"))
    return asked[place + 2 :] if asked.startswith("in ") and place > 0 else asked


def _distinctive(groups: Sequence[Sequence[Fact]], documents: Documents) -> list[list[Fact]]:
    """Without gaps for a name that is all over the documents: such a question asks for nothing."""
    text = "\n".join(document.text for document in documents.documents)
    return [
        [fact for fact in group if fact.rank < LAST_RANK or text.count(fact.value) <= MAX_MENTIONS] for group in groups
    ]


def _spread_facts(groups: Sequence[Sequence[Fact]], seed: int) -> Iterator[Fact]:
    """One of each document after the other, from each the surest first; what is least sure comes after all others."""
    random = Random(f"draft-{seed}")
    ranked = [sorted(random.sample(group, len(group)), key=lambda fact: fact.rank) for group in groups]
    random.shuffle(ranked)
    for is_last in (False, True):
        left = [[fact for fact in group if (fact.rank >= LAST_RANK) == is_last] for group in ranked]
        for turn in range(max(map(len, left), default=0)):
            yield from (group[turn] for group in left if turn < len(group))


def _once(facts: Iterator[Fact], drafted: DraftingResult) -> Iterator[Fact]:
    """Without those that ask again for what one before them says, of one sentence or in the words of another page."""
    said: dict[str, list[str]] = {}
    places: set[tuple[str, str, str]] = set()
    for fact in facts:
        statement = _statement(fact)
        counted = re.search(r"____ (\w+)", fact.question)
        place = (fact.document.source, fact.value.casefold(), counted[1] if counted else "")
        groups = (fact.document.source, f"answer {fact.value.casefold()}")
        again = fact.rank > 0 and any(similar(statement, other) for group in groups for other in said.get(group, ()))
        if again or (counted and place in places):
            drafted.left_out["asks again what another asks"] += 1
            continue
        for group in groups:
            said.setdefault(group, []).append(statement)
        places.add(place)
        yield fact


def _statement(fact: Fact) -> str:
    """What is asked, without its place, and the answer."""
    quoted = re.search(r'"([^"]{20,})"\?$', fact.question)
    return f"{quoted[1] if quoted else _without_place(fact.question)} {fact.value}".replace("____", "")


def _none_too_often(facts: Iterator[Fact], num_documents: int) -> Iterator[Fact]:
    """Not more than a third of the first questions from one document: what is more of it comes after all others."""
    taken: Counter[str] = Counter()
    later = []
    for fact in facts:
        if num_documents > 1 and taken[fact.document.source] >= MAX_OF_ONE_DOCUMENT:
            later.append(fact)
            continue
        taken[fact.document.source] += 1
        yield fact
    yield from later


def _spread(groups: Sequence[Sequence[T]], seed: int) -> Iterator[T]:
    """One of each group after the other, groups and what is in them in an order drawn by the seed."""
    random = Random(f"draft-{seed}")
    shuffled = [random.sample(group, len(group)) for group in groups]
    random.shuffle(shuffled)
    for turn in range(max(map(len, shuffled), default=0)):
        yield from (group[turn] for group in shuffled if turn < len(group))


def _each_once(drafted: DraftingResult) -> list[Draft]:
    """Of questions that are nearly the same the first."""
    again = {second for _, second, _ in near_duplicate_indices(drafted.drafts)}
    drafted.left_out["nearly the same as another"] += len(again)
    return [each for number, each in enumerate(drafted.drafts) if number not in again]
