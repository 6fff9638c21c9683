"""Training rows: read from JSONL and checked before any worker starts.

A row is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]} or
{"prompt": "...", "completion": "..."}, which is the same as one user and one assistant message. Every row may carry
`id` and `source` (or `sources`), which go into the adapter's `trained.jsonl`, and `prompt_hash` (retrieval-aware rows).
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.digests import digest_json
from cluster.errors import TandemError

Message = dict[str, str]
ROLES = ("system", "user", "assistant")
NUM_SHOWN = 20


@dataclass(frozen=True)
class Row:
    """One checked row: messages that start with at most one system message, alternate, and end with an answer."""

    line: int
    messages: tuple[Message, ...]
    id: str
    sources: tuple[str, ...]
    prompt_hash: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of the messages; what a leak check compares."""
        return digest_json(list(self.messages))


@dataclass(frozen=True)
class DataReport:
    """The rows of a file that passed every check that needs no tokenizer."""

    path: Path
    rows: tuple[Row, ...]

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    @property
    def prompt_hash(self) -> str | None:
        """The one prompt format that retrieval-aware rows were rendered with, or None."""
        return next((row.prompt_hash for row in self.rows if row.prompt_hash), None)


@dataclass(frozen=True)
class BadRow:
    """A line that cannot be trained on, and why."""

    line: int
    reason: str


def check_rows(path: Path) -> DataReport:
    """Read and check every line of a JSONL file; blank lines are skipped.

    Raises:
        TandemError: there is no such file, it holds no row, or some rows are bad (up to 20 are listed as file:line).
    """
    rows: list[Row] = []
    bad: list[BadRow] = []
    num_lines = 0
    for line, text in _lines(path):
        num_lines += 1
        try:
            rows.append(_parse(line, text))
        except ValueError as error:
            bad.append(BadRow(line, str(error)))
    bad.extend(_foreign_prompts(rows))
    if bad:
        raise bad_rows_error(path, bad, num_lines)
    if not rows:
        raise _unusable(path, "is empty")
    return DataReport(path, tuple(rows))


def bad_rows_error(path: Path, bad: Sequence[BadRow], num_rows: int) -> TandemError:
    """One error that lists the bad rows as file:line and reason."""
    shown = [f"\n  {path}:{row.line}: {row.reason}" for row in bad[:NUM_SHOWN]]
    more = f"\n  and {len(bad) - NUM_SHOWN} more" if len(bad) > NUM_SHOWN else ""
    return TandemError(
        f"{len(bad)} of {num_rows} training rows cannot be used:{''.join(shown)}{more}\n",
        "Each line is a JSON object with `messages` (an optional system message, then user and assistant in turn, "
        "ending with the assistant) or with `prompt` and `completion`, all of them strings with text.",
        "Mend or remove these lines; none of them is dropped silently.",
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield number, text
    except FileNotFoundError as error:
        raise _unusable(path, "does not exist") from error
    except IsADirectoryError as error:
        raise _unusable(path, "is a folder") from error
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error


def _unusable(path: Path, problem: str) -> TandemError:
    return TandemError(
        f"The training data {path} {problem}.",
        "A JSONL file with at least one row.",
        "Set `training.data` in the project file to such a file.",
    )


def _parse(line: int, text: bytes) -> Row:
    value = _load(text)
    messages = _messages_of(value)
    _check_messages(messages)
    prompt_hash = value.get("prompt_hash")
    if prompt_hash is not None and not isinstance(prompt_hash, str):
        raise ValueError("`prompt_hash` is not a string")
    return Row(line, tuple(messages), str(value.get("id", line)), _sources_of(value), prompt_hash)


def _load(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {_kind(value)}, not an object")
    return value


def _messages_of(value: dict[str, Any]) -> list[Message]:
    if "messages" in value:
        messages = value["messages"]
        if not isinstance(messages, list) or not messages:
            raise ValueError("`messages` is not a list with messages")
        return [_message(message, number) for number, message in enumerate(messages, start=1)]
    if "prompt" not in value or "completion" not in value:
        raise ValueError("has neither `messages` nor `prompt` and `completion`")
    return [
        {"role": role, "content": _text(value[key], f"`{key}`")}
        for role, key in (("user", "prompt"), ("assistant", "completion"))
    ]


def _message(message: Any, number: int) -> Message:
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        raise ValueError(f"message {number} is not an object with `role` and `content`")
    if message["role"] not in ROLES:
        raise ValueError(f"message {number} has the role {message['role']!r}, which is none of {', '.join(ROLES)}")
    return {"role": message["role"], "content": _text(message["content"], f"the content of message {number}")}


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is a JSON {_kind(value)}, not a string")
    return value


def _check_messages(messages: list[Message]) -> None:
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    for number, message in enumerate(turns):
        expected = ("user", "assistant")[number % 2]
        position = number + 1 + len(messages) - len(turns)
        if message["role"] != expected:
            raise ValueError(f"message {position} has the role {message['role']!r} where {expected!r} must come")
        if not message["content"].strip():
            raise ValueError(f"message {position} is an empty {'answer' if expected == 'assistant' else 'question'}")
    if not turns or turns[-1]["role"] != "assistant":
        raise ValueError("the last message is not the assistant's")


def _sources_of(value: dict[str, Any]) -> tuple[str, ...]:
    sources = value.get("sources", value.get("source", []))
    sources = [sources] if isinstance(sources, str) else sources
    if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
        raise ValueError("`source` is neither a string nor a list of strings")
    return tuple(sources)


def _foreign_prompts(rows: list[Row]) -> list[BadRow]:
    counts = Counter(row.prompt_hash for row in rows if row.prompt_hash)
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    reason = f"rendered with another prompt format than the rest (prompt_hash {usual[:12]})"
    return [BadRow(row.line, reason) for row in rows if row.prompt_hash not in (None, usual)]


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
