"""Server-sent events of the engine -> those of the endpoint: the public model name, and citations in the last chunk."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

DONE = "data: [DONE]"
Extras = Callable[[str], dict[str, Any]]


async def relay(events: AsyncIterator[str], engine_name: str, public_name: str, extras: Extras) -> AsyncIterator[str]:
    """Passes events on as they come. `extras` gives the last chunk's fields from the whole text of the answer.

    A chunk that may be the last (it ends a choice, or holds the usage) waits for the next one; no token waits.
    """
    old, new = f'"model":{json.dumps(engine_name)}', f'"model":{json.dumps(public_name)}'
    texts: list[str] = []
    waiting = ""
    async for batch in events:
        for event in filter(None, batch.split("\n\n")):
            if event.strip() == DONE:
                yield _with_extras(waiting, extras("".join(texts))) if waiting else ""
                yield f"{DONE}\n\n"
                return
            if waiting:
                yield f"{waiting}\n\n"
                waiting = ""
            event = event.replace(old, new, 1)
            chunk = _chunk(event)
            texts.extend(_texts(chunk))
            if _may_be_last(chunk):
                waiting = event
            else:
                yield f"{event}\n\n"
    if waiting:
        yield _with_extras(waiting, extras("".join(texts)))


def _chunk(event: str) -> dict[str, Any]:
    chunk = json.loads(event.removeprefix("data: "))
    return chunk if isinstance(chunk, dict) else {}


def _texts(chunk: dict[str, Any]) -> list[str]:
    return [choice.get("delta", {}).get("content") or choice.get("text") or "" for choice in chunk.get("choices", [])]


def _may_be_last(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices")
    return choices is not None and (not choices or any(choice.get("finish_reason") for choice in choices))


def _with_extras(event: str, fields: dict[str, Any]) -> str:
    if not fields:
        return f"{event}\n\n"
    return f"data: {json.dumps(_chunk(event) | fields, ensure_ascii=False)}\n\n"
