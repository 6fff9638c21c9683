"""Prompts of a training against those that vLLM makes of the same messages, by its own request types and renderer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training import tool_templates as templates
from tests.training.conftest import write_model
from training.data.conversation import Conversation
from training.data.formats.formats import parse_row
from training.data.templates.rendering import render

pytestmark = pytest.mark.slow

HOSTILE = ['say "hi"', "ü €  \U0001f600", "\\", "a\nb", "</tool_call>", "{{ x }}", "", "0", "null", "'", "<think>"]
Render = Callable[..., str]


@pytest.fixture(scope="module")
def vllm_prompt(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """What vLLM 0.29 renders of a chat request, with a real configuration of a small model."""
    from vllm.config import ModelConfig
    from vllm.entrypoints.chat_utils import parse_chat_messages
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers.hf import resolve_chat_template_content_format, safe_apply_chat_template

    folder: Path = write_model(tmp_path_factory.mktemp("model"))
    config = ModelConfig(model=str(folder))

    def rendered(tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        request = ChatCompletionRequest(model="m", messages=json.loads(json.dumps(messages)), tools=tools)
        shown = [tool.model_dump() for tool in request.tools] if request.tools else None
        form = resolve_chat_template_content_format(None, shown, "auto", tokenizer, model_config=config)
        parsed, _, _ = parse_chat_messages(request.messages, config, form)
        return str(
            safe_apply_chat_template(config, tokenizer, parsed, tools=shown, tokenize=False, add_generation_prompt=True)
        )

    return rendered


def conversations(value: str) -> list[list[dict[str, Any]]]:
    """Messages as a client sends them: arguments as text, ids, thinking, calls without text."""
    function = {"name": "look", "arguments": json.dumps({"a": value, "deep": [{"b": value}, 1.5, True, None]})}
    call = {"id": "abcdefgh1", "type": "function", "function": function}
    empty = {"id": "abcdefgh2", "type": "function", "function": {"name": "look", "arguments": ""}}
    ask, answer = {"role": "user", "content": f"x{value}"}, {"role": "assistant", "content": "So."}
    result = {"role": "tool", "tool_call_id": "abcdefgh1", "content": value}
    return [
        [ask, {"role": "assistant", "content": None, "tool_calls": [call]}, result, answer],
        [ask, {"role": "assistant", "content": "I look.", "tool_calls": [call]}, result, answer, ask, answer],
        [
            ask,
            {"role": "assistant", "tool_calls": [call, empty]},
            result,
            {**result, "tool_call_id": "abcdefgh2"},
            answer,
        ],
        [ask, {"role": "assistant", "reasoning": "Hm.", "content": None, "tool_calls": [call]}, result, answer],
        [{"role": "system", "content": "Be kind."}, ask, {**answer, "reasoning_content": "Hm."}, ask, answer],
    ]


@pytest.mark.parametrize("name", ["HERMES", "LLAMA3", "MISTRAL", "IN_TAGS", "QWEN3", "R1"])
@pytest.mark.parametrize("tools", [None, [{"function": {"strict": True, "parameters": {"b": 1, "a": 2}, "name": "look"},
                                           "type": "function", "extra": 1}, {"name": "bare"}]])  # fmt: skip
def test_prompts_are_those_of_the_endpoint(make_tokenizer, vllm_prompt: Render, name: str, tools: Any) -> None:
    tokenizer = make_tokenizer(getattr(templates, name), special=templates.SPECIAL)
    wrapped = tools and [tools[0], {"type": "function", "function": tools[1]}]
    compared = 0
    for value in HOSTILE:
        for messages in conversations(value):
            said = parse_row({"messages": messages, **({"tools": tools} if tools else {})}, "chat messages")[
                0
            ].conversation
            for number, message in enumerate(messages):
                if message["role"] != "assistant" or number == 0:
                    continue
                try:
                    mine = render(tokenizer, _before(said, number), add_generation_prompt=True)
                except ValueError as error:
                    assert "single tool-calls" in str(error)
                    continue
                assert mine == vllm_prompt(tokenizer, messages[:number], wrapped)
                compared += 1
    assert compared >= len(HOSTILE) * 8


def _before(said: Conversation, number: int) -> Conversation:
    return said.until(number)
