"""Server-sent events of the engine -> those of the endpoint: the public model name, and citations in the last chunk.

`citations` lists the passages that an answer was given, and says which of them it cites.
"""

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from serving.access.token_usage import TokenUsage

DONE = "data: [DONE]"


class StreamingAnswer(Protocol):
    """What is known of the answer that comes; the gateway's PreparedRequest is an example."""

    @property
    def body(self) -> dict[str, Any]: ...
    @property
    def public_name(self) -> str: ...
    @property
    def hides_usage(self) -> bool: ...
    @property
    def token_usage(self) -> TokenUsage: ...
    def began(self, answer_id: str) -> None: ...
    def fields(self, text: str) -> dict[str, Any]: ...


async def relay_stream(events: AsyncGenerator[str], answering: StreamingAnswer) -> AsyncGenerator[str]:
    """Passes events on as they come; those that come together go on together.

    A chunk that may be the last (it ends a choice, or holds the usage) waits for the next one; no token waits.
    """
    old, new = (f'"model":{json.dumps(name)}' for name in (answering.body["model"], answering.public_name))
    texts: list[str] = []
    waiting, has_begun = "", False
    async with aclosing(events):
        async for batch in events:
            ready: list[str] = []
            for event in filter(None, batch.split("\n\n")):
                if event == DONE:
                    ended = _with_extras(waiting, answering.fields("".join(texts))) if waiting else ""
                    yield "".join([*ready, ended, f"{DONE}\n\n"])
                    return
                chunk = _chunk(event)
                if not has_begun:
                    has_begun = True
                    answering.began(str(chunk.get("id", "")))
                if usage := chunk.get("usage"):
                    answering.token_usage.reported = usage["total_tokens"]
                    if answering.hides_usage:
                        continue
                if waiting:
                    ready.append(f"{waiting}\n\n")
                    waiting = ""
                event = event.replace(old, new, 1)
                said = _texts(chunk)
                if any(said) or _thinks_or_calls(chunk):
                    answering.token_usage.came()
                texts.extend(said)
                if _may_be_last(chunk):
                    waiting = event
                else:
                    ready.append(f"{event}\n\n")
            if ready:
                yield "".join(ready)
        if waiting:
            yield _with_extras(waiting, answering.fields("".join(texts)))


def _chunk(event: str) -> dict[str, Any]:
    chunk = json.loads(event.removeprefix("data: "))
    return chunk if isinstance(chunk, dict) else {}


def _texts(chunk: dict[str, Any]) -> list[str]:
    return [choice.get("delta", {}).get("content") or choice.get("text") or "" for choice in chunk.get("choices", [])]


def _thinks_or_calls(chunk: dict[str, Any]) -> bool:
    """Whether a chunk holds thinking that a reasoning parser took out of the text, or a part of a tool's call."""
    deltas = [choice.get("delta") or {} for choice in chunk.get("choices") or []]
    return any(delta.get("tool_calls") or delta.get("reasoning") for delta in deltas)


def _may_be_last(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices")
    return choices is not None and (not choices or any(choice.get("finish_reason") for choice in choices))


def _with_extras(event: str, fields: dict[str, Any]) -> str:
    if not fields:
        return f"{event}\n\n"
    return f"data: {json.dumps(_chunk(event) | fields, ensure_ascii=False)}\n\n"


_MARK = re.compile(r"\[([1-9][0-9]?[0-9]?)\]")


class CitablePassage(Protocol):
    """What a citation tells of a passage; retrieval's Hit is one."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def citation(self) -> str: ...
    @property
    def also_in(self) -> tuple[str, ...]: ...
    @property
    def position(self) -> int: ...
    @property
    def last_position(self) -> int: ...


def citations(hits: Sequence[CitablePassage], text: str, with_passages: bool = False) -> list[dict[str, Any]]:
    """One entry per passage in the order of the prompt; `cited` where `text` holds its mark, like [1].

    `span` has the numbers of the first and the last chunk of its document that the passage holds;
    `with_passages` adds its text.
    """
    marks = {int(number) for number in _MARK.findall(text)}
    return [
        {
            "id": hit.id,
            "index": index,
            "source": hit.source,
            "title": hit.title,
            "score": hit.score,
            "span": [hit.position, hit.last_position],
            "citation": hit.citation,
            "also_in": list(hit.also_in),
            "cited": index in marks,
            **({"text": hit.text} if with_passages else {}),
        }
        for index, hit in enumerate(hits, start=1)
    ]
