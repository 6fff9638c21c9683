"""Rows with a key for the question and one for the answer: prompt and completion, alpaca, Dolly, and their like."""

from dataclasses import replace
from typing import Any

from training.data.formats.keys import ANSWERED_KEYS, INSTRUCTION_INPUT_KEYS, SYSTEM_KEYS, Format
from training.data.formats.messages import Turn, is_message, make_turn, parse_message, parse_messages
from training.data.formats.reading import Reading, first_with_values
from training.data.formats.values import json_type, parse_list, parse_text


def find_answered_keys(row: dict[str, Any], name: Format) -> tuple[str, str]:
    """The keys of the question and the answer in a row of this format."""
    keys = first_with_values(row, (keys for keys, each in ANSWERED_KEYS.items() if each == name))
    assert keys is not None
    return keys[0], keys[1]


def parse_answered(reading: Reading, name: Format) -> list[Turn]:
    """The messages of a row with a question and an answer, without its system message.

    Answers inside a `prompt` that is a list of messages are not learnt, as TRL has it; those of a `history` are, as
    LLaMA-Factory has it.

    Raises:
        ValueError: a value is neither a text nor messages.
    """
    question, answer = find_answered_keys(reading.row, name)
    before = parse_question(reading, question)
    known = [replace(turn, weight=0.0) if turn.weight is None else turn for turn in before]
    return [*parse_history(reading), *known, *parse_side(reading, answer, "assistant")]


def parse_question(reading: Reading, key: str) -> list[Turn]:
    """What is asked: a text, a list of messages, or an `instruction` with what it is about."""
    if key != "instruction":
        return parse_side(reading, key, "user")
    parts = {"instruction": reading.take("instruction")}
    for about in INSTRUCTION_INPUT_KEYS:
        if reading.has(about):
            parts[about] = reading.take(about)
    texts = {each: parse_text(value, f"`{each}`") for each, value in parts.items()}
    filled = [each for each in texts if texts[each].strip() or each == "instruction"]
    if len(filled) > 2:
        raise ValueError("has `input` and `context` beside `instruction`; only one of them is read")
    words = [texts[each] for each in filled if texts[each].strip()]
    return [make_turn("user", "\n\n".join(words) if len(words) > 1 else (words or [""])[0], "`instruction`")]


def parse_side(reading: Reading, key: str, role: str) -> list[Turn]:
    """A text of this role, a message, or a list of messages.

    Raises:
        ValueError: the value is none of these.
    """
    value = reading.take(key)
    if is_message(value):
        return [parse_message(value, f"`{key}`", reading)]
    if isinstance(value, dict):
        raise ValueError(f"`{key}` is a JSON {json_type(value)}, neither a string nor messages")
    if isinstance(value, list) and any(is_message(each) for each in value):
        return [replace(turn, where=f"{turn.where} of `{key}`") for turn in parse_messages(value, f"`{key}`", reading)]
    return [make_turn(role, value, f"`{key}`")]


def parse_system(reading: Reading) -> list[Turn]:
    """The system message that stands beside the conversation, where a row has one.

    Raises:
        ValueError: it is no text, or two keys of it differ.
    """
    texts = {key: parse_text(reading.take(key), f"`{key}`") for key in SYSTEM_KEYS if reading.has(key)}
    given = {key: text for key, text in texts.items() if text.strip()}
    if len(set(given.values())) > 1:
        first, second, *_ = given
        raise ValueError(f"has `{first}` and `{second}`, which differ")
    return [make_turn("system", text, f"`{key}`") for key, text in list(given.items())[:1]]


def parse_history(reading: Reading) -> list[Turn]:
    """Earlier questions and answers, in pairs.

    Raises:
        ValueError: it is no list of pairs of strings.
    """
    history = parse_list(reading.take("history")) if reading.has("history") else None
    if not history:
        return []
    turns = []
    pairs = history if isinstance(history, list) else [history]
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise ValueError(f"pair {number} of `history` is not a list of a question and an answer, both strings")
        for role, text in zip(("user", "assistant"), pair, strict=True):
            turns.append(make_turn(role, text, f"pair {number} of `history`"))
    return turns


def add_system(system: list[Turn], turns: list[Turn]) -> list[Turn]:
    """The system message in front of the turns, once where they begin with the same one.

    Raises:
        ValueError: they begin with another one.
    """
    if not system or not turns or turns[0].role != "system":
        return [*system, *turns]
    if system[0].message["content"] != turns[0].message["content"]:
        raise ValueError(f"has {system[0].where} and a system message, which differ")
    return turns
