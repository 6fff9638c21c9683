"""The formats of a row, recognised by their keys, and how each is read as chat messages.

    chat messages          {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    prompt and completion  {"prompt": "...", "completion": "..."}
    alpaca                 {"instruction": "...", "input": "...", "output": "..."}; `input` may be missing or empty
    sharegpt               {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}
    preference pairs       {"prompt": "...", "chosen": "...", "rejected": "..."}, or `chosen` and `rejected` as lists of
                           messages that differ in the last one only

Alpaca and sharegpt rows may have a `system` text. A row of another kind, or one whose messages are not an optional
system message and then user and assistant in turn, raises a ValueError with the reason.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

from training.data.conversation import Conversation, Message, ParsedRow

Format = Literal["chat messages", "prompt and completion", "alpaca", "sharegpt", "preference pairs"]
FORMATS: tuple[Format, ...] = get_args(Format)
ROLES = ("system", "user", "assistant")

_REQUIRED_KEYS: dict[Format, tuple[str, ...]] = {
    "chat messages": ("messages",),
    "prompt and completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "sharegpt": ("conversations",),
    "preference pairs": ("chosen", "rejected"),
}
_ROLE_OF_SPEAKER = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
# Keys that change what the model sees or learns. A row with such a key is refused, because it would be half read.
_UNREAD_KEYS = ("tool_calls", "reasoning_content", "thinking", "weight")


def recognise_format(value: dict[str, Any], pairs_first: bool = False) -> Format:
    """The format of a row; of a row that is of two formats, preference pairs only where they are asked for."""
    order = sorted(FORMATS, key=lambda name: (name == "preference pairs") != pairs_first)
    for name in order:
        if all(key in value for key in _REQUIRED_KEYS[name]):
            return name
    raise ValueError(
        "has neither `messages` nor `prompt` and `completion` nor `instruction` and `output` nor `conversations` nor "
        "`chosen` and `rejected`"
    )


def parse_row(value: dict[str, Any], name: Format) -> ParsedRow:
    """What a row of this format teaches."""
    if name == "preference pairs":
        chosen, rejected = (_pair_side(value, key) for key in ("chosen", "rejected"))
        _check_pair(chosen, rejected)
        return ParsedRow(Conversation(tuple(chosen)), rejected=tuple(rejected))
    messages = _PARSERS[name](value)
    _check_turns(messages)
    return ParsedRow(Conversation(tuple(messages)))


def json_type(value: Any) -> str:
    """The name of a JSON value's type."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _parse_chat(value: dict[str, Any]) -> list[Message]:
    return _parse_messages(value["messages"], "`messages`")


def _parse_prompt(value: dict[str, Any]) -> list[Message]:
    return [
        _make_message("user", value["prompt"], "`prompt`"),
        _make_message("assistant", value["completion"], "`completion`"),
    ]


def _parse_alpaca(value: dict[str, Any]) -> list[Message]:
    if value.get("history"):
        raise ValueError("has a `history`; write rows of several turns as chat messages")
    given = "" if value.get("input") is None else _require_text(value["input"], "`input`")
    question = _require_text(value["instruction"], "`instruction`") + (f"\n\n{given}" if given.strip() else "")
    return [
        *_system_message(value),
        _make_message("user", question, ""),
        _make_message("assistant", value["output"], "`output`"),
    ]


def _parse_sharegpt(value: dict[str, Any]) -> list[Message]:
    turns = value["conversations"]
    if not isinstance(turns, list) or not turns:
        raise ValueError("`conversations` is not a list with messages")
    return [*_system_message(value), *(_sharegpt_turn(turn, number) for number, turn in enumerate(turns, start=1))]


_PARSERS: dict[Format, Callable[[dict[str, Any]], list[Message]]] = {
    "chat messages": _parse_chat,
    "prompt and completion": _parse_prompt,
    "alpaca": _parse_alpaca,
    "sharegpt": _parse_sharegpt,
}


def _system_message(value: dict[str, Any]) -> list[Message]:
    return [_make_message("system", value["system"], "`system`")] if value.get("system") else []


def _sharegpt_turn(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
        raise ValueError(f"message {number} is not an object with `from` and `value`")
    role = _ROLE_OF_SPEAKER.get(turn["from"]) if isinstance(turn["from"], str) else None
    if role is None:
        raise ValueError(f"message {number} is from {turn['from']!r}, which is none of human, gpt, system")
    return _make_message(role, turn["value"], f"the value of message {number}")


def _pair_side(value: dict[str, Any], key: str) -> list[Message]:
    """All messages that end with the chosen or the rejected answer."""
    prompt, answer = value.get("prompt"), value[key]
    if isinstance(answer, str):
        if prompt is None:
            raise ValueError(f"`{key}` is a string and there is no `prompt`")
        before = (
            _parse_messages(prompt, "`prompt`")
            if isinstance(prompt, list)
            else [_make_message("user", prompt, "`prompt`")]
        )
        messages = [*before, {"role": "assistant", "content": answer}]
    else:
        messages = _parse_messages(answer, f"`{key}`")
        if isinstance(prompt, list) and messages[0]["role"] == "assistant":
            messages = [*_parse_messages(prompt, "`prompt`"), *messages]
    try:
        _check_turns(messages)
    except ValueError as error:
        raise ValueError(f"with the {key} answer {error}") from error
    return messages


def _check_pair(chosen: list[Message], rejected: list[Message]) -> None:
    if chosen[:-1] != rejected[:-1]:
        raise ValueError("`chosen` and `rejected` differ before their last message")
    if chosen == rejected:
        raise ValueError("`chosen` and `rejected` are the same")


def _parse_messages(value: Any, field: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{field} is not a list with messages")
    return [_parse_message(message, number) for number, message in enumerate(value, start=1)]


def _parse_message(message: Any, number: int) -> Message:
    if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
        raise ValueError(f"message {number} is not an object with `role` and `content`")
    if message["role"] not in ROLES:
        raise ValueError(f"message {number} has the role {message['role']!r}, which is none of {', '.join(ROLES)}")
    if unread := [key for key in _UNREAD_KEYS if message.get(key)]:
        raise ValueError(f"message {number} has `{unread[0]}`, which is not read; only `role` and `content` are")
    return _make_message(message["role"], message["content"], f"the content of message {number}")


def _make_message(role: str, content: Any, field: str) -> Message:
    return {"role": role, "content": _require_text(content, field)}


def _require_text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{field} is a JSON {json_type(value)}, not a string")
    return value


def _check_turns(messages: list[Message]) -> None:
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
