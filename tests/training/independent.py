"""A training in plain PyTorch that shares no code with ours: one row at a time, eager attention, its own schedule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from training.config import TrainingConfig

Message = dict[str, str]


@dataclass(frozen=True)
class StepFigures:
    """What a step has: its mean loss (nats per answer token), the gradient's norm before clipping, and the rate."""

    loss: float
    grad_norm: float
    learning_rate: float


def encode(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Token ids, and which of them are learnt, of the template of tests/training/conftest.py."""
    token_ids, is_learnt = [tokenizer.convert_tokens_to_ids("<s>")], [False]
    for message in messages:
        head, body = (
            tokenizer.encode(text, add_special_tokens=False)
            for text in (f"<|{message['role']}|>", f"{message['content']}<|end|>")
        )
        token_ids += head + body
        is_learnt += [False] * len(head) + [message["role"] == "assistant"] * len(body)
    return token_ids, is_learnt


def train(
    model_folder: str, rows: Sequence[Sequence[Message]], plan: Sequence[Sequence[int]], config: TrainingConfig
) -> list[StepFigures]:
    """Train on the rows of each step; the figures of all steps.

    Everything is computed in fp32. With `precision: bf16` the model has the weights rounded to bf16, and the optimizer
    those in fp32.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    if config.method == "lora":
        model = add_adapter(model, config)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    masters = [parameter.detach().clone().requires_grad_() for parameter in trained]
    optimizer = torch.optim.AdamW(masters, lr=config.learning_rate, weight_decay=config.weight_decay)
    encoded, figures = [encode(tokenizer, row) for row in rows], []
    for step, batch in enumerate(plan):
        rate = learning_rate(step, len(plan), config)
        optimizer.param_groups[0]["lr"] = rate
        model.zero_grad()
        num_learnt = sum(sum(encoded[row][1]) for row in batch)
        loss = sum(backward(model, *encoded[row], num_learnt) for row in batch)
        norm = float(torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm))
        for master, parameter in zip(masters, trained, strict=True):
            master.grad = parameter.grad
        optimizer.step()
        with torch.no_grad():
            for master, parameter in zip(masters, trained, strict=True):
                parameter.copy_(master.bfloat16() if config.precision == "bf16" else master)
        figures.append(StepFigures(loss, norm, rate))
    return figures


def backward(model: Any, token_ids: list[int], is_learnt: list[bool], num_learnt: int) -> float:
    """A row's part of the mean loss over the learnt tokens of a global batch; its gradient is added up."""
    logits = model(input_ids=torch.tensor([token_ids])).logits[0, :-1].float()
    logprobs = torch.log_softmax(logits, -1).gather(1, torch.tensor(token_ids[1:])[:, None])[:, 0]
    loss = -(logprobs * torch.tensor(is_learnt[1:], dtype=torch.float32)).sum() / num_learnt
    loss.backward()
    return float(loss)


def learning_rate(step: int, num_steps: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a cosine to zero."""
    num_warmup = math.ceil(config.warmup_ratio * num_steps)
    if step < num_warmup:
        return config.learning_rate * (step + 1) / num_warmup
    return config.learning_rate * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup))) / 2


def add_adapter(model: Any, config: TrainingConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    set_seed(config.seed)
    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, settings, autocast_adapter_dtype=False)
