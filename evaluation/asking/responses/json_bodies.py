"""A response's body as JSON, also where it is not quite JSON, or a stream of events."""

import json
from itertools import chain
from typing import Any

import orjson

DONE = "[DONE]"


def parse_json(content: bytes) -> Any:
    """What the body holds. Half of a surrogate pair, NaN and bytes that are no UTF-8 are read too.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(content.decode("utf-8-sig", errors="replace"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_body(content: bytes) -> Any:
    """The body of a chat completion; that of a stream, which nobody asked for, is put together.

    Raises:
        ValueError: it is neither, or the stream ended before the answer did.
    """
    try:
        return parse_json(content)
    except ValueError:
        if not content.lstrip().startswith((b"data:", b"event:", b"id:", b"retry:", b":")):
            raise
    return _join_events(_events(content.decode("utf-8-sig", errors="replace")))


def _events(text: str) -> list[Any]:
    """The data of each event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    events, data = [], list[str]()
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.startswith("data:"):
            data.append(line[len("data:") :].removeprefix(" "))
        elif not line and data:
            events.append("\n".join(data))
            data = []
    return [DONE if event.strip() == DONE else parse_json(event.encode()) for event in events]


def _join_events(events: list[Any]) -> Any:
    """One body out of the pieces of a stream."""
    whole: dict[str, Any] = {}
    pieces: list[dict[str, Any]] = []
    for event in events:
        if event == DONE or not isinstance(event, dict):
            continue
        if event.get("error"):
            return event
        whole |= {name: value for name, value in event.items() if value is not None and name != "choices"}
        choices = event.get("choices")
        for piece in choices if isinstance(choices, list) else []:
            if isinstance(piece, dict) and not piece.get("index"):
                pieces.append(piece)
    reasons = [piece["finish_reason"] for piece in pieces if piece.get("finish_reason")]
    if DONE not in events and not reasons:
        raise ValueError("the stream ended before the answer did")
    if not pieces:
        return whole | {"choices": []}
    message = _joined([piece.get("delta") or piece.get("message") for piece in pieces])
    logprobs = _joined([piece.get("logprobs") for piece in pieces])
    reason = reasons[-1] if reasons else None
    return whole | {"choices": [{"message": message or {}, "logprobs": logprobs, "finish_reason": reason}]}


def _joined(values: list[Any]) -> Any:
    """Texts and lists put together, objects by their names; of anything else the last one."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, str) for value in known):
        return "".join(known)
    if known and all(isinstance(value, list) for value in known):
        return list(chain.from_iterable(known))
    if known and all(isinstance(value, dict) for value in known):
        by_name: dict[str, list[Any]] = {}
        for value in known:
            for name, each in value.items():
                by_name.setdefault(name, []).append(each)
        return {name: _joined(each) for name, each in by_name.items()}
    return known[-1] if known else None


def printable(text: str) -> str:
    """Half of a surrogate pair is JSON, and no text that could be written to a file."""
    return text.encode(errors="replace").decode()
