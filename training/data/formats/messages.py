"""Messages as rows write them: `role` and `content` (OpenAI) or `from` and `value` (sharegpt)."""

import re
from dataclasses import dataclass
from typing import Any

from training.data.conversation import Message
from training.data.formats.keys import (
    CALL_ROLES,
    CALLS_KEYS,
    EXCHANGE_KEYS,
    LOSS_FLAGS,
    MESSAGE_KEYS,
    ROLE_KEYS,
    ROLES,
    TEXT_KEYS,
    THINKING_KEYS,
    is_empty,
)
from training.data.formats.loss_flags import read_flags
from training.data.formats.reading import Reading
from training.data.formats.thinking import parse_thinking
from training.data.formats.tools import parse_call_id, parse_called_text, parse_calls, parse_result, take_parts
from training.data.formats.values import json_type, parse_json, parse_list, parse_text

# Messages as Python prints them, which is how CSV files get them.
_PRINTED_MESSAGES = re.compile(r"\s*\[\s*\{\s*'(?:role|content|from|value)'\s*:")


@dataclass(frozen=True)
class Turn:
    """A message of a row, its place in the row (`message 2`), and what it counts in the loss where that is said.

    `is_call`: whether it is a call and nothing else, which belongs to the turn in front of it.
    """

    message: Message
    where: str
    weight: float | None = None
    is_call: bool = False

    @property
    def role(self) -> str:
        return str(self.message["role"])


def make_turn(role: str, content: Any, field: str) -> Turn:
    """A message of a row that has a key for its text.

    Raises:
        ValueError: it is no text, or one that holds messages, which would be learnt as that text.
    """
    if isinstance(content, str) and _holds_messages(content):
        raise ValueError(
            f"{field} is a text that holds messages; write them as a list, or, where that text is meant, write the "
            "row as `messages`"
        )
    return Turn({"role": role, "content": parse_text(content, field)}, field)


def is_message(value: Any) -> bool:
    """Whether a value is an object that says who speaks."""
    return isinstance(value, dict) and any(value.get(key) is not None for key in ROLE_KEYS)


def _holds_messages(text: str) -> bool:
    """Whether a text is a message or a list of messages in JSON, or such a list as Python prints it."""
    if not text.lstrip().startswith(("[", "{")):
        return False
    try:
        value = parse_json(text)
    except (ValueError, RecursionError):
        return _PRINTED_MESSAGES.match(text) is not None
    messages = value if isinstance(value, list) else [value]
    return bool(messages) and all(
        is_message(each)
        and any(str(each.get(key)).strip().lower() in ROLES for key in ROLE_KEYS)
        and any(key in each for key in (*TEXT_KEYS, *CALLS_KEYS))
        for each in messages
    )


def parse_messages(value: Any, field: str, reading: Reading) -> list[Turn]:
    """A list of messages, which may be written as a string of JSON, or as pairs of a question and an answer.

    Raises:
        ValueError: it is no list of messages, or one of them cannot be read.
    """
    messages = parse_list(value)
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"{field} is not a list with messages")
    turns: list[Turn] = []
    for number, message in enumerate(messages, start=1):
        exchange = next((keys for keys in EXCHANGE_KEYS if isinstance(message, dict) and message.keys() == {*keys}), ())
        for key, role in zip(exchange, ("user", "assistant"), strict=False):
            turns.append(make_turn(role, message[key], f"`{key}` of message {number}"))
        if not exchange:
            turns.append(parse_message(message, f"message {number}", reading))
    return turns


def parse_message(message: Any, where: str, reading: Reading) -> Turn:
    """One message, of which every key with a value is read, or known to say nothing, or refused.

    Raises:
        ValueError: it has no role or content, or a key that is not understood.
    """
    if not isinstance(message, dict):
        raise ValueError(f"{where} is a JSON {json_type(message)}, not an object with `role` and `content`")
    message = reading.without_ignored(message)
    role, is_call = _role(message, where)
    for key, value in message.items():
        if key not in MESSAGE_KEYS and key not in LOSS_FLAGS and not is_empty(value):
            reading.check_key(key, where)
    turn = _make_message(message, role, is_call, where)
    if message.get("name"):
        turn["name"] = _name(message["name"], where)
    return Turn(turn, where, read_flags(message, role, where), is_call)


def _make_message(message: dict[str, Any], role: str, is_call: bool, where: str) -> Message:
    """What the chat template gets of a message, but for its name."""
    _check_speaker(message, role, is_call, where)
    if role == "tool":
        return {"role": role, "content": parse_result(_one_value(message, where), where)} | parse_call_id(
            message, where
        )
    if is_call:
        thought, calls = parse_called_text(_one_value(message, where), where)
        return {"role": role, "content": "", "tool_calls": calls} | ({THINKING_KEYS[0]: thought} if thought else {})
    if role != "assistant":
        return {"role": role, "content": _content(message, where)}
    calls, thoughts, bare = parse_calls(message, where), list[str](), dict(message)
    for key in TEXT_KEYS:
        bare[key], more_thoughts, more_calls = take_parts(message.get(key), where)
        thoughts, calls = [*thoughts, *more_thoughts], [*calls, *more_calls]
    if calls and all(bare[key] is None for key in TEXT_KEYS):
        bare["content"] = ""
    read: Message = {"role": role, "content": _content(bare, where)}
    if calls:
        read["tool_calls"] = calls
    if thoughts and any(not is_empty(message.get(key)) for key in THINKING_KEYS):
        raise ValueError(f"{where} thinks in a field and in its content; write its thinking in one of them")
    if thoughts:
        bare[THINKING_KEYS[0]] = "\n\n".join(thoughts)
    thought = parse_thinking(bare, read["content"], where)
    return read if thought is None else read | {THINKING_KEYS[0]: thought}


def _check_speaker(message: dict[str, Any], role: str, is_call: bool, where: str) -> None:
    """Raises ValueError where a message has what only others have."""
    mine = {"assistant": () if is_call else (*CALLS_KEYS, *THINKING_KEYS), "tool": ("tool_call_id",)}.get(role, ())
    for key in (*CALLS_KEYS, *THINKING_KEYS, "tool_call_id"):
        if key not in mine and not is_empty(message.get(key)):
            raise ValueError(f"{where} has `{key}`, which a message of its role cannot have")


def _one_value(message: dict[str, Any], where: str) -> Any:
    """The value of the one key that holds a message's content."""
    values = [message[key] for key in TEXT_KEYS if message.get(key) is not None]
    if len(values) > 1 and any(value != values[0] for value in values[1:]):
        raise ValueError(f"{where} has two keys for its content, which differ")
    if not values and not any(key in message for key in TEXT_KEYS):
        raise ValueError(f"{where} is not an object with `role` and `content`, or with `from` and `value`")
    return values[0] if values else None


def _role(message: dict[str, Any], where: str) -> tuple[str, bool]:
    """The role of a message, and whether it is only a call."""
    speakers = {key: message[key] for key in ROLE_KEYS if message.get(key) is not None}
    if not speakers:
        raise ValueError(f"{where} is not an object with `role` and `content`, or with `from` and `value`")
    roles = set()
    for key, speaker in speakers.items():
        name = speaker.strip().lower() if isinstance(speaker, str) else None
        if name not in ROLES:
            raise ValueError(f"{where} has the {key} {speaker!r}, which is none of system, user, assistant, tool")
        roles.add((ROLES[name], name in CALL_ROLES))
    if len(roles) > 1:
        raise ValueError(f"{where} has `role` and `from`, which contradict each other")
    return roles.pop()


def _content(message: dict[str, Any], where: str) -> str:
    present = [key for key in TEXT_KEYS if message.get(key) is not None]
    keys = [key for key in present if message[key] != ""] or present[:1]
    if not keys:
        null = [key for key in TEXT_KEYS if key in message]
        if null:
            raise ValueError(f"the {null[0]} of {where} is a JSON null, not a string")
        raise ValueError(f"{where} is not an object with `role` and `content`, or with `from` and `value`")
    texts = [parse_text(message[key], f"the {key} of {where}", in_message=True) for key in keys]
    if len(set(texts)) > 1:
        raise ValueError(f"{where} has `{keys[0]}` and `{keys[1]}`, which differ")
    return texts[0]


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise ValueError(f"`name` of {where} is a JSON {json_type(name)}, not a string")
    return name
