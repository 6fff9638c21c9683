"""Thinking and answer of a reply: ways of marking, what is cut off, and answers that are about the marks."""

import time
from itertools import product

import pytest

from evaluation.questions.thinking import may_think, opens_thinking, split_thinking

MARKS = [
    ("<think>", "</think>"), ("<think>\n", "\n</think>\n\n"), ("<THINK>", "</Think>"), ("<thinking>", "</thinking>\n"),
    ("<thought>", "</thought>"), ("<reasoning>\n", "</reasoning>\n"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
    ("\n  <think >", "</think >"), ('<think time="3">', "</think>"), ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|begin_of_thought|>\n", "<|end_of_thought|>\n<|begin_of_solution|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel>thought\n", "<channel|>"), ("analysis", "assistantfinal"),
    ("Here is my thought process: ", "\nHere is my response: "),
    ("<unused94>thought\n", "<unused95>"), ('<details type="reasoning" done="true">\n', "\n</details>\n"),
    ("<chain_of_thought>", "</chain_of_thought>"),
]  # fmt: skip
LONE = [("", "</think>"), ("", "\n</think>\n\n"), ("", "</think>\n"), ("", " [/THINK] "), ("", "◁/think▷")]
THOUGHTS = ["Is it Lyon? No.", "The user asks for a number.\n\n3 + 4 = 7, or 8?", "So it is `</x>` and <b>, isn't it?"]
ANSWERS = ["Paris", "7", '{"city": "Rome", "age": 3}', "It is Paris [1].\n\nI hope this helps!", "ABC-1234", "**26**"]


@pytest.mark.parametrize("marks", [*MARKS, *LONE], ids=lambda marks: repr(marks[0] + marks[1]))
def test_thinking_is_no_part_of_the_answer(marks: tuple[str, str]) -> None:
    for thought, answer, ended in product(THOUGHTS, ANSWERS, (True, False)):
        split = split_thinking(f"{marks[0]}{thought}{marks[1]}{answer}", ended)
        assert split.answer == answer, (thought, answer)
        assert split.thinking and " ".join(split.thinking.split()) == " ".join(thought.split())


@pytest.mark.parametrize("marks", MARKS, ids=lambda marks: repr(marks[0]))
def test_what_is_cut_off_in_its_thinking_has_no_answer_and_what_ends_there_an_empty_one(marks: tuple[str, str]) -> None:
    for thought in (*THOUGHTS, "The capital of France is Paris"):
        assert split_thinking(marks[0] + thought, ended=False).answer is None
        split = split_thinking(marks[0] + thought, ended=True)
        assert split.answer == "" and split.thinking
    closed = f"{marks[0]}The capital is Paris{marks[1]}"
    assert split_thinking(closed, ended=False).answer is None and split_thinking(closed).answer == ""


@pytest.mark.parametrize("text", ["<", "<thi", "[THI", "◁th", " <|chan"])
def test_a_tag_that_is_cut_off_begins_no_answer(text: str) -> None:
    assert split_thinking(text, ended=False) == ("", None) and split_thinking(text) == (None, text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>a <think>b</think> c</think>Paris", "Paris"),
        ("<think>This is about the <think> tag.</think>Paris", "Paris"),
        ("<think>I close it with </think> later.\n</think>\n\nParis", "Paris"),
        ("<think>a</think><think>b</think>\nParis", "Paris"),
        ("<think>a</think>\n<reasoning>b</reasoning>\nParis", "Paris"),
        ("<think>a</think>I look it up.<think>b</think>It is Paris.", "I look it up.\nIt is Paris."),
        ("Sure!\n<think>\nIs it Lyon?\n</think>\nParis", "Sure!\n\nParis"),
        ("<think>\n\n</think>\n\nParis", "Paris"),
        ("<think>x</think>The closing tag is </think>.", "The closing tag is </think>."),
        ("<think>x</think>It is `<think>`.", "It is `<think>`."),
        ("Is it Lyon?\n</think>\n\nIt is written `</think>`.", "It is written `</think>`."),
        ("<reasoning>a</reasoning>\n<answer>\nParis\n</answer>", "Paris"),
        ("<think>a</think>Paris\n<think>", "Paris"),
        ("<think>I write `<think>` first.</think>It ends with `</think>`.", "It ends with `</think>`."),
        ("<think>I never close it.\n<answer>Paris</answer>", "Paris"),
        ("<|im_start|>assistant\n<think>a</think>Paris", "Paris"),
        ("\ufeff<think>a</think>Paris", "Paris"),
        ("<s> <think>```python\nprint()\n</think>Paris", "Paris"),
    ],
)
def test_blocks_within_blocks_and_several_of_them(text: str, answer: str) -> None:
    assert split_thinking(text).answer == answer


@pytest.mark.parametrize(
    "text",
    [
        "Paris", "", " \n", "The model writes `<think>` first, then `</think>`.", 'It is "</think>".', "“<think>”",
        "`<think>`",
        "The tags are <think> and </think>.", "Use </think> to close it.", "It ends with </think>.", "It is </think>",
        "Put it between <think> and </think>, as in <think>so</think>.", "```xml\n<think>so</think>\n```\nis how.",
        "Write this:\n<think>\nyour thoughts\n</think>\nand then the answer.", "<think>", "</think>",
        '{"open": "<think>", "close": "</think>"}', '{"text": "so</think>it is"}',
        "The analysis shows that it is Paris.", "Analysis: Paris", "analysis of variance", "I think it is Paris.",
        "<p>Use <code>&lt;think&gt;</code></p>",
        "1. <b>think</b>\n2. <i>act</i>", "Here is my response: Paris", "final", "x < think > y",
    ],
)  # fmt: skip
def test_an_answer_about_tags_or_without_any_stays_as_it_is(text: str) -> None:
    assert split_thinking(text) == (None, text)


@pytest.mark.parametrize("part", ["<think>", "</think>", "<think></think>", "a <think></think> b", "<think>a</think>b",
                                  "`", "``a", "<", "<think ", "x </think> y", "analysis", "```"])  # fmt: skip
def test_the_time_follows_the_length(part: str) -> None:
    started = time.perf_counter()
    split_thinking(part * (60_000 // len(part)))
    split_thinking(part * (60_000 // len(part)), ended=False)
    assert time.perf_counter() - started < 3


def test_a_template_without_a_word_for_thinking_is_known() -> None:
    assert may_think("{% if enable_thinking %}<think>{% endif %}") and may_think("<|start|>assistant<|channel|>")
    assert not may_think("{% for message in messages %}<|user|>{{ message.content }}{% endfor %}")


def test_a_prompt_that_ends_in_thinking_is_known() -> None:
    assert opens_thinking("<|user|>Why?<|assistant|><think>\n") and opens_thinking("Why?[THINK]")
    assert not opens_thinking("<|assistant|><think>\n\n</think>\n\n") and not opens_thinking(
        "What is <think>?<|assistant|>"
    )
