"""Preference pairs: what is asked, the answer that won and the answer that lost."""

from collections.abc import Sequence
from typing import Any

from training.data.conversation import Conversation, Message, ParsedRow
from training.data.formats.keys import (
    CHOICE_KEYS,
    MESSAGES_KEYS,
    PAIR_KEYS,
    PAIR_PROMPT_KEYS,
    TOOLS_KEYS,
    is_empty,
)
from training.data.formats.messages import Turn, parse_messages
from training.data.formats.questions import add_system, parse_history, parse_question, parse_side, parse_system
from training.data.formats.reading import Reading, first_with_values
from training.data.formats.repeats import Spoken, repeats
from training.data.formats.turns import order_turns


def find_pair_keys(row: dict[str, Any]) -> tuple[str, str] | None:
    """The keys of the preferred answer and the other, where a row has both."""
    keys = first_with_values(row, PAIR_KEYS)
    return (keys[0], keys[1]) if keys else None


def parse_pair(reading: Reading) -> ParsedRow:
    """A row with a preferred answer and another.

    Raises:
        ValueError: a part of it cannot be read, what is asked is not the same on all sides, or the answers are the
            same.
    """
    keys = find_pair_keys(reading.row)
    assert keys is not None
    system = parse_system(reading)
    sides = [parse_side(reading, key, "assistant") for key in keys]
    if keys[0] in MESSAGES_KEYS and sides[1][0].role == "assistant":
        sides[1] = [*sides[0][:-1], *sides[1]]
    whole = all(side[0].role != "assistant" for side in sides)
    if whole:
        prompts: list[Turn] = []
    elif any(side[0].role != "assistant" for side in sides):
        raise ValueError(f"one of `{keys[0]}` and `{keys[1]}` begins with what is asked, and the other does not")
    else:
        prompts = _find_prompt(reading, keys)
    merge = reading.options.consecutive_turns == "merge"
    chosen, rejected = (
        _order(add_system(system, [*prompts, *side]), key, merge) for key, side in zip(keys, sides, strict=True)
    )
    _check_sides(chosen, rejected, keys)
    for key in PAIR_PROMPT_KEYS:
        if key not in reading.used and not is_empty(reading.row.get(key)):
            # `messages` beside whole sides may be the chosen one, as in UltraFeedback; a prompt ends before the answer.
            _check_repeated_prompt(reading, key, Spoken.of(chosen if key in MESSAGES_KEYS else chosen[:-1]))
    return ParsedRow(Conversation(_messages(chosen)), rejected=_messages(rejected))


def _find_prompt(reading: Reading, keys: tuple[str, str]) -> list[Turn]:
    """What both answers answer, by the first key of a prompt that the row has."""
    history = parse_history(reading)
    present = [key for key in PAIR_PROMPT_KEYS if reading.has(key) and key not in keys]
    for key in [key for key in present if not is_empty(reading.row[key])] or present:
        value = reading.row[key]
        if key in MESSAGES_KEYS:
            return [*history, *parse_messages(reading.take(key), f"`{key}`", reading)]
        if key == "input" and isinstance(value, dict) and "messages" in value:
            return [*history, *_parse_openai_input(reading)]
        return [*history, *parse_question(reading, key)]
    raise ValueError(
        f"`{keys[0]}` and `{keys[1]}` hold no question, and there is no `prompt`; a dialogue that is written as one "
        "text is not read"
    )


def _parse_openai_input(reading: Reading) -> list[Turn]:
    value = reading.take("input")
    for key, each in value.items():
        if key not in ("messages", *TOOLS_KEYS, *CHOICE_KEYS) and not is_empty(each):
            reading.check_key(key)
    return parse_messages(value["messages"], "`messages` of `input`", reading)


def _order(turns: list[Turn], key: str, merge: bool) -> list[Turn]:
    try:
        return order_turns(turns, merge)
    except ValueError as error:
        raise ValueError(f"with the {key} answer {error}") from error


def _check_sides(chosen: list[Turn], rejected: list[Turn], keys: tuple[str, str]) -> None:
    first, second = _messages(chosen), _messages(rejected)
    if first[:-1] != second[:-1]:
        raise ValueError(f"`{keys[0]}` and `{keys[1]}` differ before their last message")
    if first == second:
        raise ValueError(f"`{keys[0]}` and `{keys[1]}` are the same")
    for side, key in zip((chosen, rejected), keys, strict=True):
        if side[-1].weight not in (None, 1.0):
            raise ValueError(f"the answer of `{key}` is marked as not learnt; both answers of a pair are")


def _check_repeated_prompt(reading: Reading, key: str, spoken: Spoken) -> None:
    """A prompt beside sides that hold one already: it has to say the same."""
    value = reading.row[key]
    asked = {str(message["content"]).strip() for message in spoken.messages if message["role"] == "user"}
    same = value.strip() in asked if isinstance(value, str) else repeats(value, spoken)
    if not same:
        raise ValueError(f"`{key}` is not what the answers' own messages begin with")
    reading.used.add(key)
    reading.not_used.add(key)


def _messages(turns: Sequence[Turn]) -> tuple[Message, ...]:
    return tuple(turn.message for turn in turns)
