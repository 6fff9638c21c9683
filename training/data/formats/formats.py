"""The formats of a row, recognised by their keys, and how each is read as chat messages.

    chat messages          {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    prompt and completion  {"prompt": "...", "completion": "..."}; both may be lists of messages
    alpaca                 {"instruction": "...", "input": "...", "output": "..."}; `input` may be missing or empty
    sharegpt               {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}
    question and answer    {"question": "...", "answer": "..."}, and the other names in `keys.ANSWERED_KEYS`
    preference pairs       {"prompt": "...", "chosen": "...", "rejected": "..."}; each a text, a message or messages

A row of any format may have a `system` text. Every other key is read, or listed as not used, or makes the row bad
(keys.py). A row of another kind, or one whose messages are not an optional system message and then user and assistant
in turn, raises a ValueError with the reason. docs/training.md shows all of this with examples.
"""

import re
from dataclasses import replace
from typing import Any

from training.data.conversation import ParsedRow
from training.data.formats.keys import (
    ANSWERED_KEYS,
    CHOICE_KEYS,
    CONTENT_KEYS,
    MEDIA_REASON,
    MESSAGES_KEYS,
    PAIR_KEYS,
    REFUSED_ROW_KEYS,
    ROW_KEYS,
    ROW_LOSS_FLAGS,
    SETTINGS_KEY,
    TOOLS_KEYS,
    Format,
    is_empty,
    is_media,
    normalise_key,
)
from training.data.formats.loss_flags import read_weight
from training.data.formats.messages import Turn, parse_messages
from training.data.formats.pairs import find_pair_keys, parse_pair
from training.data.formats.questions import add_system, parse_answered, parse_history, parse_system
from training.data.formats.reading import Reading, RowOptions, first_with_values
from training.data.formats.repeats import Spoken, is_rendered, repeats
from training.data.formats.thinking import parse_settings
from training.data.formats.tools import check_nulls, parse_row_tools
from training.data.formats.turns import make_conversation, order_turns

_PLACEHOLDER = re.compile(r"<\|?(image|img|video|audio)(_pad|_token)?\|?>", re.IGNORECASE)
_NO_OPTIONS = RowOptions()
_ANSWERED: dict[tuple[str, ...], Format] = {
    **{(key,): name for key, name in MESSAGES_KEYS.items()},
    **ANSWERED_KEYS,
}
_SPEAKERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((question for question, _ in ANSWERED_KEYS), ("user", "system")),
    **dict.fromkeys((answer for _, answer in ANSWERED_KEYS), ("assistant",)),
}
"""Whose words a key of a question or of an answer repeats."""
_PAIRED = {key for keys in PAIR_KEYS for key in keys}
_KNOWN = (
    "`messages` nor `prompt` and `completion` nor `instruction` and `output` nor `conversations` nor `question` and "
    "`answer` nor `chosen` and `rejected`"
)


def recognise_format(value: dict[str, Any], pairs_first: bool = False, options: RowOptions = _NO_OPTIONS) -> Format:
    """The format of a row; of a row that is of two formats, preference pairs only where they are asked for.

    Raises:
        ValueError: it has the keys of no format.
    """
    row = Reading.of(value, options).row
    is_pair = find_pair_keys(row) is not None
    if is_pair and pairs_first:
        return "preference pairs"
    if found := first_with_values(row, _ANSWERED):
        return _ANSWERED[found]
    if is_pair:
        return "preference pairs"
    raise ValueError(_unknown_format(row))


def parse_row(value: dict[str, Any], name: Format, options: RowOptions = _NO_OPTIONS) -> tuple[ParsedRow, set[str]]:
    """What a row of this format teaches, and its keys that say nothing about that.

    Raises:
        ValueError: it cannot be read, or has a key that may change what is learnt and is not understood.
    """
    reading = Reading.of(value, options)
    tools, unused = parse_row_tools(reading.row)
    settings = parse_settings(reading.take(SETTINGS_KEY), f"`{SETTINGS_KEY}`")
    reading.used.update(TOOLS_KEYS)
    reading.not_used |= unused | {key for key in CHOICE_KEYS if not is_empty(reading.row.get(key))}
    reading.used.update(CHOICE_KEYS)
    if name == "preference pairs":
        parsed = parse_pair(reading)
        if _row_weight(reading) != 1:
            raise ValueError("has a `weight`, which a preference pair cannot have")
        _check_keys(reading, Spoken((*parsed.conversation.messages, *(parsed.rejected or ())[-1:])))
    else:
        turns = add_system(parse_system(reading), _parse_turns(reading, name))
        _check_keys(reading, Spoken.of(turns))
        ordered = order_turns(turns, options.consecutive_turns == "merge")
        parsed = ParsedRow(make_conversation(ordered, _row_weight(reading)))
    check_nulls((*parsed.conversation.messages, *(parsed.rejected or ())[-1:]), tools)
    conversation = replace(parsed.conversation, tools=tools, template_kwargs=settings)
    return replace(parsed, conversation=conversation), reading.not_used


def _parse_turns(reading: Reading, name: Format) -> list[Turn]:
    keys = first_with_values(reading.row, ((key,) for key, each in MESSAGES_KEYS.items() if each == name))
    if keys is None:
        return parse_answered(reading, name)
    return [*parse_history(reading), *parse_messages(reading.take(keys[0]), f"`{keys[0]}`", reading)]


def _row_weight(reading: Reading) -> float:
    weights = {key: read_weight(reading.take(key), f"`{key}`") for key in ROW_LOSS_FLAGS if reading.has(key)}
    if len(set(weights.values())) > 1:
        raise ValueError("has `weight` and `loss_weight`, which contradict each other")
    return next(iter(weights.values()), 1.0)


def _check_keys(reading: Reading, spoken: Spoken) -> None:
    """Go through the keys that no reader has taken."""
    reading.used.update(ROW_KEYS, ROW_LOSS_FLAGS)
    for key in reading.keys_left():
        if key not in CONTENT_KEYS:
            reading.check_key(key)
        elif _says_the_same(reading, key, spoken):
            reading.not_used.add(key)
        elif key in _PAIRED and (keys := find_pair_keys(reading.row)) and not reading.used.issuperset(keys):
            raise ValueError(f"has `{keys[0]}` and `{keys[1]}`, which are learnt with `training.objective: dpo`")
        else:
            raise ValueError(f"has `{key}`, which is not read beside {_listed(reading)} and says something else")
    _check_placeholders(reading, spoken)


def _says_the_same(reading: Reading, key: str, spoken: Spoken) -> bool:
    value = reading.row[key]
    if key in ("text", "prompt") and is_rendered(value, spoken):
        return True
    if key in _SPEAKERS and isinstance(value, str) and value.strip() in spoken.texts:
        return any(
            message["role"] in _SPEAKERS[key] and text == value.strip()
            for message, text in zip(spoken.messages, spoken.texts, strict=True)
        )
    return repeats(value, spoken) or (key in _PAIRED and _repeats_chosen(reading, spoken))


def _check_placeholders(reading: Reading, spoken: Spoken) -> None:
    media = next((key for key in reading.row if is_media(key)), None)
    if media and any(found := _PLACEHOLDER.search(text) for text in spoken.texts):
        assert found is not None
        raise ValueError(f"has the column `{media}` and `{found.group()}` in its text; {MEDIA_REASON}")


def _repeats_chosen(reading: Reading, spoken: Spoken) -> bool:
    """Whether the row's own answer is that of the preference pair that stands beside it."""
    keys = find_pair_keys(reading.row)
    if keys is None:
        return False
    chosen = reading.row[keys[0]]
    answers = chosen[-1:] if isinstance(chosen, list) else chosen
    return repeats(answers, Spoken(spoken.messages[-1:]))


def _listed(reading: Reading) -> str:
    used = [f"`{key}`" for key in reading.row if key in reading.used & CONTENT_KEYS]
    return " and ".join(used)


def _unknown_format(row: dict[str, Any]) -> str:
    for key in row:
        if is_empty(row[key]):
            continue
        if reason := REFUSED_ROW_KEYS.get(key):
            return f"has `{key}`; {reason}"
        meant = normalise_key(key)
        if meant != key and meant in CONTENT_KEYS:
            return f"has the key `{key}`, which is not read; `{meant}` is, in this spelling"
    text = f"has neither {_KNOWN}"
    known = [f"`{key}`" for key in row if not is_empty(row[key])][:8]
    return f"{text}; its keys are {', '.join(known)}" if known else text
