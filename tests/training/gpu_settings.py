"""One of several gloo ranks that train with the DeepSpeed settings of GPUs, on a CPU, beside those of CPUs.

python -m tests.training.gpu_settings RANK NUM_WORKERS MODEL_FOLDER OUTPUT_FOLDER
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from tests.training.data.test_packing import random_rows
from training.config import TrainingConfig
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.model import load_model
from training.model.objective import make_objective
from training.plan.deepspeed_config import deepspeed_config
from training.plan.placement import ON_CPU, Placement
from training.plan.schedule import LearningRateSchedule
from training.trainer.deepspeed_engine import load_state, open_engine, save_state, sharded_loading, trained_weights

# Without what lets ZeRO-3 keep weights of this size whole: it would never share one out.
_SHARED = {
    "zero_optimization": {
        "stage3_prefetch_bucket_size": 0, "stage3_max_live_parameters": 0, "stage3_param_persistence_threshold": 0,
    },
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "ZeRO-1": {"zero_stage": 1},
    "ZeRO-2": {"zero_stage": 2},
    "ZeRO-3": {"zero_stage": 3},
    "ZeRO-3 in shares": {"zero_stage": 3, "deepspeed": _SHARED},
    "ZeRO-3 full": {"zero_stage": 3, "method": "full", "deepspeed": _SHARED},
    "ZeRO-2 bf16, gradients in fp32": {"zero_stage": 2, "precision": "bf16", "gradient_precision": "fp32"},
    "ZeRO-3 bf16, gradients in fp32": {
        "zero_stage": 3, "precision": "bf16", "gradient_precision": "fp32", "deepspeed": _SHARED,
    },
    "ZeRO-2 offloaded": {"zero_stage": 2, "offload": "cpu"},
    "ZeRO-3 offloaded": {"zero_stage": 3, "offload": "cpu", "deepspeed": _SHARED},
}  # fmt: skip
PLACEMENTS = {"cpu": ON_CPU, "gpu": Placement("gpu", 1, 2, 1), "gpu nodes": Placement("gpu", 1, 2, 2)}
STEPS, PASSES = 3, 2


def run(rank: int, num_workers: int, model: str, output: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(num_workers), DS_ACCELERATOR="cpu")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{output}/store", rank=rank, world_size=num_workers)
    results = {}
    for case in CASES:
        for place in ("cpu", "gpu") if num_workers == 2 else ("gpu", "gpu nodes"):
            if num_workers == 2 or case in ("ZeRO-3 in shares", "ZeRO-3 full"):
                results[f"{case}, {place}"] = train(model, case, place, rank, num_workers, output)
    (output / f"{rank}.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()


def train(model: str, case: str, place: str, rank: int, num_workers: int, output: Path) -> dict[str, Any]:
    """Losses, the sum of squares of the trained weights, and the class of the optimizer with its settings.

    The state is saved and taken up again before the last step.
    """
    config = TrainingConfig(
        **{"precision": "fp32", "rank": 4, "workers": num_workers, "gradient_accumulation": PASSES,
           "micro_batch_size": 1, "learning_rate": 1e-2, **CASES[case]}
    )  # fmt: skip
    settings = deepspeed_config(config, num_workers, placement=PLACEMENTS[place], num_trained=10_000)
    with sharded_loading(settings):
        loaded = load_model(model, config, torch.device("cpu"))
    engine, objective = (
        open_engine(loaded, settings, LearningRateSchedule("constant", STEPS, 0)),
        make_objective(config),
    )
    rows = Examples.from_sequences(random_rows([20, 30, 40, 50, 60, 70, 30, 40] * 3))
    weights, losses = objective.row_weights(rows), []
    for step in range(STEPS):
        if step == STEPS - 1:
            save_state(engine, output / f"{case}-{place}", {"step": step}, budget_bytes=0)
            torch.distributed.barrier()
            load_state(engine, output / f"{case}-{place}")
        engine.train()
        first = step * PASSES * num_workers
        numbers = [number % len(rows) for number in range(first, first + PASSES * num_workers)]
        weight, total = sum(weights[number] for number in numbers), torch.zeros(())
        for number in numbers[rank::num_workers]:
            loss = objective.loss_sum(engine, make_micro_batch(rows, (number,)))
            engine.backward(loss * (PASSES * num_workers / weight))
            engine.step()
            total += loss.detach()
        torch.distributed.all_reduce(total)
        losses.append(float(total) / weight)
    found = {
        "losses": losses,
        "squares": sum(float(each.double().square().sum()) for each in trained_weights(engine).values()),
        "wrapper": type(engine.optimizer).__name__,
        "optimizer": type(engine.basic_optimizer).__name__,
        "fused": engine.basic_optimizer.param_groups[0].get("fused"),
        "overlap_comm": engine.zero_overlap_comm(),
        "bucket": engine.zero_reduce_bucket_size(),
        "persistent": engine.zero_param_persistence_threshold(),
        "group": engine.zero_hpz_partition_size(),
        "accumulation": str(engine.get_data_types()[1]),
        "communication": str(engine.communication_data_type),
        "grad_norm": float(engine.get_global_grad_norm()),
    }
    engine.destroy()
    # DeepSpeed makes the groups of a node once in a process.
    from deepspeed.utils import groups

    groups._ZERO_PARAM_INTRA_PARALLEL_GROUP = None
    return found


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
