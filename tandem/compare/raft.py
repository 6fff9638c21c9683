"""Rows that teach a model to read what retrieval really finds (RAFT, arXiv 2403.10131), from a project's own rows.

Each training row that names its documents is asked of the live endpoint, which returns the messages that it rendered
and the passages in them, so that prompt and distractors are those the model will see later:

- passages that hold the document: the row's answer, with the mark of the passage that it comes from;
- the document kept out by a filter (every fifth row, `WITHOUT_GOLD`): a refusal, among the passages nearest to it;
- a row whose answer is not in the document any more (it was corrected since) is left out: it would teach to overlook
  what a passage says;
- the row as it is, without passages (every third row, `REPLAYED`; all that name no document or are more than
  one question and one answer, such as rows with tools): so that the model keeps
  what it knew.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from evaluation.questions.sources import same_document
from retrieval.prompt import PROMPT_HASH
from serving.client import Answer, Citation, ask_async, connect_async
from training.data.rows import TrainingRow

if TYPE_CHECKING:
    from openai import AsyncOpenAI

WITHOUT_GOLD = 5
"""Of so many rows, the first is asked a second time with its document kept out."""
REPLAYED = 3
"""Of so many rows, the first is trained on without passages, too."""
SUPPORTED = 0.8
"""Share of an answer's words, without those of the question, that its document has to hold."""
REFUSAL = "I do not know."
IN_FLIGHT = 16
MadeRow = dict[str, Any]


@dataclass(frozen=True)
class RaftRows:
    """What was made: counts of rows that read a passage, refuse, and are replayed without passages."""

    num_reading: int
    num_refusing: int
    num_replayed: int
    num_left_out: int
    """Rows whose document retrieval did not find, or whose document does not hold the answer."""

    @property
    def summary(self) -> str:
        return (
            f"{self.num_reading} rows that read what retrieval finds, {self.num_refusing} whose document is kept out, "
            f"{self.num_replayed} without passages; {self.num_left_out} left out: not found, or not what is found"
        )


def make_rows(
    url: str, model: str, rows: Sequence[TrainingRow], path: Path, on_progress: Callable[[str], None]
) -> RaftRows:
    """Ask the endpoint for the prompt of each row and write the rows to `path`, whole or not at all.

    Args:
        url: the endpoint with /v1.
        model: a name with a collection, such as `base+handbook`.

    Raises:
        TandemError: a call failed, no row names a document, or retrieval found none of them.
    """
    kept = [row for row in rows if not row.prompt_hash and row.rejected is None and row.label is None and not row.text]
    named = [row for row in kept if row.sources and row.is_plain]
    if not named:
        raise TandemError(
            "No training row names the document that its answer comes from.",
            "The arm `raft` needs rows with one question, one answer, and `source` or `sources`.",
            "Add `source` to the rows of `training.data`, or take `raft` out of `evaluation.arms`.",
        )
    on_progress(f"making rows for retrieval from {len(named):,} training rows")
    reading, refusing, num_left_out = asyncio.run(_ask_all(url, model, named, on_progress))
    if not reading:
        raise TandemError(
            f"Retrieval found none of {len(named):,} training rows' documents with the answer in it.",
            "Rows whose `source` is the name of an indexed document that holds the answer.",
            "Compare `source` with what `tandem search` names, or take `raft` out of `evaluation.arms`.",
        )
    replayed = [
        _plain(row) for number, row in enumerate(kept) if number % REPLAYED == 0 or not (row.sources and row.is_plain)
    ]
    made = [{**row, "prompt_hash": PROMPT_HASH} for row in (*reading, *refusing)] + replayed
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made))
    return RaftRows(len(reading), len(refusing), len(replayed), num_left_out)


async def _ask_all(
    url: str, model: str, rows: Sequence[TrainingRow], on_progress: Callable[[str], None]
) -> tuple[list[MadeRow], list[MadeRow], int]:
    client, limit, num_done = connect_async(url), asyncio.Semaphore(IN_FLIGHT), 0

    async def make(number: int, row: TrainingRow) -> tuple[MadeRow | None, MadeRow | None]:
        nonlocal num_done
        async with limit:
            made = await _make_rows_from(client, model, row, refuses=number % WITHOUT_GOLD == 0)
        num_done += 1
        on_progress(f"made rows for retrieval from {num_done:,} of {len(rows):,}")
        return made

    try:
        made = await asyncio.gather(*(make(number, row) for number, row in enumerate(rows)))
    finally:
        await client.close()
    reading = [first for first, _ in made if first]
    return reading, [second for _, second in made if second], len(made) - len(reading)


async def _make_rows_from(
    client: "AsyncOpenAI", model: str, row: TrainingRow, refuses: bool
) -> tuple[MadeRow | None, MadeRow | None]:
    """The row with what retrieval finds for it, and where `refuses` a second one without its documents."""
    rendered = await _rendered(client, model, row)
    question, answer = row.messages[0]["content"], row.messages[-1]["content"].rstrip()
    golds = [citation for citation in rendered.citations if _is_from(citation, row.sources)]
    gold = next((citation for citation in golds if _supports(citation.text or "", question, answer)), None)
    if gold is None:
        return None, None
    reading = _row(row, "read", rendered, _with_mark(answer, gold.index))
    if not refuses:
        return reading, None
    names = sorted({name for citation in golds for name in _names(citation)})
    without = await _rendered(client, model, row, {"type": "nin", "key": "source", "value": names})
    return reading, _row(row, "without", without, REFUSAL)


async def _rendered(client: "AsyncOpenAI", model: str, row: TrainingRow, where: dict[str, Any] | None = None) -> Answer:
    retrieval = {"return_messages": True, "return_passages": True, **({"filter": where} if where else {})}
    question = row.messages[0]["content"]
    return await ask_async(client, model, question, max_tokens=1, extra_body={"retrieval": retrieval})


def _row(row: TrainingRow, kind: str, rendered: Answer, answer: str) -> MadeRow:
    messages = [*(rendered.messages or ()), {"role": "assistant", "content": answer}]
    return {"id": f"{row.id}-{kind}", "sources": list(row.sources), "messages": messages}


def _plain(row: TrainingRow) -> MadeRow:
    """The row as a file holds it: with tools, settings, and the weights of answers that do not count as usual."""
    said, messages = row.conversation, [dict(message) for message in row.messages]
    for number, message in enumerate(messages):
        weight = said.loss_weight(number)
        if message["role"] == "assistant" and weight != 1:
            message["weight"] = weight
    tools = {"tools": list(said.tools)} if said.tools else {}
    settings = {"chat_template_kwargs": dict(said.template_kwargs)} if said.template_kwargs else {}
    return {"id": row.id, "sources": list(row.sources), "messages": messages} | tools | settings


def _with_mark(answer: str, index: int) -> str:
    """The mark stands before the full stop, as in the prompt's example: "It is 26 [1]." """
    return f"{answer[:-1]} [{index}]." if answer.endswith(".") else f"{answer} [{index}]"


def _supports(passage: str, question: str, answer: str) -> bool:
    """Whether the passage holds what the answer adds to the question."""
    added = _words(answer) - _words(question)
    return bool(added) and len(added & _words(passage)) >= SUPPORTED * len(added)


def _words(text: str) -> set[str]:
    return {word.strip(".,;:!?()[]\"'") for word in text.casefold().split()} - {""}


def _is_from(citation: Citation, sources: Sequence[str]) -> bool:
    return any(same_document(name, source) for name in _names(citation) for source in sources)


def _names(citation: Citation) -> list[str]:
    return [citation.source, *citation.also_in]
