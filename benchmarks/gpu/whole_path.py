"""The steps of `benchmarks.gpu_run` that train and compare, through the `tandem` command."""

import json
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.gpu.models import LLAMA_1B, LLAMA_8B, LlamaShape, write_model
from benchmarks.gpu.site import ADAPTER, ROOT, GpuMemory, Site, free_port
from benchmarks.gpu.steps import Figure, Note, Reports, StepFailed
from benchmarks.rows import write_rows
from cluster.registry.registry import Registry
from training.trainer.job import JOB_FILE, METRICS_FILE, SUMMARY_FILE
from training.trainer.metrics import read_metrics

TINY_SERVED = LlamaShape(128, 256, 2, 4, 2, tied=True, vocabulary=512, max_length=4096)
"""vLLM takes heads of 32 numbers and more on a CPU."""

WARM_UP = 2
QUICKSTART = ROOT / "examples" / "quickstart"


def doctor(site: Site) -> Reports:
    """B0: `tandem doctor` finds nothing that would keep this machine from training and serving."""
    found = site.tandem("doctor", accepted=(0, 3))
    yield Figure("checks that are ok", "checks", float(found["ok"]))
    yield Figure("warnings", "checks", float(found["warnings"]))
    for finding in found["findings"]:
        if finding["check"] == "gpu" or finding["status"] != "ok":
            yield Note(f"{finding['check']} {finding['status']}: {finding['seen']}")
    wrong = [finding["seen"] for finding in found["findings"] if finding["status"] == "failed"]
    if wrong:
        raise StepFailed("; ".join(wrong))


def train(site: Site) -> Reports:
    """B1: `tandem train`, which publishes and asks vLLM for the log-probabilities of the trainer."""
    model = small_model(site)
    project = training_project(site, "train", model)
    memory, began = GpuMemory(), time.monotonic()
    process = site.start("train", "-c", str(project), log=project.parent / "train.log")
    while process.poll() is None:
        # What vLLM takes for the parity check afterwards is not the training's.
        memory.is_on = not list((site.storage / "train").glob(f"train-*/{SUMMARY_FILE}"))
        time.sleep(0.2)
    taken = memory.close()
    log = (project.parent / "train.log").read_text(errors="replace")
    if process.returncode:
        raise StepFailed(f"tandem train ended with {process.returncode}: {log[-1500:]}")
    yield Figure("trained, published and checked in", "s", time.monotonic() - began)
    lines = read_metrics(site.runs("train", "train")[-1] / METRICS_FILE)
    losses = [line["loss"] for line in lines if "loss" in line]
    yield Figure("useful tokens/s of a step", "tokens/s", median(_speeds(lines)))
    yield Figure("loss of the last step over the first", "1", losses[-1] / losses[0], "<= 1.0")
    placement = json.loads((site.runs("train", "train")[-1] / JOB_FILE).read_text())["job"]["placement"]
    if placement["kind"] != ("cpu" if site.on_cpu else "gpu"):
        raise StepFailed(f"the workers were placed on a {placement['kind']}")
    if not site.on_cpu:
        yield Figure("memory on the GPU while it trained", "GiB", taken / 2**30)
        if taken < _weights_bytes(model):
            raise StepFailed("the GPU held less than the model's weights while it trained: it was trained elsewhere")
    version = Registry(site.storage / "adapters").resolve(ADAPTER)
    check = Registry(site.storage / "adapters").check_of(ADAPTER, version.version)
    if check is None:
        raise StepFailed("the version was not checked")
    yield Figure("parity, mean", "nats per token", check.mean_difference)
    yield Figure("parity, max", "nats per token", check.max_difference)
    yield Note(f"the version goes live up to {check.tolerance:g} nats")
    for name, value in check.model_dump().items():
        if "base" in name and isinstance(value, float):
            yield Figure(f"parity, {name}", "nats per token", value)


def killed_worker(site: Site) -> Reports:
    """B4: kill -9 of a worker: seconds to the next step that is new, and the same losses in steps done twice."""
    import psutil

    project = training_project(
        site, "killed", small_model(site), epochs=4, checkpoint_steps=2, parity_tolerance=None, adapter="killed"
    )
    process = site.start("train", "-c", str(project), log=project.parent / "train.log")
    while not (metrics := list((site.storage / "killed").glob(f"train-*/{METRICS_FILE}"))) or _last(metrics[0]) < 5:
        if process.poll() is not None:
            raise StepFailed((project.parent / "train.log").read_text(errors="replace")[-1500:])
        time.sleep(0.02)
    # Ray's own processes are children of the command; the worker names itself.
    workers = [each for each in psutil.Process(process.pid).children(recursive=True) if _is_worker(each)]
    if not workers:
        process.kill()
        raise StepFailed("no worker of the training was found")
    max(workers, key=lambda each: each.create_time()).kill()
    killed, before = time.time(), _last(metrics[0])
    if process.wait():
        raise StepFailed((project.parent / "train.log").read_text(errors="replace")[-1500:])
    later = [line["time"] for line in read_metrics(metrics[0]) if line["step"] > before and "time" in line]
    yield Figure("kill to the next new step", "s", min(later) - killed)
    twice = _losses_of_repeated_steps(metrics[0])
    yield Figure("steps done twice", "steps", float(len(twice)), ">= 1")
    yield Figure(
        "largest difference of their losses", "1", max((abs(a / b - 1) for a, b in twice), default=0.0), "<= 0.01"
    )


def large(site: Site) -> Reports:
    """B5: LoRA of the 8B model through Ray: the time between steps, and what a checkpoint holds the training up."""
    shape = TINY_SERVED if site.is_tiny else LLAMA_8B
    model = site.scratch / "large-model"
    yield Figure("8B: made and written in", "s", write_model(model, shape.architecture(), _device(site)))
    more = {} if site.is_tiny else {"gradient_checkpointing": True, "sequence_length": 4096, "micro_batch_size": 4}
    project = training_project(
        site, "large", model, num_rows=96 if site.is_tiny else 640, parity_tolerance=None, checkpoint_steps=8,
        adapter="large", rank=16, **more,
    )  # fmt: skip
    began = time.monotonic()
    site.tandem("train", "-c", str(project))
    yield Figure("8B LoRA: trained and published in", "s", time.monotonic() - began)
    lines = read_metrics(site.runs("large", "train")[-1] / METRICS_FILE)
    steps = [line for line in lines if "tokens_per_s" in line]
    counted = steps[WARM_UP:]
    whole = sum(line["tokens"] for line in counted) / (steps[-1]["time"] - steps[WARM_UP - 1]["time"])
    inside = sum(line["tokens"] for line in counted) / sum(line["tokens"] / line["tokens_per_s"] for line in counted)
    yield Figure("8B LoRA: useful tokens/s", "tokens/s", whole, None, inside, "inside the steps alone")
    shares = [line["mfu"] for line in counted if "mfu" in line]
    if shares:
        yield Figure("8B LoRA: MFU", "1", median(shares), None if site.is_tiny else ">= 0.40")
    stalls = [line["checkpoint_stall_s"] for line in lines if "checkpoint_stall_s" in line]
    yield Figure("8B LoRA: a checkpoint holds it up", "s", median(stalls))
    alone = _tokens_alone()
    if alone and not site.is_tiny:
        name = "the same without Ray (benchmarks.gpu_core on this machine)"
        yield Figure("8B LoRA over Ray", "tokens/s", whole, ">= 0.95", alone, name)


def compare(site: Site) -> Reports:
    """B6: `tandem compare` on the quickstart, every arm trained for, served and asked."""
    folder = site.scratch / "quickstart"
    for name in ("docs", "data", "model"):
        shutil.copytree(QUICKSTART / name, folder / name, dirs_exist_ok=True)
    questions = folder / "data" / "questions.jsonl"
    if site.is_tiny:
        lines = questions.read_text().splitlines()
        questions.write_text("\n".join(lines[:: max(1, len(lines) // 12)]) + "\n")
    training = {"data": "data/train.jsonl", "epochs": 1 if site.is_tiny else 12, "learning_rate": 4.0e-3,
                "sequence_length": 512, "workers": 1}  # fmt: skip
    project = site.write_project(
        "quickstart", folder / "model", training=training, serving={"port": free_port()},
        retrieval={"sources": ["docs"], "top_k": 3},
        evaluation={"questions": "data/questions.jsonl", "arms": ["base", "retrieval", "tuned"]},
    )  # fmt: skip
    began = time.monotonic()
    report = site.tandem("compare", "--all", "-c", str(project), accepted=(0,))
    yield Figure("compared in", "s", time.monotonic() - began)
    for arm, score in _scores(report).items():
        yield Figure(f"right answers of {arm}", "1", score)
    yield Note(f"recommendation: {json.dumps(report['recommendation'])[:300]}")


def small_model(site: Site) -> Path:
    """The 1B model of the steps that train and serve, or a tiny one."""
    folder = site.scratch / "small-model"
    write_model(folder, (TINY_SERVED if site.is_tiny else LLAMA_1B).architecture(), _device(site))
    return folder


def training_project(site: Site, name: str, model: Path, num_rows: int | None = None, **training: Any) -> Path:
    """A project that trains on text rows with one worker."""
    rows = site.scratch / f"{name}.jsonl"
    write_rows(rows, num_rows or (96 if site.is_tiny else 512))
    settings = {
        "data": str(rows), "adapter": ADAPTER, "epochs": 1, "rank": 8 if site.is_tiny else 16, "workers": 1,
        "sequence_length": 4096, "micro_batch_size": 1 if site.is_tiny else 2, "learning_rate": 1e-3, **training,
    }  # fmt: skip
    serving = {"port": free_port(), "max_model_len": 2048 if site.is_tiny else 4096}
    return site.write_project(name, model, training=settings, serving=serving)


def _device(site: Site) -> torch.device:
    return torch.device("cpu" if site.on_cpu else "cuda")


def _speeds(lines: list[dict[str, Any]]) -> list[float]:
    return [line["tokens_per_s"] for line in lines if "tokens_per_s" in line][WARM_UP:]


def _weights_bytes(model: Path) -> int:
    return sum(path.stat().st_size for path in model.glob("*.safetensors"))


def _last(metrics: Path) -> int:
    lines = read_metrics(metrics)
    return int(lines[-1]["step"]) if lines else 0


def _is_worker(process: Any) -> bool:
    import psutil

    try:
        return "RayTrainWorker" in "".join(process.cmdline())
    except psutil.Error:
        return False


def _losses_of_repeated_steps(metrics: Path) -> list[tuple[float, float]]:
    """The losses of each step that was done again after the kill."""
    found: dict[int, list[float]] = {}
    for text in metrics.read_text().splitlines():
        line = json.loads(text)
        if "loss" in line:
            found.setdefault(line["step"], []).append(line["loss"])
    return [(values[0], values[-1]) for values in found.values() if len(values) > 1]


def _tokens_alone() -> float | None:
    """Tokens per second of the 8B LoRA in this machine's result of `benchmarks.gpu_core`."""
    from benchmarks.gpu.report import describe_device
    from benchmarks.results import FOLDER

    here = describe_device()
    results = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("gpu-core-*.json"))]
    for result in results:
        for row in result["rows"] if result["machine"] == here else ():
            if row["metric"] == "useful tokens/s: 8B LoRA":
                return float(row["ours"])
    return None


def _scores(report: dict[str, Any]) -> dict[str, float]:
    """The share of right answers of each arm, over all questions."""
    overall = [cell for cell in report["cells"] if cell["slice"] == "overall"]
    return {cell["arm"]: float(cell["accuracy"]["share"] or 0.0) for cell in overall}
