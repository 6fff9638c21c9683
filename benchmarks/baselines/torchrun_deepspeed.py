"""The same training step in plain torchrun and DeepSpeed: no Ray, nothing recorded, no checkpoints.

python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.baselines.torchrun_deepspeed RUN_FOLDER
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed

from training.data.batches import OptimizerSteps
from training.data.examples import Examples
from training.data.micro_batch import make_micro_batch
from training.model.model import load_model, set_worker_threads
from training.model.objective import make_objective
from training.plan.deepspeed_config import deepspeed_config, num_forward_passes
from training.plan.schedule import LearningRateSchedule
from training.trainer.deepspeed_engine import open_engine
from training.trainer.job import JOB_FILE, TRAINING_ROWS_FILE, TrainingJob

WARM_UP = 2


def main(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    set_worker_threads(size)
    job = TrainingJob.from_dict(json.loads((folder / JOB_FILE).read_text())["job"])
    rows = Examples.load(folder / TRAINING_ROWS_FILE)
    steps, objective = OptimizerSteps(rows, job.config), make_objective(job.config)
    weights, passes = objective.row_weights(rows), num_forward_passes(job.config, size)
    model = load_model(job.model, job.config, torch.device("cpu"))
    engine = open_engine(
        model, deepspeed_config(job.config, size), LearningRateSchedule.from_config(job.config, job.num_steps)
    )
    engine.train()
    tokens, started = 0, time.perf_counter()
    for number in range(len(steps)):
        if number == WARM_UP:
            tokens, started = 0, time.perf_counter()
        packs = steps[number]
        weight = sum(weights[row] for pack in packs for row in pack)
        for pack in packs[rank::size]:
            loss = objective.loss_sum(engine, make_micro_batch(rows, pack))
            engine.backward(loss * (passes * size / weight))
            engine.step()
        tokens += sum(rows.row_lengths[row] for pack in packs for row in pack)
    torch.distributed.barrier()
    if rank == 0:
        print(json.dumps({"tokens_per_s": tokens / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
