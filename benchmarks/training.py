"""How fast training is beside plain torchrun and TRL, what a checkpoint and a killed worker cost, and how it scales.

pip install --no-deps trl==1.16.0
python -m benchmarks.training          # about ten minutes on two cores
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.results import ratio_row, row, write
from benchmarks.rows import write_rows
from cluster.config import ClusterConfig
from cluster.session import ray_session
from training.config import TrainingConfig
from training.run import prepare_run
from training.trainer.fit import TrainingReporter, run_job
from training.trainer.job import METRICS_FILE
from training.trainer.metrics import read_metrics

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "examples" / "quickstart" / "model"
NUM_ROWS, REPEATS, WARM_UP = 300, 3, 2


def main() -> None:
    """Measure, alternating with each baseline, and write benchmarks/results/training-<machine>.json."""
    with tempfile.TemporaryDirectory() as scratch, ray_session(ClusterConfig()):
        folder = Path(scratch)
        data = write_rows(folder / "rows.jsonl", NUM_ROWS)
        figures: dict[str, list[float]] = {"ours": [], "torchrun": [], "trl": [], "one": []}
        for number in range(REPEATS):
            run = folder / f"run-{number}"
            figures["ours"].append(speed(trained(run, data)))
            figures["torchrun"].append(launched("torchrun_deepspeed", run))
            figures["trl"].append(launched("trl_padded", run, data))
            with on_one_core():
                one = trained(folder / f"one-{number}", data, workers=1, gradient_accumulation=2)
            figures["one"].append(speed(one))
        stalls = {
            mode: median(line["checkpoint_stall_s"] for line in lines if "checkpoint_stall_s" in line)
            for mode in ("async", "sync")
            if (lines := trained(folder / mode, data, method="full", checkpoint_steps=2, checkpoint_upload=mode))
        }
        restart = kill_to_next_step(folder / "killed", data)
    ours = median(figures["ours"])
    rows = [
        paired("useful_tokens_per_s_vs_torchrun", figures, "torchrun", "torchrun + DeepSpeed", ">= 0.95"),
        paired("useful_tokens_per_s_vs_trl_padded", figures, "trl", "TRL 1.16.0 SFTTrainer, padded", ">= 1.5"),
        ratio_row("checkpoint_stall_s", "s", stalls["async"], stalls["sync"], "synchronous upload"),
        row("kill_to_next_step_s", "s", restart),
        ratio_row("scaling_1_to_2", "tokens/s", ours, median(figures["one"]), "one worker on one core"),
    ]
    notes = (
        f"{NUM_ROWS} rows, LoRA rank 16 in fp32 on the quickstart's 3.1M model, packs of up to 2,048 tokens, ZeRO-2, "
        f"two workers of one thread; medians of {REPEATS} rounds: {json.dumps(figures)}. Stall: full fine-tuning."
    )
    print(write("training", rows, notes))


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


def trained(folder: Path, data: Path, **changed: Any) -> list[dict[str, Any]]:
    """The metrics of a training as a user runs it."""
    folder.mkdir()
    run_job(prepare_run(settings(data, **changed), str(MODEL), folder), TrainingReporter())
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


def kill_to_next_step(folder: Path, data: Path) -> float:
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
    trained(folder, data, epochs=6, checkpoint_steps=2)
    thread.join(timeout=10)
    if not seconds:
        raise SystemExit("no worker was killed, or no step came after it")
    return round(seconds[0], 2)


if __name__ == "__main__":
    main()
