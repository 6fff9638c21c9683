"""A row while it is read: what the user allows of it, and which of its keys say something."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from training.data.formats.keys import (
    CONTENT_KEYS,
    LOSS_FLAGS,
    MEDIA_REASON,
    MESSAGE_KEYS,
    REFUSED_MESSAGE_KEYS,
    REFUSED_ROW_KEYS,
    ROW_KEYS,
    ROW_LOSS_FLAGS,
    SETTINGS_KEY,
    TOOLS_KEYS,
    is_empty,
    is_harmless,
    is_media,
    normalise_key,
)

_READ_KEYS = {
    True: {*MESSAGE_KEYS, *LOSS_FLAGS},
    False: {*CONTENT_KEYS, *ROW_KEYS, *ROW_LOSS_FLAGS, *TOOLS_KEYS, SETTINGS_KEY},
}
_REFUSED_KEYS = {True: REFUSED_MESSAGE_KEYS, False: REFUSED_ROW_KEYS}


@dataclass(frozen=True)
class RowOptions:
    """What a source's settings say about its rows (training.config)."""

    ignore: frozenset[str] = frozenset()
    """Keys of rows that change nothing; those of messages as `messages.KEY`."""
    consecutive_turns: Literal["refuse", "merge"] = "refuse"


@dataclass
class Reading:
    """A row less what the user lets be ignored; `not_used` collects the keys with a value that say nothing."""

    row: dict[str, Any]
    options: RowOptions = field(default_factory=RowOptions)
    not_used: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, row: dict[str, Any], options: RowOptions) -> "Reading":
        """A row whose ignored keys are not used."""
        ignored = options.ignore & row.keys()
        reading = cls({key: value for key, value in row.items() if key not in ignored}, options)
        reading.not_used |= {key for key in ignored if not is_empty(row[key])}
        return reading

    def has(self, key: str) -> bool:
        """Whether the key has a value; a blank text is one."""
        return self.row.get(key) is not None

    def take(self, key: str) -> Any:
        """The value of a key that is read."""
        self.used.add(key)
        return self.row.get(key)

    def without_ignored(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message of the row less the keys that the user lets be ignored."""
        ignored = [key for key in message if f"messages.{key}" in self.options.ignore] if self.options.ignore else []
        self.not_used |= {f"messages.{key}" for key in ignored if not is_empty(message[key])}
        return {key: value for key, value in message.items() if key not in ignored} if ignored else message

    def keys_left(self) -> Iterable[str]:
        """Keys with a value that no reader has taken."""
        return [key for key, value in self.row.items() if key not in self.used and not is_empty(value)]

    def check_key(self, key: str, where: str = "") -> None:
        """Take a key that is not read as not used where it says nothing; `where` names its message.

        Raises:
            ValueError: it may change what the model sees or learns.
        """
        in_message = bool(where)
        name = f"messages.{key}" if in_message else key
        place = f"{where} has" if in_message else "has"
        if reason := _REFUSED_KEYS[in_message].get(normalise_key(key)):
            raise ValueError(f"{place} `{key}`; {reason}")
        if is_media(key):
            raise ValueError(f"{place} `{key}`; {MEDIA_REASON}")
        if is_harmless(key, in_message):
            self.not_used.add(name)
            return
        meant = normalise_key(key)
        if meant != key and meant in _READ_KEYS[in_message]:
            raise ValueError(f"{place} the key `{key}`, which is not read; `{meant}` is, in this spelling")
        raise ValueError(f"{place} the key `{key}`, which is not read{_remedy(name)}")


def read_sources(row: Mapping[str, Any]) -> tuple[tuple[str, ...], set[str]]:
    """The names of the documents that a row comes from, and its keys for sources that hold no such names."""
    not_used: set[str] = set()
    for key in ("sources", "source"):
        value = row.get(key)
        if is_empty(value):
            continue
        names = [value] if isinstance(value, str) else value
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return tuple(names), not_used
        not_used.add(key)
    return (), not_used


def _remedy(name: str) -> str:
    return f"; where it says nothing about the answer, name `{name}` under `ignore` of its source"


def first_with_values(row: Mapping[str, Any], groups: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """The first group of keys that are all in the row and not null, and one at least not empty, if there is such."""
    first = None
    for group in groups:
        for key in group:
            if row.get(key) is None:
                break
        else:
            if not all(is_empty(row[key]) for key in group):
                return group
            first = first or group
    return first
