"""Thinking and settings of the chat template in the shapes that people have."""

from typing import Any

import pytest

from training.data.formats.formats import parse_row

USER = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "So."}


def read(answer: dict[str, Any], **more: Any) -> Any:
    return parse_row({"messages": [USER, answer], **more}, "chat messages")[0].conversation


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking", "thought"])
def test_thinking_in_a_field(key: str) -> None:
    assert read({**ANSWER, key: "Hm."}).messages[1] == {**ANSWER, "reasoning_content": "Hm."}
    assert read({**ANSWER, key: "Hm.", "reasoning_content": "Hm."}).messages[1]["reasoning_content"] == "Hm."


@pytest.mark.parametrize("part", [{"type": "reasoning", "value": "Hm."}, {"type": "thinking", "thinking": "Hm."}])
def test_thinking_in_parts(part: dict[str, str]) -> None:
    answer = {"role": "assistant", "content": [part, {"type": "text", "text": "So."}]}
    assert read(answer).messages[1] == {**ANSWER, "reasoning_content": "Hm."}


@pytest.mark.parametrize("thought", [None, "", " \n"])
def test_no_thinking(thought: str | None) -> None:
    assert read({**ANSWER, "reasoning_content": thought}).messages[1] == ANSWER


def test_tags_stay_in_the_content() -> None:
    answer = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSo."}
    assert read(answer).messages[1] == answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({**ANSWER, "reasoning": "Hm.", "thinking": "Oh."}, "has `reasoning` and `thinking`, which differ"),
        ({**ANSWER, "reasoning": ["Hm."]}, "`reasoning` of message 2 is a JSON array, not a string"),
        ({**ANSWER, "thinking": True}, "`thinking` of message 2 is a JSON boolean, not a string"),
        ({"role": "assistant", "content": "<think>a</think>b", "reasoning": "c"}, "write its thinking in one of them"),
        ({**ANSWER, "reasoning": "a</think>b"}, "`reasoning` of message 2 holds `</think>`; write it without tags"),
        ({"role": "assistant", "content": "", "reasoning": "Hm."}, "message 2 is an empty answer"),
        ({"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "reasoning", "value": "b"}]},
         "part 2 of the content of message 2 is thinking behind the answer; it must come first"),
    ],
)  # fmt: skip
def test_thinking_that_cannot_be_read(answer: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as error:
        read(answer)
    assert reason in str(error.value)


def test_thinking_of_a_row_says_where_it_belongs() -> None:
    with pytest.raises(
        ValueError, match="has `reasoning`; thinking is read from `reasoning_content` of the assistant's"
    ):
        read(ANSWER, reasoning="Hm.")


def test_settings_of_the_template() -> None:
    assert read(ANSWER, chat_template_kwargs={"enable_thinking": False, "other": None}).template_kwargs == {
        "enable_thinking": False
    }
    assert read(ANSWER, chat_template_kwargs=None).template_kwargs == {}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("no", "`chat_template_kwargs` is a JSON string, not an object"),
        ({"tools": []}, "cannot set tools: it belongs to the request or to the tokenizer"),
        ({"a": [1]}, "`chat_template_kwargs.a` takes true, false, a number"),
        ({"a b": 1}, "takes names of letters, digits and underscores"),
    ],
)
def test_settings_that_are_refused(settings: object, reason: str) -> None:
    with pytest.raises(ValueError) as error:
        read(ANSWER, chat_template_kwargs=settings)
    assert reason in str(error.value)
