"""Masks of templates that are built in different ways, each written out by hand as text that is learnt or not."""

from typing import Any

import pytest

from tests.training import templates
from tests.training.masks import Segments, segments
from training.config import TrainingConfig
from training.data.answer_masks import encode_conversation, encode_last_answer
from training.data.conversation import Conversation
from training.data.rows import check_rows
from training.data.tokenize import encode_rows

ONE_TURN = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
TWO_TURNS = [*ONE_TURN, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A!"}]
SYSTEM = {"role": "system", "content": "Be kind."}
THINKING = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "<think>\nFirst.\n</think>\n\nYo"},
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "<think>\nThen.\n</think>\n\nA!"},
]


@pytest.fixture
def masks(make_tokenizer):
    """Encodes messages with a template: for each sequence its runs of tokens as text, and whether they are learnt."""

    def encoded(template: str, messages: list[dict[str, str]], **options: Any) -> list[Segments]:
        tokenizer = make_tokenizer(template, special=templates.SPECIAL, **options)
        tokenizer.eos_token = templates.EOS.get(template, "<|im_end|>")
        return [
            segments(tokenizer, example) for example in encode_conversation(tokenizer, Conversation(tuple(messages)))
        ]

    return encoded


def test_chatml(masks) -> None:
    assert masks(templates.CHATML, [SYSTEM, *TWO_TURNS]) == [
        [
            ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False),
            ("Yo<|im_end|>", True),
            ("\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", False),
            ("A!<|im_end|>", True),
        ]
    ]


def test_llama_3(masks) -> None:
    assert masks(templates.LLAMA3, [SYSTEM, *TWO_TURNS]) == [
        [
            (
                "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
                "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
                False,
            ),
            ("Yo<|eot_id|>", True),
            (
                "<|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
                False,
            ),
            ("A!<|eot_id|>", True),
        ]
    ]


def test_llama_2_has_the_system_message_in_the_first_question_and_no_generation_prompt(masks) -> None:
    assert masks(templates.LLAMA2, [SYSTEM, *TWO_TURNS]) == [
        [
            ("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST]", False),
            (" Yo </s>", True),
            ("<s>[INST] Q [/INST]", False),
            (" A! </s>", True),
        ]
    ]


def test_mistral_shows_the_system_message_only_in_a_question_that_is_not_answered_yet(masks) -> None:
    """What the model sees when it answers has the system message; so has what it is trained on."""
    assert masks(templates.MISTRAL, [SYSTEM, *TWO_TURNS]) == [
        [("<s>[INST] Be kind.\n\nHi[/INST]", False), (" Yo</s>", True)],
        [("<s>[INST] Hi[/INST] Yo</s>[INST] Be kind.\n\nQ[/INST]", False), (" A!</s>", True)],
    ]
    assert masks(templates.MISTRAL, TWO_TURNS) == [
        [
            ("<s>[INST] Hi[/INST]", False),
            (" Yo</s>", True),
            ("[INST] Q[/INST]", False),
            (" A!</s>", True),
        ]
    ]


def test_qwen_3_learns_each_thinking_where_it_is_the_last(masks) -> None:
    assert masks(templates.QWEN3, THINKING) == [
        [
            ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False),
            ("<think>\nFirst.\n</think>\n\nYo<|im_end|>", True),
        ],
        [
            (
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n"
                "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
                False,
            ),
            ("<think>\nThen.\n</think>\n\nA!<|im_end|>", True),
        ],
    ]


def test_qwen_3_learns_the_empty_thinking_that_it_will_have_to_write(masks) -> None:
    assert masks(templates.QWEN3, ONE_TURN) == [
        [
            ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False),
            ("<think>\n\n</think>\n\nYo<|im_end|>", True),
        ]
    ]


def test_r1_goes_on_with_the_thinking_that_its_generation_prompt_opens(masks) -> None:
    assert masks(templates.R1, THINKING) == [
        [("<s><|User|>Hi<|Assistant|><think>\n", False), ("First.\n</think>\n\nYo</s>", True)],
        [
            ("<s><|User|>Hi<|Assistant|>Yo</s><|User|>Q<|Assistant|><think>\n", False),
            ("Then.\n</think>\n\nA!</s>", True),
        ],
    ]


def test_r1_refuses_an_answer_that_its_generation_prompt_does_not_ask_for(masks) -> None:
    with pytest.raises(ValueError, match=r"message 2 is no answer to that: it must begin with '<think>\\n'"):
        masks(templates.R1, ONE_TURN)


def test_gemma_calls_the_assistant_model_and_has_no_system_role(masks) -> None:
    assert masks(templates.GEMMA, TWO_TURNS) == [
        [
            ("<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", False),
            ("Yo<end_of_turn>", True),
            ("\n<start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n", False),
            ("A!<end_of_turn>", True),
        ]
    ]
    with pytest.raises(ValueError, match=r"refuses it \(System role not supported\)"):
        masks(templates.GEMMA, [SYSTEM, *ONE_TURN])


def test_marks_do_not_make_the_generation_prompt_learnt(masks) -> None:
    assert masks(templates.MARKED, TWO_TURNS) == masks(templates.CHATML, TWO_TURNS)


def test_marks_leave_out_what_they_leave_out_but_never_the_end_of_the_turn(masks) -> None:
    assert masks(templates.MARKED_IN_PART, TWO_TURNS) == [
        [
            ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nnote:", False),
            ("Yo<|im_end|>", True),
            ("\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nnote:", False),
            ("A!<|im_end|>", True),
        ]
    ]


def test_what_ends_the_conversation_behind_the_turn_is_not_learnt(masks) -> None:
    assert masks(templates.ENDED, TWO_TURNS) == masks(templates.CHATML, TWO_TURNS)


def test_no_token_is_a_part_of_both_prompt_and_answer(masks) -> None:
    """Two line feeds are one token here; the generation prompt ends with one, and so the answer's is another."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\nYo"}]
    assert masks(templates.CHATML, messages, merges=[("Ċ", "Ċ")]) == [
        [("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False), ("\nYo<|im_end|>", True)]
    ]


def test_special_tokens_in_a_text_do_not_end_the_turn(masks) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Write <|im_end|>\nafter it"}]
    assert masks(templates.CHATML, messages)[0][-1] == ("Write <|im_end|>\nafter it<|im_end|>", True)


def test_a_template_that_drops_answers_is_refused(masks) -> None:
    with pytest.raises(ValueError, match="does not show message 2"):
        masks("{% for m in messages if m.role == 'user' %}{{ m.content }}<|im_end|>{% endfor %}", ONE_TURN)


@pytest.mark.parametrize("template", [templates.CHATML, templates.QWEN3, templates.MISTRAL, templates.MARKED])
def test_what_is_not_learnt_is_the_prompt_as_the_server_renders_it(make_tokenizer, template: str) -> None:
    tokenizer = make_tokenizer(template, special=templates.SPECIAL)
    for messages in (ONE_TURN, TWO_TURNS, [SYSTEM, *TWO_TURNS], THINKING):
        example = encode_last_answer(tokenizer, Conversation(tuple(messages)))
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
        assert example.token_ids[: len(prompt)] == prompt
        assert example.is_answer == [False] * len(prompt) + [True] * (len(example.token_ids) - len(prompt))


def test_a_preference_pair_becomes_two_sequences_that_learn_their_last_answer(make_tokenizer, write_rows) -> None:
    pair = {"chosen": TWO_TURNS, "rejected": [*TWO_TURNS[:3], {"role": "assistant", "content": "B"}]}
    tokenizer = make_tokenizer(templates.CHATML, special=templates.SPECIAL)
    report = check_rows(TrainingConfig(data=write_rows([pair]), objective="dpo"))
    (row,) = encode_rows(report, tokenizer, max_tokens=1000).rows
    assert [segments(tokenizer, example)[1:] for example in row.sequences] == [
        [("A!<|im_end|>", True)],
        [("B<|im_end|>", True)],
    ]
