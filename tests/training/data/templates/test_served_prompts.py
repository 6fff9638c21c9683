"""What is trained on begins with the tokens that vLLM makes of the same messages: no BOS more, none less."""

from pathlib import Path
from typing import Any

import pytest

from tests.training import templates
from tests.training.conftest import byte_tokenizer, write_model
from training.data.answer_masks import encode_last_answer
from training.data.conversation import Conversation

pytestmark = pytest.mark.slow

TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yo"},
    {"role": "user", "content": " How are\nyou? "},
]
SYSTEM = {"role": "system", "content": "Be kind."}

# Llama 4, LLaVA and others read content as text or as a list of parts; vLLM gives such templates parts.
PARTS = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES: dict[str, str] = {
    **{name: text for name, text in vars(templates).items() if isinstance(text, str) and "{%" in text},
    "PARTS": PARTS,
    "WITH_BOS": "{{ bos_token }}" + templates.CHATML,
}
ANSWERS = {"R1": "<think>\nYes.\n</think>\n\nFine.", "MARKED_IN_PART": "note:Fine."}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_training_sees_the_prompts_that_vllm_serves(model: Path, tmp_path: Path, name: str, adds_bos: bool) -> None:
    tokenizer = byte_tokenizer(TEMPLATES[name], special=templates.SPECIAL)
    if adds_bos:  # as Llama's: a text without a template begins with BOS
        from tokenizers.processors import TemplateProcessing

        number = tokenizer.bos_token_id
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", number)])
        assert tokenizer("Hi")["input_ids"][0] == number
    for messages in ([TURNS[0]], TURNS, [SYSTEM, *TURNS]):
        if name == "GEMMA" and messages[0] is SYSTEM:  # it has no system role
            continue
        served = served_prompt(model, tokenizer, messages)
        answer = {"role": "assistant", "content": ANSWERS.get(name, "Fine.")}
        example = encode_last_answer(tokenizer, Conversation((*messages, answer)))
        assert example.token_ids[: len(served)] == served, tokenizer.decode(served)
        assert not any(example.is_answer[: len(served)])
        if name != "MARKED_IN_PART":
            assert all(example.is_answer[len(served) :])


def served_prompt(model: Path, tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """The tokens of a chat request's prompt, by vLLM's own renderer and with the request's own defaults."""
    from vllm.config import ModelConfig, VllmConfig
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.renderers.hf import HfRenderer

    config = ModelConfig(model=str(model))
    request = ChatCompletionRequest(model="base", messages=messages)
    chat = request.build_chat_params(None, "auto")
    renderer = HfRenderer(VllmConfig(model_config=config), tokenizer)
    _, (prompt,) = renderer.render_chat([messages], chat, request.build_tok_params(config))
    return list(prompt["prompt_token_ids"])
