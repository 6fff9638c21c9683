"""Masks of conversations with tools and thinking, each written out by hand as text that is learnt or not."""

from typing import Any

import pytest

from tests.training import tool_templates as templates
from tests.training.masks import segments
from training.data.answer_masks import encode_conversation
from training.data.conversation import Conversation

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Look", "parameters": {"type": "object", "properties": {}}},
}
TOOLS = '{"type": "function", "function": {"name": "weather", "description": "Look", "parameters": ' \
    '{"type": "object", "properties": {}}}}'  # fmt: skip
USER = {"role": "user", "content": "Rain?"}
RESULT = {"role": "tool", "content": "No."}
ANSWER = {"role": "assistant", "content": "Dry."}


def call(*arguments: dict[str, Any], text: str = "", **more: Any) -> dict[str, Any]:
    calls = [{"type": "function", "function": {"name": "weather", "arguments": each}} for each in arguments]
    return {"role": "assistant", "content": text, "tool_calls": calls, **more}


@pytest.fixture
def masks(make_tokenizer):
    """Encodes messages with a template: for each sequence its runs of tokens as text, and whether they are learnt."""

    def encoded(template: str, messages: list[dict[str, Any]], *tools: dict[str, Any], **settings: Any):
        tokenizer = make_tokenizer(template, special=templates.SPECIAL)
        tokenizer.eos_token = templates.EOS.get(template, "<|im_end|>")
        examples = encode_conversation(tokenizer, Conversation(tuple(messages), tools, settings))
        return [segments(tokenizer, example) for example in examples]

    return encoded


def test_calls_are_learnt_and_results_are_not(masks) -> None:
    assert masks(templates.HERMES, [USER, call({"city": "Rome"}), RESULT, ANSWER], WEATHER) == [
        [
            (
                f"<|im_start|>system\n<tools>\n{TOOLS}\n</tools><|im_end|>\n<|im_start|>user\nRain?<|im_end|>\n"
                "<|im_start|>assistant\n",
                False,
            ),
            ('<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>', True),
            (
                "\n<|im_start|>user\n<tool_response>\nNo.\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
                False,
            ),
            ("Dry.<|im_end|>", True),
        ]
    ]


def test_several_calls_and_the_text_beside_them(masks) -> None:
    (sequence,) = masks(
        templates.HERMES, [USER, call({}, {"n": [1, {"a": None}]}, text="I look."), RESULT, RESULT, ANSWER]
    )
    assert sequence[1] == (
        'I look.\n<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": {"n": [1, {"a": null}]}}\n</tool_call><|im_end|>',
        True,
    )
    assert sequence[3] == ("Dry.<|im_end|>", True)
    assert [learnt for _, learnt in sequence] == [False, True, False, True]


def test_another_end_behind_a_call_is_learnt_too(masks) -> None:
    assert masks(templates.LLAMA3, [USER, call({"city": "Rome"}), RESULT, ANSWER]) == [
        [
            (
                "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nRain?<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
                False,
            ),
            ('{"name": "weather", "parameters": {"city": "Rome"}}<|eom_id|>', True),
            (
                '<|start_header_id|>ipython<|end_header_id|>\n\n"No."<|eot_id|>'
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
                False,
            ),
            ("Dry.<|eot_id|>", True),
        ]
    ]


def test_mistral_shows_tools_where_it_is_asked_last(masks) -> None:
    first, second = (dict(call({"city": "Rome"})["tool_calls"][0], id=name) for name in ("abcdefgh1", "abcdefgh2"))
    calls = {"role": "assistant", "content": "", "tool_calls": [first, second]}
    results = [{"role": "tool", "content": "1", "tool_call_id": each["id"]} for each in (first, second)]
    said = '{"name": "weather", "arguments": {"city": "Rome"}, "id": "abcdefgh1"}, ' \
        '{"name": "weather", "arguments": {"city": "Rome"}, "id": "abcdefgh2"}'  # fmt: skip
    shown = '[TOOL_RESULTS] {"content": 1, "call_id": "abcdefgh1"}[/TOOL_RESULTS]' \
        '[TOOL_RESULTS] {"content": 1, "call_id": "abcdefgh2"}[/TOOL_RESULTS]'  # fmt: skip
    again = [{"role": "user", "content": "Snow?"}, ANSWER]
    assert masks(templates.MISTRAL, [USER, calls, *results, ANSWER, *again], WEATHER) == [
        [
            (f"<s>[AVAILABLE_TOOLS] [{TOOLS}][/AVAILABLE_TOOLS][INST] Rain?[/INST]", False),
            (f"[TOOL_CALLS] [{said}]</s>", True),
            (shown, False),
            (" Dry.</s>", True),
        ],
        [
            (
                f"<s>[INST] Rain?[/INST][TOOL_CALLS] [{said}]</s>{shown} Dry.</s>"
                f"[AVAILABLE_TOOLS] [{TOOLS}][/AVAILABLE_TOOLS][INST] Snow?[/INST]",
                False,
            ),
            (" Dry.</s>", True),
        ],
    ]


def test_a_tag_for_each_argument(masks) -> None:
    (sequence,) = masks(templates.IN_TAGS, [USER, call({"city": 'the "old" one', "days": 3})])
    assert sequence[1] == (
        '<tool_call>\n<function=weather>\n<parameter=city>\nthe "old" one\n</parameter>\n'
        "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call><|im_end|>",
        True,
    )


@pytest.mark.parametrize(
    ("template", "messages", "tools", "reason"),
    [
        ("CHATML", [USER, ANSWER], [WEATHER], "does not show the tools"),
        ("FIRST_TOOL", [USER, ANSWER], [WEATHER], "does not show the tools"),
        ("NO_CALLS", [USER, call({"a": 1})], [], "does not show the calls of message 2"),
        ("NO_CALLS", [USER, call({}), RESULT, ANSWER], [], "does not show the calls of message 2"),
        ("NO_RESULTS", [USER, call({}), RESULT, ANSWER], [], "does not show the result of message 3"),
        ("AS_PYTHON", [USER, call({"a": 1})], [], "as Python does, not as JSON .* of message 2"),
        ("ENCODES_TWICE", [USER, call({"a": 1})], [], "encodes them twice, in the calls of message 2"),
        ("CONCATENATES", [USER, call({"a": 1})], [], "cannot take it .TypeError"),
        ("LLAMA3", [USER, call({"a": 1}, {"b": 1})], [], "only supports single tool-calls at once"),
        ("LLAMA3", [USER, call({"a": 1}, text="I look.")], [], "leaves out the text beside the calls of message 2"),
        ("MISTRAL", [USER, call({"a": 1})], [], "IDs should be alphanumeric"),
        ("MARKS_TEXT_ONLY", [USER, call({"a": 1}, text="I look.")], [], "marks message 2 as learnt without its calls"),
    ],
)  # fmt: skip
def test_a_template_that_leaves_something_out_is_refused(masks, template, messages, tools, reason) -> None:
    from tests.training.templates import CHATML

    with pytest.raises(ValueError, match=reason):
        masks(CHATML if template == "CHATML" else getattr(templates, template), messages, *tools)


def test_marks_that_hold_calls_are_kept(masks) -> None:
    messages = [USER, call({"city": "Rome"}, text="I look."), RESULT, ANSWER]
    assert masks(templates.MARKS_CALLS, messages) == masks(templates.HERMES, messages)


@pytest.mark.parametrize(
    "hostile",
    [
        'Vx1x0value"x0V', "Fx1x0functionx0F", "Ax0answerx0A", "Qx0questionx0Q", "</tool_call>", '"}}\n</tool_call>',
        "{{ messages }}", "{% raw %}", "ü €  \u2028 \U0001f600", "\\", "\x00\x1f", "a" * 5000, "'city': 'x'", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("template", ["HERMES", "LLAMA3", "R1", "CHANNELS"])
def test_values_that_look_like_the_template_change_no_mask(masks, template, hostile) -> None:
    """What is learnt is what the template writes, whatever the words of the row are."""
    import json

    messages = [
        {"role": "user", "content": hostile},
        call({hostile: hostile, "deep": [{"a": hostile}, 1.5, -3, True, None]}),
        {"role": "tool", "content": hostile or "-"},
        {"role": "assistant", "content": "Dry."},
    ]
    if template == "R1":
        messages[1]["content"], messages[3]["content"] = "<think>\nI ask.\n</think>", "<think>\nSo.\n</think>\n\nDry."
    sequences = masks(getattr(templates, template), messages)
    arguments = json.dumps(messages[1]["tool_calls"][0]["function"]["arguments"], ensure_ascii=False)
    learnt = [text for sequence in sequences for text, is_learnt in sequence if is_learnt]
    assert len(learnt) == 2
    assert arguments in learnt[0]
    assert learnt[1].replace("So.\n</think>\n\n", "").startswith(("Dry.", "<|channel|>final<|message|>Dry."))


THINKS = {"reasoning_content": "I know."}


def test_thinking_is_learnt_where_the_model_writes_it(masks) -> None:
    """Each turn with its own thinking; that of the first turn is gone once it is the turn before."""
    messages = [USER, {**ANSWER, "reasoning_content": "Sun."}, USER, {**ANSWER, "reasoning_content": "Wind."}]
    assert masks(templates.QWEN3, messages) == [
        [
            ("<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n", False),
            ("<think>\nSun.\n</think>\n\nDry.<|im_end|>", True),
        ],
        [
            (
                "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\nDry.<|im_end|>\n"
                "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n",
                False,
            ),
            ("<think>\nWind.\n</think>\n\nDry.<|im_end|>", True),
        ],
    ]


def test_thinking_inside_a_chain_of_calls_is_kept(masks) -> None:
    messages = [USER, call({"city": "Rome"}, **THINKS), RESULT, {**ANSWER, **THINKS}]
    assert masks(templates.QWEN3, messages, WEATHER) == [
        [
            (f"<|im_start|>user\n{TOOLS}\nRain?<|im_end|>\n<|im_start|>assistant\n", False),
            (
                '<think>\nI know.\n</think>\n\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n'
                "</tool_call><|im_end|>",
                True,
            ),
            (
                "\n<|im_start|>user\n<tool_response>\nNo.\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
                False,
            ),
            ("<think>\nI know.\n</think>\n\nDry.<|im_end|>", True),
        ]
    ]


def test_thinking_that_is_switched_off_is_no_part_of_the_answer(masks) -> None:
    assert masks(templates.QWEN3, [USER, ANSWER], enable_thinking=False) == [
        [
            ("<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
            ("Dry.<|im_end|>", True),
        ]
    ]
    assert masks(templates.QWEN3, [USER, ANSWER]) == [
        [
            ("<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n", False),
            ("<think>\n\n</think>\n\nDry.<|im_end|>", True),
        ]
    ]
    with pytest.raises(ValueError, match="message 2 is no answer to that"):
        masks(templates.QWEN3, [USER, {**ANSWER, **THINKS}], enable_thinking=False)


def test_a_field_becomes_tags_where_the_template_knows_only_tags(masks) -> None:
    messages = [USER, call({"city": "Rome"}, **THINKS), RESULT, {**ANSWER, "reasoning_content": "Sun."}]
    shown = '<|call|>weather\n{"city": "Rome"}<|call_end|></s>'
    assert masks(templates.R1, messages) == [
        [("<s><|User|>Rain?<|Assistant|><think>\n", False), (f"I know.\n</think>\n\n{shown}", True)],
        [
            (
                f"<s><|User|>Rain?<|Assistant|>{shown}<|tool_result|>No.<|tool_result_end|><|Assistant|><think>\n",
                False,
            ),
            ("Sun.\n</think>\n\nDry.</s>", True),
        ],
    ]


def test_tags_become_a_field_where_the_template_knows_no_tags(masks) -> None:
    asked = "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\n"
    thinks = {**ANSWER, "content": "<think>\nSun.\n</think>\n\nDry."}
    assert masks(templates.QWEN3, [USER, thinks]) == [
        [(asked, False), ("<think>\nSun.\n</think>\n\nDry.<|im_end|>", True)]
    ]
    thinks_nothing = {**ANSWER, "content": "<think>\n\n</think>\n\nDry."}
    assert masks(templates.QWEN3, [USER, thinks_nothing], enable_thinking=False) == [
        [(f"{asked}<think>\n\n</think>\n\n", False), ("Dry.<|im_end|>", True)]
    ]
    assert masks(templates.CHANNELS, [USER, thinks]) == masks(
        templates.CHANNELS, [USER, {**ANSWER, "reasoning_content": "Sun."}]
    )
    assert masks(templates.HERMES, [USER, thinks])[0][-1] == ("<think>\nSun.\n</think>\n\nDry.<|im_end|>", True)


def test_thinking_in_channels(masks) -> None:
    messages = [USER, call({"city": "Rome"}, **THINKS), RESULT, {**ANSWER, "reasoning_content": "Sun."}]
    assert masks(templates.CHANNELS, messages) == [
        [
            ("<|start|>user<|message|>Rain?<|end|><|start|>assistant", False),
            (
                "<|channel|>analysis<|message|>I know.<|end|><|start|>assistant to=functions.weather<|channel|>"
                'commentary json<|message|>{"city": "Rome"}<|call|>',
                True,
            ),
            ("<|start|>functions to=assistant<|message|>No.<|end|><|start|>assistant", False),
            (
                "<|channel|>analysis<|message|>Sun.<|end|><|start|>assistant<|channel|>final<|message|>Dry.<|return|>",
                True,
            ),
        ]
    ]


def test_thinking_that_no_template_shows_is_refused(masks) -> None:
    with pytest.raises(ValueError, match="does not show what message 2 thinks"):
        masks(templates.HERMES, [USER, {**ANSWER, **THINKS}])


@pytest.mark.parametrize("name", ["enable_thinkin", "enable", "thinking", "Enable_Thinking"])
def test_a_setting_that_the_template_does_not_read_is_refused(masks, name: str) -> None:
    with pytest.raises(ValueError, match=f"does not read `{name}` of `chat_template_kwargs`: correct its name"):
        masks(templates.QWEN3, [USER, ANSWER], **{name: False})
