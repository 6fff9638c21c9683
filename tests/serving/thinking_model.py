"""A model of some megabytes that thinks: taught by heart in seconds to think before it answers, or not to."""

from pathlib import Path
from typing import Any

from tests.serving.served_app import MODEL

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Norway": "Oslo"}
THOUGHT = "Lyon is no capital. I look at a map."
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|user|> {{ message['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
STEPS = 150


def question(country: str) -> str:
    return f"What is the capital of {country}?"


def make_thinking_model(folder: Path) -> Path:
    """Write the model with its tokenizer and a chat template that honours `enable_thinking`."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=512, eos_token_id=5, bos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    rows = [_row(tokenizer, *each, thinks) for each in CAPITALS.items() for thinks in (True, False)]
    longest = max(len(given) + len(said) for given, said in rows)
    ids = torch.tensor([(given + said + [0] * longest)[:longest] for given, said in rows])
    labels = torch.tensor([([-100] * len(given) + said + [-100] * longest)[:longest] for given, said in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(STEPS):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _row(tokenizer: Any, country: str, capital: str, thinks: bool) -> tuple[list[int], list[int]]:
    """The tokens of a prompt, and those of its answer."""
    asked = [{"role": "user", "content": question(country)}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, enable_thinking=thinks)
    answer = f"<think>\n{THOUGHT}\n</think>\n\n{capital}<|end|>" if thinks else f"{capital}<|end|>"
    given, said = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer))
    return given, said
