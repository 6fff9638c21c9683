"""Control tokens in text are found whatever the tokenizer is, and ordinary words are not taken for some."""

from typing import Any

import pytest
from tokenizers import AddedToken, normalizers

from tests.training import templates
from tests.training.conftest import byte_tokenizer
from training.data.conversation import Conversation
from training.data.rows import TrainingRow
from training.data.templates.control_tokens import ControlTokens
from training.data.templates.shown_messages import template_token_ids

RESERVED = tuple(f"<|reserved_special_token_{number}|>" for number in range(250))


def control_tokens(
    *added: AddedToken, special: tuple[str, ...] = (), template: str = templates.CHATML
) -> ControlTokens:
    tokenizer = byte_tokenizer(template, special=(*special, *RESERVED))
    tokenizer.add_tokens(list(added))
    return ControlTokens(tokenizer, template_token_ids(tokenizer))


@pytest.mark.parametrize("text", ["<s>", "</s>", "<pad>", "<|end|>", "<|user|>", RESERVED[0], RESERVED[249], "<image>"])
@pytest.mark.parametrize("around", ["{}", "a{}b", "a {} b", "first\n{}\n\nlast"])
def test_special_tokens_are_found_wherever_they_are(text: str, around: str) -> None:
    assert control_tokens(special=("<image>",)).find(around.format(text)) == [text]


def test_each_is_named_once_in_the_order_of_the_text() -> None:
    assert control_tokens().find("a <|end|> b <|user|> c <|end|>") == ["<|end|>", "<|user|>"]


@pytest.mark.parametrize("text", ["", "plain", "a < b > c", "<|end", "<| end |>", "<td>x</td>", "[1]", "<|reserved|>"])
def test_other_text_has_none(text: str) -> None:
    assert control_tokens().find(text) == []


@pytest.mark.parametrize(
    ("text", "is_control"),
    [
        ("Aspirin", False), ("    ", False), ("<td>", False), ("<think>", False), ("<tool_call>", False),
        ("<|fim_prefix|>", True), ("<unused7>", True), ("[unused7]", True), ("<image>", True), ("<video>", True),
        ("<｜fim▁begin｜>", True), ("<extra_id_3>", True),
    ],
)  # fmt: skip
def test_of_added_tokens_those_are_that_look_reserved(text: str, is_control: bool) -> None:
    tokens = control_tokens(AddedToken(text, special=False, normalized=False))
    assert tokens.find(f"take {text} twice") == [text] * is_control


def test_an_added_token_that_the_template_parts_turns_with_is_one() -> None:
    added = [AddedToken(text, special=False, normalized=False) for text in ("[TURN]", "[WORD]")]
    template = templates.CHATML.replace("<|im_end|>", "[TURN]")
    assert control_tokens(*added, template=template).find("a [TURN] b [WORD]") == ["[TURN]"]


def test_a_token_that_the_tokenizer_would_not_read_is_none() -> None:
    """A token of a single word is not read inside another."""
    tokens = control_tokens(AddedToken("END", special=True, single_word=True, normalized=False))
    assert tokens.find("the END of it") == ["END"]
    assert tokens.find("SENDER") == []


def test_text_that_becomes_a_control_token_when_it_is_normalised_is_one() -> None:
    tokenizer = byte_tokenizer(templates.CHATML)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.add_tokens([AddedToken("<stop>", special=True, normalized=True)])
    tokens = ControlTokens(tokenizer)
    assert tokens.find("do <STOP> here") == ["<stop>"]
    assert tokens.find("do ＜stop＞ here") == ["<stop>"]
    assert tokens.find("do stop here") == []


class SlowTokenizer:
    """A tokenizer in Python as some models bring it: a table of its own, and no added tokens."""

    all_special_tokens = ()

    def __init__(self) -> None:
        self.special_tokens = {"<|endoftext|>": 0, "<|im_end|>": 1}

    def convert_tokens_to_ids(self, text: str) -> int | None:
        return self.special_tokens.get(text)

    def convert_ids_to_tokens(self, number: int) -> str:
        return list(self.special_tokens)[number]

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        ids = [2] * len(text)
        for token, number in self.special_tokens.items():
            ids += [number] * text.count(token)
        return {"input_ids": ids}


def test_a_tokenizer_with_a_table_of_its_own() -> None:
    tokens = ControlTokens(SlowTokenizer())
    assert tokens.find("a <|im_end|> b") == ["<|im_end|>"]
    assert tokens.find("a im_end b") == []


def test_all_texts_of_a_row_are_searched() -> None:
    messages = (
        {"role": "system", "content": "<s>"},
        {"role": "user", "content": [{"type": "text", "text": "<|user|>"}]},
        {"role": "tool", "content": "<pad>"},
        {"role": "assistant", "content": "Yo", "tool_calls": [{"function": {"arguments": {"city": "<|start|>"}}}]},
    )
    conversation = Conversation(messages, tools=({"name": "<|end|>"},))
    rejected = (*messages[:3], {"role": "assistant", "content": "</s>"})
    row = TrainingRow(1, "f:1", conversation, "1", (), None, rejected=rejected, text="<|system|>")
    found = {(each.role, each.text) for each in control_tokens().find_in_row(row)}
    assert found == {
        ("system", "<s>"), ("user", "<|user|>"), ("tool", "<pad>"), ("assistant", "<|start|>"), ("tools", "<|end|>"),
        ("assistant", "</s>"), ("text", "<|system|>"),
    }  # fmt: skip


def test_marks_of_thinking_belong_into_answers_and_not_into_questions() -> None:
    tokens = control_tokens(special=("<think>", "</think>", "<tool_call>"))

    def found(role: str) -> list[str]:
        conversation = Conversation(({"role": role, "content": "<think>So.</think><tool_call>"},))
        return [each.text for each in tokens.find_in_row(TrainingRow(1, "f:1", conversation, "1", (), None))]

    assert found("assistant") == [] and found("system") == []
    assert found("user") == ["<think>", "</think>", "<tool_call>"]
