"""Draft questions that a model writes from prose, one passage at a time.

A draft is kept only where its quote is in the passage and its answer in the quote, word for word, and where the
model itself, asked the question, gives the accepted answer when it sees the passage and does not without it. Both
answers are kept with the draft; whatever is not kept is counted by its reason.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from evaluation.asking.transport import EndpointClient, apply_settings
from evaluation.config import RequestSettings
from evaluation.drafts.documents import DraftDocument
from evaluation.drafts.draft_files import PROSE, Draft, Span
from evaluation.drafts.markdown import Items, Paragraph, Table, read_outline
from evaluation.grading.grading import Ungradable, grade
from evaluation.replies import Reply

MIN_WORDS, MAX_CHARACTERS = 12, 1500
GIVE_UP_AFTER = 5
# Room for a model that thinks before it answers.
MAX_TOKENS = 2048
PROMPT = """\
Write one question that a reader of the passage below may have and that the passage answers. Somebody who does not see \
the passage must understand the question. Answer with a JSON object and nothing else: {{"question": the question, \
"answer": the answer in at most ten words, copied from the passage, "quote": the sentence of the passage that holds \
the answer, copied letter for letter}}.

Document: {title}
Passage:
{text}"""
WITH_PASSAGE = """\
Answer the question from the passage. Answer with the value alone, in the words of the passage.

Document: {title}
Passage:
{text}

Question: {question}"""
WITHOUT_PASSAGE = """\
Answer the question. Answer with the value alone, in as few words as possible.

Question: {question}"""
KEYS = ("question", "answer", "quote")


@dataclass
class DraftingResult:
    """What came of it; `left_out` counts what was not kept, by its reason."""

    drafts: list[Draft] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    gave_up: str | None = None
    """Why the model was not asked any more; what was drafted until then is kept."""
    too_long: tuple[str, ...] = ()
    """Documents of more than a million characters, which nothing is drafted from."""


@dataclass(frozen=True)
class DraftWriter:
    """A model that drafts, at an OpenAI-compatible endpoint; `settings` are those of an entry of
    `evaluation.endpoints`."""

    url: str
    model: str
    settings: RequestSettings | None = None
    concurrency: int = 8
    timeout_s: float = 120.0


@dataclass(frozen=True)
class DraftPassage:
    """`document.text[start:end]`, one or more paragraphs; `title` names the document and the headings above."""

    document: DraftDocument
    start: int
    end: int
    title: str = ""

    @property
    def text(self) -> str:
        return self.document.text[self.start : self.end]


async def write_drafts_from(
    passages: Iterator[DraftPassage],
    writer: DraftWriter,
    number: int,
    drafted: DraftingResult,
    on_progress: Callable[[str], None],
) -> None:
    """Add drafts from prose until there are `number` in all, no passages are left, or the endpoint is gone."""
    await _Writing(writer, drafted, number, on_progress).run(passages)


def find_passages(document: DraftDocument) -> list[DraftPassage]:
    """Paragraphs of 12 words and more and lists, joined up to 1,500 characters below a heading; what is longer is cut
    there. Code, tables, quotes and front matter are left out."""
    outline = read_outline(document.text)
    passages: list[DraftPassage] = []
    below: tuple[str, ...] | None = None
    for block in outline.blocks:
        if isinstance(block, Table) or not (span := _span(block)):
            below = None
            continue
        start, end = span[0], min(span[1], span[0] + MAX_CHARACTERS)
        end = start + len(document.text[start:end].rstrip())
        if passages and below == block.headings and end - passages[-1].start <= MAX_CHARACTERS:
            start = passages.pop().start
        elif len(document.text[start:end].split()) < MIN_WORDS:
            continue
        below = block.headings
        title = ": ".join([outline.title or document.source, *block.headings])
        passages.append(DraftPassage(document, start, end, title))
    return passages


def _span(block: Paragraph | Items) -> tuple[int, int] | None:
    texts = block.items if isinstance(block, Items) else (block.text,)
    return (texts[0].start, texts[-1].end) if texts else None


def check_reply(passage: DraftPassage, text: str, name: str) -> Draft | str:
    """The draft in a model's reply, or the reason why it is not kept."""
    values = _last_object(text)
    if values is None:
        return "the reply is not the JSON that was asked for"
    question, answer, quote = (str(values[key]).strip() for key in KEYS)
    if not question or not re.search(r"\w", answer):
        return "the question or the answer is empty"
    place = _find(quote, passage.text)
    if place is None:
        return "the quote is not in the passage"
    if not _find(answer, place[0]):
        return "the answer is not in the quote"
    source, start = passage.document.source, passage.start + place.start()
    return Draft(
        id=name, slice=PROSE, question=question, answers=(answer,), reference=" ".join(place[0].split()),
        sources=(source,), approved=None, span=Span(source=source, start=start, end=start + len(place[0])),
    )  # fmt: skip


def _last_object(text: str) -> dict[str, object] | None:
    """The last JSON object in a text that has the three keys: a model may think aloud before it, or fence it."""
    decoder, found, place = json.JSONDecoder(), None, text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place = text.find("{", place + 1)
            continue
        if isinstance(value, dict) and all(isinstance(value.get(key), str | int | float) for key in KEYS):
            found = value
        place = text.find("{", end)
    return found


def _find(words: str, text: str) -> re.Match[str] | None:
    """Words in a text as whole words, whatever spaces and marks of emphasis are between them."""
    parts = [re.escape(part) for word in words.split() if (part := word.strip("*_`"))]
    if not parts:
        return None
    before, after = (r"(?<!\w)", r"(?!\w)")
    return re.search(before + r"[\s*_`]+".join(parts) + after, text)


class _Writing:
    """Calls in flight at once, until there are enough drafts, no passages, or the endpoint is gone."""

    def __init__(
        self, writer: DraftWriter, drafted: DraftingResult, number: int, on_progress: Callable[[str], None]
    ) -> None:
        self.writer, self.drafted, self.number, self.on_progress = writer, drafted, number, on_progress
        self.limit = {"max_tokens": MAX_TOKENS}
        self.kept: dict[int, Draft] = {}
        self.num_open = self.num_failed_in_a_row = 0

    async def run(self, passages: Iterator[DraftPassage]) -> None:
        self.client = EndpointClient(
            self.writer.url, self.writer.timeout_s, self.writer.concurrency, self.writer.settings
        )
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
                outcome = await self._draft(*turn)
            finally:
                self.num_open -= 1
            if isinstance(outcome, Draft):
                self.kept[turn[0]] = outcome
                self.on_progress(f"drafted {len(self.drafted.drafts) + len(self.kept):,} of {self.number:,}")
            else:
                self.drafted.left_out[outcome] += 1

    def _wanted(self) -> int:
        return self.number - len(self.drafted.drafts) - len(self.kept)

    async def _draft(self, place: int, passage: DraftPassage) -> Draft | str:
        """The draft with what the model answers to it, or why there is none."""
        shown = {"title": passage.title or passage.document.source, "text": passage.text}
        reply = await self._ask(PROMPT.format(**shown))
        if reply.text is None:
            return _no_text(reply)
        draft = check_reply(passage, reply.text, f"prose-{place:04}")
        if isinstance(draft, str):
            return draft
        seen = await self._ask(WITH_PASSAGE.format(**shown, question=draft.question))
        if seen.text is None:
            return _no_text(seen)
        if not _is_right(draft, seen.text):
            return "the model does not find the answer in the passage"
        unseen = await self._ask(WITHOUT_PASSAGE.format(question=draft.question))
        if unseen.text is None:
            return _no_text(unseen)
        if _is_right(draft, unseen.text):
            return "the model knows the answer without the passage"
        return draft.model_copy(update={"with_passage": seen.text, "without_passage": unseen.text})

    async def _ask(self, prompt: str) -> Reply:
        messages = [{"role": "user", "content": prompt}]
        plain = {"model": self.writer.model, "messages": messages, "temperature": 0.0}
        settings = self.writer.settings
        body, limit = plain | self.limit, self.limit
        completion = await self.client.complete(apply_settings(body, settings) if settings else body)
        if completion.status == 400 and limit:
            # The model may have no room for so many tokens; without a limit it gets what room there is.
            self.limit = {}
            completion = await self.client.complete(apply_settings(plain, settings) if settings else plain)
        reply = completion.reply
        self.num_failed_in_a_row = self.num_failed_in_a_row + 1 if reply.failed else 0
        if reply.failed and (completion.final or self.num_failed_in_a_row >= GIVE_UP_AFTER):
            self.drafted.gave_up = reply.failed
        return reply


def _no_text(reply: Reply) -> str:
    return "the call failed" if reply.failed else "the reply holds no answer"


def _is_right(draft: Draft, answer: str) -> bool:
    """By the rules that answers are graded by in a comparison; what these cannot decide on is not right."""
    try:
        graded = grade(draft.as_question(), answer)
    except Ungradable:
        return False
    return graded.correct and not graded.unclear
