"""What the loop is measured beside, on the same rows and the same device."""

import random
import time
from typing import TYPE_CHECKING

import torch

from benchmarks.gpu.core_loop import WARM_UP, free_memory
from training.config import TrainingConfig
from training.data.batches import OptimizerSteps
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.model import load_model
from training.model.objective import make_objective
from training.plan.deepspeed_config import deepspeed_config
from training.plan.schedule import LearningRateSchedule
from training.trainer import deepspeed_engine
from training.trainer.job import TRAINING_ROWS_FILE, TrainingJob

if TYPE_CHECKING:
    from benchmarks.gpu.bench import Bench

ROWS_PER_BATCH = 4


def engine_alone(job: TrainingJob, device: torch.device) -> float:
    """Useful tokens per second of the same engine and packs with nothing recorded and nothing saved."""
    config, rows = job.config, Examples.load(job.folder / TRAINING_ROWS_FILE)
    steps, objective = OptimizerSteps(rows, config), make_objective(config)
    weights = objective.row_weights(rows)
    model = load_model(job.model, config, device)
    engine = deepspeed_engine.open_engine(
        model, deepspeed_config(config, 1), LearningRateSchedule.from_config(config, job.num_steps)
    )
    engine.train()
    tokens, began = 0, 0.0
    for number in range(len(steps)):
        if number == WARM_UP:
            tokens, began = 0, _now(device)
        (pack,) = steps[number]
        loss = objective.loss_sum(engine, make_micro_batch(rows, pack).to(device))
        engine.backward(loss * (1 / sum(weights[row] for row in pack)))
        engine.step()
        tokens += sum(rows.row_lengths[row] for row in pack)
    tokens_per_s = tokens / (_now(device) - began)
    engine.destroy()
    del engine, model, loss
    free_memory(device)
    return tokens_per_s


def padded_trainer(folder: object, config: TrainingConfig, rows: Examples, bench: "Bench") -> float:
    """Useful tokens per second of a trainer that pads each batch to its longest row and makes all logits.

    Nothing of ours is in it but the rows: transformers' own attention and loss, PEFT's own adapter in fp32, AdamW.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=bench.dtype, attn_implementation="sdpa")
    adapter = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(base, adapter).to(bench.device).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate, fused=bench.is_cuda)
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    batches = [order[start : start + ROWS_PER_BATCH] for start in range(0, len(order), ROWS_PER_BATCH)]
    # As many batches before the weights change as come to the tokens of one of our packs.
    per_step = config.micro_batch_size * config.sequence_length * len(rows) / sum(rows.row_lengths)
    accumulation = max(1, round(per_step / ROWS_PER_BATCH))
    tokens, began = 0, 0.0
    for number, batch in enumerate(batches):
        if number == WARM_UP * accumulation:
            tokens, began = 0, _now(bench.device)
        ids, mask, labels = (each.to(bench.device) for each in _pad(rows, batch))
        with torch.autocast(bench.device.type, dtype=bench.dtype, enabled=bench.is_cuda):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        (loss / accumulation).backward()
        if (number + 1) % accumulation == 0:
            torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += sum(rows.row_lengths[row] for row in batch)
    tokens_per_s = tokens / (_now(bench.device) - began)
    del model, base, optimizer, trained, loss
    free_memory(bench.device)
    return tokens_per_s


def _pad(rows: Examples, batch: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, mask and labels, each [num_rows, length]."""
    length = max(rows.row_lengths[row] for row in batch)
    ids, labels = torch.zeros(len(batch), length).long(), torch.full((len(batch), length), -100)
    mask = torch.zeros(len(batch), length).long()
    for place, row in enumerate(batch):
        tokens, is_answer = (torch.from_numpy(each) for each in rows.sequence(row))
        ids[place, : len(tokens)], mask[place, : len(tokens)] = tokens.long(), 1
        labels[place, : len(tokens)] = torch.where(is_answer, tokens.long(), -100)
    return ids, mask, labels


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
