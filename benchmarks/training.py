"""How fast training is beside plain torchrun and TRL, what a checkpoint and a killed worker cost, and how it scales.

pip install --no-deps trl==1.16.0
python -m benchmarks.training                     # all parts one after another: about 20 minutes on two quiet cores
python -m benchmarks.training --parts stall kill  # some parts; printed, not written
python -m benchmarks.training --tiny              # a trial of the benchmark itself; printed, not written
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.results import ratio_row, row, write
from benchmarks.rows import write_rows
from cluster.config import ClusterConfig
from cluster.session import ray_session
from training.config import TrainingConfig
from training.run import prepare_run
from training.trainer.fit import CHECKPOINTS_FOLDER, TrainingReporter, run_job
from training.trainer.job import METRICS_FILE
from training.trainer.metrics import read_metrics

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "examples" / "quickstart" / "model"
WARM_UP = 2
PARTS = ("speed", "stall", "kill")
STATE_BYTES = 500_000_000
"""A checkpoint of less says little about its cost."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    num_rows: int = 300
    repeats: int = 3
    layers: int = 12
    """Of the model whose checkpoints are measured."""

    stall_rows: int = 60
    kill_epochs: int = 6


TINY = Size(num_rows=60, repeats=1, layers=1, stall_rows=24)


def main() -> None:
    """Measure, alternating with each baseline, and write benchmarks/results/training-<machine>.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    size = TINY if asked.tiny else Size()
    measures: dict[str, Callable[[Path, Size], tuple[Rows, str]]] = {
        "speed": measure_speed, "stall": measure_stall, "kill": measure_kill,
    }  # fmt: skip
    rows, notes = Rows(), list[str]()
    with tempfile.TemporaryDirectory() as scratch, ray_session(ClusterConfig()):
        for part in asked.parts:
            folder = Path(scratch) / part
            folder.mkdir()
            found, note = measures[part](folder, size)
            rows, notes = [*rows, *found], [*notes, note]
            print(json.dumps(found, indent=2), note, flush=True)
    if size == Size() and set(asked.parts) == set(PARTS):
        print(write("training", rows, " ".join(notes)))


def measure_speed(folder: Path, size: Size) -> tuple[Rows, str]:
    """Useful tokens per second beside each baseline's, measured in turn."""
    data = write_rows(folder / "rows.jsonl", size.num_rows)
    figures: dict[str, list[float]] = {"ours": [], "torchrun": [], "trl": [], "trl_packed": [], "one": []}
    for number in range(size.repeats):
        run = folder / f"run-{number}"
        figures["ours"].append(speed(trained(run, data)))
        figures["torchrun"].append(launched("torchrun_deepspeed", run))
        figures["trl"].append(launched("trl_padded", run, data))
        figures["trl_packed"].append(launched("trl_packed", run, data))
        with on_one_core():
            one = trained(folder / f"one-{number}", data, workers=1, gradient_accumulation=2)
        figures["one"].append(speed(one))
    ours = median(figures["ours"])
    rows = [
        paired("useful_tokens_per_s_vs_torchrun", figures, "torchrun", "torchrun + DeepSpeed", ">= 0.97"),
        paired("useful_tokens_per_s_vs_trl_padded", figures, "trl", "TRL 1.16.0 SFTTrainer, padded", ">= 2"),
        paired("useful_tokens_per_s_vs_trl_packed", figures, "trl_packed", "TRL 1.16.0 SFTTrainer, packed", ">= 1.0"),
        ratio_row("scaling_1_to_2", "tokens/s", ours, median(figures["one"]), "one worker on one core"),
    ]
    return rows, (
        f"Speed: {size.num_rows} rows, LoRA rank 16 in fp32 on the quickstart's 3.1M model, packs of up to 2,048 "
        f"tokens, ZeRO-2, two workers of one thread; medians of {size.repeats} rounds: {json.dumps(figures)}."
    )


def measure_stall(folder: Path, size: Size) -> tuple[Rows, str]:
    """Seconds that the training waits for a checkpoint, beside those of one that is copied while it waits."""
    model, data = write_model(folder / "model", size.layers), write_rows(folder / "rows.jsonl", size.stall_rows)
    stalls, num_bytes = dict[str, float](), 0
    for mode in ("sync", "async"):
        changed = {"method": "full", "checkpoint_steps": 1, "checkpoint_upload": mode, "learning_rate": 1e-5}
        lines = trained(folder / mode, data, model, **changed)
        # The last one is waited for in both ways.
        stalls[mode] = median([line["checkpoint_stall_s"] for line in lines if "checkpoint_stall_s" in line][:-1])
        checkpoint = max((folder / mode / CHECKPOINTS_FOLDER).glob("step-*"), key=lambda each: each.stat().st_mtime)
        num_bytes = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    if size == Size() and num_bytes < STATE_BYTES:
        raise SystemExit(f"a checkpoint has {num_bytes:,} bytes, and {STATE_BYTES:,} are wanted")
    found = ratio_row("checkpoint_stall_s", "s", stalls["async"], stalls["sync"], "synchronous upload", "<= 0.05")
    return [found], f"Stall: full fine-tuning of a random model, {num_bytes / 1e6:,.0f} MB a checkpoint, one each step."


def measure_kill(folder: Path, size: Size) -> tuple[Rows, str]:
    """Seconds that a killed worker costs."""
    data = write_rows(folder / "rows.jsonl", size.num_rows)
    seconds = kill_to_next_step(folder / "killed", data, size.kill_epochs)
    return [row("kill_to_next_step_s", "s", seconds, "<= 10")], "Kill: kill -9 of one of two workers."


def write_model(folder: Path, layers: int) -> Path:
    """A random Llama of 3.4 million weights a layer, with the quickstart's tokenizer."""
    config = LlamaConfig.from_pretrained(MODEL, hidden_size=512, intermediate_size=1536, num_hidden_layers=layers,
                                         num_attention_heads=8, num_key_value_heads=8, dtype="float32")  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return folder


@contextmanager
def on_one_core() -> Iterator[None]:
    """All of Ray's processes, and those they start, share one core."""
    cores = psutil.Process().cpu_affinity()
    processes = psutil.Process().children(recursive=True)
    for process in processes:
        process.cpu_affinity(cores[:1])
    try:
        yield
    finally:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.cpu_affinity(cores)


def settings(data: Path, **changed: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({
        "data": data, "rank": 16, "alpha": 32, "epochs": 2, "held_out": 0, "precision": "fp32", "sequence_length": 512,
        "micro_batch_size": 4, "workers": 2, "zero_stage": 2, "offload": "none", "checkpoint_steps": 10_000, **changed,
    })  # fmt: skip


def trained(folder: Path, data: Path, model: Path = MODEL, **changed: Any) -> list[dict[str, Any]]:
    """The metrics of a training as a user runs it."""
    folder.mkdir()
    run_job(prepare_run(settings(data, **changed), str(model), folder), TrainingReporter())
    return read_metrics(folder / METRICS_FILE)


def speed(lines: list[dict[str, Any]]) -> float:
    """Useful tokens per second from the end of the warm-up to the last step, what is done between steps included."""
    steps = [line for line in lines if "tokens_per_s" in line]
    counted = steps[WARM_UP:]
    return sum(line["tokens"] for line in counted) / (steps[-1]["time"] - steps[WARM_UP - 1]["time"])


def launched(baseline: str, *arguments: Path) -> float:
    """Tokens per second of a baseline in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*command, f"benchmarks.baselines.{baseline}", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{baseline} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["tokens_per_s"])


def paired(metric: str, figures: dict[str, list[float]], baseline: str, name: str, target: str) -> dict[str, Any]:
    """Medians of both, and the median of the ratios pair by pair."""
    ratios = [mine / other for mine, other in zip(figures["ours"], figures[baseline], strict=True)]
    found = ratio_row(metric, "tokens/s", median(figures["ours"]), median(figures[baseline]), name, target)
    return {**found, "ratio": round(median(ratios), 3)}


def kill_to_next_step(folder: Path, data: Path, epochs: int) -> float:
    """Seconds from kill -9 of a worker to the end of the first step that had not been done before."""
    metrics, seconds = folder / METRICS_FILE, list[float]()

    def kill() -> None:
        while not metrics.exists() or metrics.read_text().count('"loss"') < 8:
            time.sleep(0.01)
        workers = [
            each for each in psutil.Process().children(recursive=True) if "RayTrainWorker" in "".join(each.cmdline())
        ]
        newest = max(workers, key=lambda each: each.create_time())
        newest.kill()
        killed, done = time.time(), read_metrics(metrics)[-1]["step"]
        while not (later := [line for line in read_metrics(metrics) if line["step"] > done and "time" in line]):
            time.sleep(0.01)
        seconds.append(later[0]["time"] - killed)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    trained(folder, data, epochs=epochs, checkpoint_steps=2)
    thread.join(timeout=10)
    if not seconds:
        raise SystemExit("no worker was killed, or no step came after it")
    return round(seconds[0], 2)


if __name__ == "__main__":
    main()
