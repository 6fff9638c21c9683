"""Messages as rows write them: `role` and `content` (OpenAI) or `from` and `value` (sharegpt)."""

from dataclasses import dataclass
from typing import Any

from training.data.conversation import Message
from training.data.formats.keys import (
    EXCHANGE_KEYS,
    LOSS_FLAGS,
    MESSAGE_KEYS,
    REFUSED_ROLES,
    ROLE_KEYS,
    ROLES,
    TEXT_KEYS,
    is_empty,
)
from training.data.formats.loss_flags import read_flags
from training.data.formats.reading import Reading
from training.data.formats.values import json_type, parse_list, parse_text


@dataclass(frozen=True)
class Turn:
    """A message of a row, its place in the row (`message 2`), and what it counts in the loss where that is said."""

    message: Message
    where: str
    weight: float | None = None

    @property
    def role(self) -> str:
        return str(self.message["role"])


def make_turn(role: str, content: Any, field: str) -> Turn:
    """A message of a row that has a key for its text."""
    return Turn({"role": role, "content": parse_text(content, field)}, field)


def is_message(value: Any) -> bool:
    """Whether a value is an object that says who speaks."""
    return isinstance(value, dict) and any(value.get(key) is not None for key in ROLE_KEYS)


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
    role = _role(message, where)
    for key, value in message.items():
        if key not in MESSAGE_KEYS and key not in LOSS_FLAGS and not is_empty(value):
            reading.check_key(key, where)
    content = _content(message, where)
    turn: Message = {"role": role, "content": content}
    if message.get("name"):
        turn["name"] = _name(message["name"], where)
    return Turn(turn, where, read_flags(message, role, where))


def _role(message: dict[str, Any], where: str) -> str:
    speakers = {key: message[key] for key in ROLE_KEYS if message.get(key) is not None}
    if not speakers:
        raise ValueError(f"{where} is not an object with `role` and `content`, or with `from` and `value`")
    roles = set()
    for key, speaker in speakers.items():
        name = speaker.strip().lower() if isinstance(speaker, str) else None
        if name in REFUSED_ROLES:
            raise ValueError(f"{where} has the role {speaker!r}; {REFUSED_ROLES[name]}")
        if name not in ROLES:
            raise ValueError(f"{where} has the {key} {speaker!r}, which is none of system, user, assistant")
        roles.add(ROLES[name])
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
