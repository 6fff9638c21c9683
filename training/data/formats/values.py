"""Texts as rows hold them: strings, or content in parts as chat APIs write it."""

import json
import unicodedata
from typing import Any

from training.data.formats.keys import MEDIA_REASON, REFUSED_PARTS, is_empty, is_harmless, is_media

_TEXT_TYPES = (None, "text", "input_text", "output_text")
_INVISIBLE = ("Zs", "Zl", "Zp", "Cc", "Cf")
_TEXT_KEYS = ("text", "value", "content")


def json_type(value: Any) -> str:
    """The name of a JSON value's type."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or an object in it has a key twice, of which one value would be lost.
    """
    return json.loads(text, object_pairs_hook=unique_keys)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON from its keys and values; raises ValueError where a key stands twice."""
    read = dict(pairs)
    if len(read) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has the key `{next(key for key in keys if keys.count(key) > 1)}` twice")
    return read


def parse_text(value: Any, field: str, in_message: bool = False) -> str:
    """A text, or the texts of its parts joined by line feeds, as vLLM joins them for a template that takes strings.

    Raises:
        ValueError: the value is neither a string nor a list of parts of type `text` (in a message, or of strings).
    """
    if isinstance(value, list) and value and (in_message or all(isinstance(part, dict) for part in value)):
        return "\n".join(_parse_part(part, number, field) for number, part in enumerate(value, start=1))
    if not isinstance(value, str):
        raise ValueError(f"{field} is a JSON {json_type(value)}, not a string")
    return value


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: it is empty, or all spaces, control and format characters (zero-width spaces)."""
    return all(unicodedata.category(each) in _INVISIBLE for each in text)


def parse_list(value: Any) -> Any:
    """A list that is written as a string of JSON, as some Parquet files hold lists; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        read = parse_json(value)
    except (ValueError, RecursionError):
        return value
    return read if isinstance(read, list) else value


def _parse_part(part: Any, number: int, field: str) -> str:
    place = f"part {number} of {field}"
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise ValueError(f"{place} is a JSON {json_type(part)}, neither a string nor an object with a `text`")
    kind = part.get("type")
    if kind is not None and not isinstance(kind, str):
        raise ValueError(f"the `type` of {place} is a JSON {json_type(kind)}, not a string")
    if media := [key for key in (str(kind), *(key for key in part if not is_empty(part[key]))) if is_media(key)]:
        raise ValueError(f"{place} is of the kind `{media[0]}`; {MEDIA_REASON}")
    if kind in REFUSED_PARTS:
        raise ValueError(f"{place} has the type `{kind}`; {REFUSED_PARTS[kind]}")
    if kind not in _TEXT_TYPES:
        raise ValueError(f"{place} has the type {kind!r}; only parts of type `text` are read")
    texts = [key for key in _TEXT_KEYS if part.get(key) is not None]
    for key in part.keys() - {"type", *texts}:
        if not is_empty(part[key]) and not is_harmless(key, in_message=True):
            raise ValueError(f"{place} has the key `{key}`, which is not read")
    if len(texts) != 1 or not isinstance(part[texts[0]], str):
        raise ValueError(f"{place} has not exactly one `text` that is a string")
    text: str = part[texts[0]]
    return text
