"""One of two gloo ranks that train each method for a few steps, whole with ZeRO-2 and loaded in shares with ZeRO-3.

python -m tests.training.two_ranks RANK MODEL_FOLDER OUTPUT_FOLDER
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed

import training.model.loss
from tests.training.data.test_packing import random_rows
from tests.training.model.test_kto import ratings
from tests.training.model.test_objective import preferences
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.data.packing import Pack
from training.model.model import load_model
from training.model.objective import make_objective
from training.plan.placement import ON_CPU, worker_environment
from training.plan.schedule import LearningRateSchedule
from training.trainer.collectives import reference_point
from training.trainer.deepspeed_engine import open_engine, sharded_loading, trained_weights

CASES: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "lora": {"gradient_checkpointing": True},
    "dora": {"method": "dora"},
    "modules to save": {"modules_to_save": ["lm_head"]},
    "adapter on the head": {"target_modules": ["q_proj", "lm_head"], "dropout": 0.3, "parity_tolerance": None},
    "dpo": {"objective": "dpo", "gradient_checkpointing": True},
    "kto": {"objective": "kto", "gradient_checkpointing": True},
    "bf16": {"precision": "bf16"},
}


def run(rank: int, model: str, output: Path) -> None:
    os.environ.update(worker_environment(ON_CPU))
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    # So that the two ranks' losses are computed in other numbers of chunks.
    training.model.loss.LOGIT_CHUNK_TOKENS = 8
    torch.distributed.init_process_group("gloo", f"file://{output}/store", rank=rank, world_size=2)
    results = {f"{case}, ZeRO-{stage}": train(model, case, stage, rank) for case in CASES for stage in (2, 3)}
    (output / f"{rank}.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()


def train(model: str, case: str, stage: int, rank: int) -> dict[str, Any]:
    """The loss of each step, the sum of squares of the trained weights, and how many weights a rank held at first."""
    config = TrainingConfig(**{"precision": "fp32", "rank": 4, **CASES[case]})
    deepspeed = deepspeed_settings(stage, config.precision)
    with sharded_loading(deepspeed):
        loaded = load_model(model, config, torch.device("cpu"))
    held = sum(p.ds_tensor.numel() if hasattr(p, "ds_tensor") else p.numel() for p in loaded.parameters())
    engine, rows = open_engine(loaded, deepspeed, LearningRateSchedule("constant", 4, 0)), rows_of(config.objective)
    objective = make_objective(config, rows)
    weights, losses = objective.row_weights(rows), []
    for step in range(4):
        engine.train()
        mine = 2 * step + rank
        weight = weights[2 * step] + weights[2 * step + 1]
        packs: list[Pack] = [(2 * step,), (2 * step + 1,)]
        point = reference_point(objective, engine, rows, packs, str(step), torch.device("cpu"))
        loss = objective.loss_sum(engine, make_micro_batch(rows, (mine,)), point)
        engine.backward(loss * (2 / weight))
        engine.step()
        total = loss.detach().clone()
        torch.distributed.all_reduce(total)
        losses.append(float(total) / weight)
    squares = sum(float(weight.double().square().sum()) for weight in trained_weights(engine).values())
    engine.destroy()
    return {"losses": losses, "squares": squares, "held": held}


def rows_of(objective: str) -> Examples:
    """Eight rows of other lengths."""
    if objective == "dpo":
        return preferences(8)
    return ratings(8) if objective == "kto" else Examples.from_sequences(random_rows([20, 30, 40, 50, 60, 70, 30, 40]))


def deepspeed_settings(stage: int, precision: str) -> dict[str, Any]:
    """Without what lets ZeRO-3 keep weights whole: this small, it would never share one out."""
    keep_nothing = {"param_persistence_threshold", "max_reuse_distance", "max_live_parameters", "prefetch_bucket_size"}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {"stage": stage, **{f"stage3_{name}": 0 for name in keep_nothing}},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-2, "torch_adam": True}},
        "gradient_clipping": 1.0,
    }


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
