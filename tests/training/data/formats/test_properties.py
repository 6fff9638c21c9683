"""What holds for every row, whatever its keys and values: nothing that might change what is learnt is dropped."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from training.data.formats.formats import parse_row, recognise_format
from training.data.formats.keys import (
    CONTENT_KEYS,
    LOSS_FLAGS,
    MESSAGE_KEYS,
    REFUSED_MESSAGE_KEYS,
    REFUSED_ROW_KEYS,
    ROLES,
    ROW_KEYS,
    ROW_LOSS_FLAGS,
    is_empty,
    is_harmless,
)

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
LOST = {"role": "assistant", "content": "No"}
ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "system", "content": "S"}, USER, ANSWER]},
    {"system": "S", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]},
    {"system": "S", "prompt": "Hi", "completion": "Yo"},
    {"prompt": [USER], "completion": [ANSWER], "system": "S"},
    {"instruction": "H", "input": "i", "output": "Yo", "system": "S", "history": [["a", "b"]]},
    {"instruction": "H", "context": "i", "response": "Yo", "system_prompt": "S"},
    {"question": "Hi", "answer": "Yo", "system": "S"},
    {"prompt": "Hi", "chosen": "Yo", "rejected": "No", "system": "S"},
    {"prompt": [USER], "chosen": ANSWER, "rejected": [LOST], "system": "S"},
    {"conversations": [USER], "chosen": ANSWER, "rejected": LOST},
    {"messages": [USER, ANSWER], "rejected_response": "No", "system": "S"},
    {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [LOST]},
]
rows = st.sampled_from(ROWS)
texts = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
known_keys = st.sampled_from(
    sorted({*CONTENT_KEYS, *ROW_KEYS, *ROW_LOSS_FLAGS, *REFUSED_ROW_KEYS, "images", "score", "Messages"})
)
message_keys = st.sampled_from(sorted({*MESSAGE_KEYS, *LOSS_FLAGS, *REFUSED_MESSAGE_KEYS, "image", "id", "Role"}))
odd_messages = st.lists(
    st.dictionaries(message_keys, st.sampled_from(sorted(ROLES)) | values, max_size=4) | values, max_size=3
)


def parse(row: dict[str, Any]) -> tuple[Any, set[str]]:
    return parse_row(row, recognise_format(row, pairs_first="chosen" in row or "rejected_response" in row))


def refusal(row: dict[str, Any]) -> str | None:
    try:
        parse(row)
    except ValueError as error:
        return str(error)
    return None


@given(rows, st.text(min_size=1, max_size=12), values)
def test_an_unknown_key_with_a_value_makes_a_row_bad(row: dict[str, Any], key: str, value: Any) -> None:
    assume(not is_empty(value) and not is_harmless(key) and key not in CONTENT_KEYS | {*ROW_KEYS, *ROW_LOSS_FLAGS})
    reason = refusal({**row, key: value})
    assert reason is not None
    assert f"`{key}`" in reason


@given(st.text(min_size=1, max_size=12), values, st.booleans())
def test_an_unknown_key_of_a_message_makes_a_row_bad(key: str, value: Any, answer: bool) -> None:
    assume(not is_empty(value) and not is_harmless(key, in_message=True))
    assume(key not in MESSAGE_KEYS and key not in LOSS_FLAGS)
    messages = [USER, {**ANSWER, key: value}] if answer else [{**USER, key: value}, ANSWER]
    reason = refusal({"messages": messages})
    assert reason is not None
    assert f"`{key}`" in reason


@given(rows, known_keys, values | odd_messages)
def test_a_key_that_is_accepted_is_read_or_named(row: dict[str, Any], key: str, value: Any) -> None:
    """With another value of the key the row teaches something else, is bad, or names the key as not used."""
    assume(key not in ROW_KEYS and not is_empty(value))
    before, _ = parse(row)
    try:
        after, not_used = parse({**row, key: value})
    except ValueError:
        return
    same = row.get(key) == value or value in (1, True)
    assert same or after != before or key in not_used, (key, value)


@given(st.dictionaries(known_keys, values | odd_messages, max_size=5))
def test_any_row_is_read_or_refused_in_words(row: dict[str, Any]) -> None:
    assert refusal(row) != ""


@given(odd_messages)
def test_any_messages_are_read_or_refused_in_words(messages: Any) -> None:
    assert refusal({"messages": messages}) != ""
    assert refusal({"messages": [USER, *messages]}) != ""


@given(rows, st.randoms())
def test_the_order_of_keys_changes_nothing(row: dict[str, Any], random: Any) -> None:
    keys = [*row, "score", "id"]
    random.shuffle(keys)
    shuffled = {key: row.get(key, 1) for key in keys}
    assert parse(shuffled)[0] == parse(row)[0]


@given(rows, st.sets(st.sampled_from(sorted(CONTENT_KEYS | {*ROW_KEYS, *REFUSED_ROW_KEYS, "images", "persona"}))))
def test_columns_without_a_value_change_nothing(row: dict[str, Any], columns: set[str]) -> None:
    assert parse({**dict.fromkeys(columns), **row}) == parse(row)


def test_values_that_are_nested_deeply_are_no_obstacle() -> None:
    deep = json.loads('{"a":' * 900 + "null" + "}" * 900)
    assert parse({"messages": [USER, ANSWER], "anything": deep})[1] == set()
