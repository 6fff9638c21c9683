"""Keys that say again what the conversation of a row says: a prompt beside messages, a rendered text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.data.conversation import Message
from training.data.formats.messages import Turn, is_message, parse_message, parse_messages
from training.data.formats.reading import Reading, RowOptions
from training.data.formats.values import parse_list


@dataclass(frozen=True)
class Spoken:
    """What the conversation of a row says."""

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> "Spoken":
        return cls(tuple(turn.message for turn in turns))

    @property
    def texts(self) -> list[str]:
        return [str(message["content"]).strip() for message in self.messages]


def repeats(value: Any, spoken: Spoken) -> bool:
    """Whether a value is one of the messages, or the first ones."""
    value = parse_list(value)
    if isinstance(value, str):
        return value.strip() in spoken.texts
    if isinstance(value, list) and value:
        return _begins(value, spoken)
    if is_message(value):
        return _parse_alone([value]) in [[message] for message in spoken.messages]
    return False


def is_rendered(value: Any, spoken: Spoken) -> bool:
    """Whether a text holds all paragraphs of all messages in their order, as whole words: a rendered conversation."""
    if not isinstance(value, str):
        return False
    place = 0
    for paragraph in (each for text in spoken.texts for each in text.split("\n\n")):
        found = re.compile(rf"(?<!\w){re.escape(paragraph.strip())}(?!\w)").search(value, place)
        if found is None:
            return False
        place = found.end()
    return True


def _begins(value: list[Any], spoken: Spoken) -> bool:
    messages = _parse_alone(value)
    if messages is None:
        return False
    without_system = [message for message in spoken.messages if message["role"] != "system"]
    return any(messages == list(all_)[: len(messages)] for all_ in (spoken.messages, without_system)) or (
        len(messages) == 1 and messages[0] in without_system
    )


def _parse_alone(value: list[Any]) -> list[Message] | None:
    """Messages of a key that is not read otherwise; None where it holds none."""
    reading = Reading({}, RowOptions())
    try:
        if len(value) == 1:
            return [parse_message(value[0], "it", reading).message]
        return [turn.message for turn in parse_messages(value, "it", reading)]
    except ValueError:
        return None
