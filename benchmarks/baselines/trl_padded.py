"""The same rows, model and adapter in TRL's SFTTrainer as it is by default: each batch padded to its longest row.

pip install --no-deps trl==1.16.0
python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.baselines.trl_padded RUN_FOLDER ROWS.jsonl
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from training.data.examples import Examples
from training.model.model import set_worker_threads
from training.trainer.job import JOB_FILE, TRAINING_ROWS_FILE, TrainingJob

WARM_UP = 2
PER_DEVICE = 4


class Clock(TrainerCallback):
    """The time from the end of the warm-up to the end."""

    started = seconds = 0.0
    num_steps = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == WARM_UP:
            self.started = time.perf_counter()
        self.seconds, self.num_steps = time.perf_counter() - self.started, state.global_step


def main(folder: Path, data: Path, packing: bool = False) -> None:
    """Train, and print the useful tokens per second.

    Args:
        packing: lay rows end to end as TRL does it (`packing_strategy="bfd"`), in as many tokens as ours.
    """
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    job = TrainingJob.from_dict(json.loads((folder / JOB_FILE).read_text())["job"])
    config, rows = job.config, Examples.load(folder / TRAINING_ROWS_FILE)
    num_workers = 2
    set_worker_threads(num_workers)
    lines = map(json.loads, data.read_text().splitlines())
    chats = [
        {
            "prompt": [{"role": "user", "content": line["prompt"]}],
            "completion": [{"role": "assistant", "content": line["completion"]}],
        }
        for line in lines
    ]
    # About as many rows in a step as ours take on average, in batches of the usual size.
    sequences = sum(rows.row_lengths) / config.sequence_length if packing else len(rows)
    per_worker = sequences * config.epochs / job.num_steps / num_workers
    accumulation = max(1, round(per_worker / PER_DEVICE))
    clock = Clock()
    trainer = SFTTrainer(
        model=job.model,
        args=SFTConfig(
            output_dir=str(folder / "trl"), per_device_train_batch_size=PER_DEVICE, num_train_epochs=config.epochs,
            gradient_accumulation_steps=accumulation,
            learning_rate=config.learning_rate, max_length=config.sequence_length, completion_only_loss=True,
            bf16=config.precision == "bf16", use_cpu=True, gradient_checkpointing=False, save_strategy="no",
            logging_strategy="no", packing=packing, report_to=[], model_init_kwargs={"dtype": torch.float32},
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(chats),
        peft_config=LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules="all-linear"),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    if trainer.is_world_process_zero():
        share = (clock.num_steps - WARM_UP) / clock.num_steps
        tokens = sum(rows.row_lengths) * config.epochs * share
        figures = {"tokens_per_s": tokens / clock.seconds, "accumulation": accumulation, "steps": clock.num_steps}
        print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
