"""Draft questions from documents: from facts in a fixed form, and with a model from prose.

A model gets one passage at a time and has to say where the answer stands. Its draft is kept only where the quote stands
word for word in the passage and the answer in the quote; everything else is counted by its reason. What is drafted is
for a person to approve (drafts.py).
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from cluster.errors import TandemError
from evaluation.drafts.documents import Documents, DraftDocument
from evaluation.drafts.draft_files import Draft, Span
from evaluation.drafts.facts import find_facts
from evaluation.drafts.near_duplicates import near_duplicate_indices
from serving.client import AskFailed, ask_async, connect_async

SLICE = "prose"
MIN_WORDS, MAX_CHARACTERS = 12, 1500
GIVE_UP_AFTER = 5
PROMPT = """\
Write one question that a reader of the passage below may have and that the passage answers. Somebody who does not see \
the passage must understand the question. Answer with a JSON object and nothing else: {{"question": the question, \
"answer": the answer in at most ten words, copied from the passage, "quote": the sentence of the passage that holds \
the answer, copied letter for letter}}.

Document: {title}
Passage:
{text}"""

T = TypeVar("T")


@dataclass
class DraftingResult:
    """What came of it; `left_out` counts what was not kept, by its reason."""

    drafts: list[Draft] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    gave_up: str | None = None
    """Why the model was not asked any more; what was drafted until then is kept."""


@dataclass(frozen=True)
class DraftWriter:
    """A model that drafts, at an OpenAI-compatible endpoint (its URL with /v1)."""

    url: str
    model: str
    concurrency: int = 8
    timeout_s: float = 60.0


@dataclass(frozen=True)
class DraftPassage:
    """`document.text[start:end]`, one or more paragraphs."""

    document: DraftDocument
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.document.text[self.start : self.end]


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
    drafted = DraftingResult()
    _draft_facts(documents, -(-number // 2) if writer else number, seed, drafted)
    if writer:
        passages = _spread([find_passages(each) for each in documents.documents], seed)
        asyncio.run(_Writing(writer, drafted, number, on_progress).run(passages))
    drafted.drafts = _each_once(drafted)
    return drafted


def find_passages(document: DraftDocument) -> list[DraftPassage]:
    """Paragraphs of 12 words and more, joined up to 1,500 characters; a longer paragraph is one passage, cut there."""
    passages: list[DraftPassage] = []
    for match in re.finditer(r"\S(?:.|\n(?!\s*\n))*", document.text):
        start, end = match.start(), match.start() + min(len(match[0].rstrip()), MAX_CHARACTERS)
        if match[0].startswith("#") or len(match[0].split()) < MIN_WORDS:
            continue
        if passages and end - passages[-1].start <= MAX_CHARACTERS:
            start = passages.pop().start
        passages.append(DraftPassage(document, start, end))
    return passages


def check_reply(passage: DraftPassage, text: str, name: str) -> Draft | str:
    """The draft in a model's reply, or the reason why it is not kept."""
    match = re.search(r"\{.*\}", text, re.DOTALL)
    try:
        values = json.loads(match[0]) if match else None
    except ValueError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(values.get(key), str) for key in _KEYS):
        return "the reply is not the JSON that was asked for"
    question, answer, quote = (values[key].strip() for key in _KEYS)
    if not question or not re.search(r"\w", answer):
        return "the question or the answer is empty"
    place = passage.text.find(quote)
    if not quote or place < 0:
        return "the quote does not stand in the passage"
    if not re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", quote):
        return "the answer does not stand in the quote"
    source, start = passage.document.source, passage.start + place
    return Draft(
        id=name, slice=SLICE, question=question, answers=(answer,), reference=quote, sources=(source,), approved=None,
        span=Span(source=source, start=start, end=start + len(quote)),
    )  # fmt: skip


_KEYS = ("question", "answer", "quote")


def _draft_facts(documents: Documents, number: int, seed: int, drafted: DraftingResult) -> None:
    """A question with two answers in the documents is not asked: nobody could say which is right."""
    facts = [find_facts(document) for document in documents.documents]
    values: dict[str, set[str]] = {}
    for fact in (fact for found in facts for fact in found):
        values.setdefault(fact.question.casefold(), set()).add(fact.value)
    clear = [[fact for fact in found if len(values[fact.question.casefold()]) == 1] for found in facts]
    drafted.left_out["the documents give two answers"] += sum(
        len(a) - len(b) for a, b in zip(facts, clear, strict=True)
    )
    chosen = [fact for fact, _ in zip(_spread(clear, seed), range(number), strict=False)]
    drafted.drafts += [fact.as_draft(f"fact-{place:04}") for place, fact in enumerate(chosen)]


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


class _Writing:
    """Calls in flight at once, until there are enough drafts, no passages, or the endpoint is gone."""

    def __init__(
        self, writer: DraftWriter, drafted: DraftingResult, number: int, on_progress: Callable[[str], None]
    ) -> None:
        self.writer, self.drafted, self.number, self.on_progress = writer, drafted, number, on_progress
        self.kept: dict[int, Draft] = {}
        self.num_open = self.num_failed_in_a_row = 0

    async def run(self, passages: Iterator[DraftPassage]) -> None:
        self.client = connect_async(self.writer.url, timeout_s=self.writer.timeout_s)
        turns = enumerate(passages)
        try:
            await asyncio.gather(*(self._work(turns) for _ in range(self.writer.concurrency)))
        finally:
            await self.client.close()
        self.drafted.drafts += [self.kept[place] for place in sorted(self.kept)]

    async def _work(self, turns: Iterator[tuple[int, DraftPassage]]) -> None:
        while not self.drafted.gave_up and self._wanted() > self.num_open:
            turn = next(turns, None)
            if turn is None:
                return
            self.num_open += 1
            try:
                await self._draft(*turn)
            finally:
                self.num_open -= 1

    def _wanted(self) -> int:
        return self.number - len(self.drafted.drafts) - len(self.kept)

    async def _draft(self, place: int, passage: DraftPassage) -> None:
        prompt = PROMPT.format(title=passage.document.source, text=passage.text)
        try:
            answer = await ask_async(self.client, self.writer.model, prompt, max_tokens=512)
        except AskFailed as error:
            self._failed(error.seen)
            return
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # The openai client does not validate: a body that is no chat completion shows when it is read.
            self._failed(f"The endpoint's answer is no chat completion ({type(error).__name__}).")
            return
        self.num_failed_in_a_row = 0
        checked = check_reply(passage, answer.text, f"prose-{place:04}")
        if isinstance(checked, Draft):
            self.kept[place] = checked
            self.on_progress(f"drafted {len(self.drafted.drafts) + len(self.kept):,} of {self.number:,}")
        else:
            self.drafted.left_out[checked] += 1

    def _failed(self, seen: str) -> None:
        self.drafted.left_out["the call failed"] += 1
        self.num_failed_in_a_row += 1
        if self.num_failed_in_a_row >= GIVE_UP_AFTER:
            self.drafted.gave_up = seen
