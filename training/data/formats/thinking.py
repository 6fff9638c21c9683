"""What a model thinks before it answers, as rows write it beside the answer, and a row's settings of the template."""

import re
from collections.abc import Mapping
from typing import Any

from cluster.template_arguments import check_template_arguments
from training.data.formats.keys import THINKING_KEYS
from training.data.formats.values import json_type

_TAGS = re.compile(r"</?think(?:ing)?>")


def parse_thinking(message: Mapping[str, Any], content: str, where: str) -> str | None:
    """What an assistant's message thinks, from the keys that hold it; None where it holds nothing.

    Raises:
        ValueError: it is no text, two keys differ, or the content thinks in tags as well.
    """
    texts = {key: message[key] for key in THINKING_KEYS if message.get(key) is not None}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"`{key}` of {where} is a JSON {json_type(value)}, not a string")
    given: dict[str, str] = {key: text for key, text in texts.items() if text.strip()}
    if not given:
        return None
    if len(set(given.values())) > 1:
        first, second, *_ = given
        raise ValueError(f"{where} has `{first}` and `{second}`, which differ")
    key = next(iter(given))
    text = given[key]
    if tag := _TAGS.search(content):
        raise ValueError(f"{where} has `{key}` and `{tag.group()}` in its content; write its thinking in one of them")
    if tag := _TAGS.search(text):
        raise ValueError(f"`{key}` of {where} holds `{tag.group()}`; write it without tags")
    return text


def parse_settings(value: Any, field: str) -> dict[str, Any]:
    """A row's settings of the chat template.

    Raises:
        ValueError: it is no object, or sets what the endpoint does not let a request set.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{field} is a JSON {json_type(value)}, not an object")
    # Parquet has every key in every row.
    settings = {key: each for key, each in value.items() if each is not None}
    check_template_arguments(settings, field)
    return settings
