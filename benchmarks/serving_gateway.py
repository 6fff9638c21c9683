"""The gateway alone, with a key and its limits, over an engine that answers at once.

python -m benchmarks.serving_gateway            # about two minutes on two cores
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import psutil

from benchmarks.instant_engine import gateway_only
from benchmarks.results import row, write
from benchmarks.serving_arms import ROOT, free_port
from benchmarks.serving_load import Load
from cluster.config import ClusterConfig
from cluster.session import ray_session
from serving.access.keys import Keys, Limits
from serving.config import ServingConfig

NUM_ALONE, NUM_TOGETHER, NUM_REFUSED, CONCURRENCY = 500, 4_000, 2_000, 32
BODY = {"model": "base", "messages": [{"role": "user", "content": "Iron? " * 40}], "max_tokens": 8}


def main() -> None:
    """Measure and write benchmarks/results/serving-gateway-<machine>.json."""
    with tempfile.TemporaryDirectory() as scratch, ray_session(ClusterConfig()):
        keys = Keys(Path(scratch) / "keys")
        _, free = keys.create("free", limits=Limits(requests_per_minute=10**9, tokens_per_day=10**12))
        _, spent = keys.create("spent", limits=Limits(requests_per_minute=1))
        with gateway_only(ServingConfig(port=free_port()), Path(scratch) / "keys") as url:
            rows = measured(url, free, spent, Path(scratch))
    notes = (
        f"One gateway replica, its limiter and the stand-in engine, all on this machine, as the client is. Latency: "
        f"{NUM_ALONE} requests one after the other. Throughput: {NUM_TOGETHER} streamed answers of nine chunks, "
        f"{CONCURRENCY} at once; the cost is the processor time of the gateway's process. Refusals: {NUM_REFUSED} "
        "requests of a key that has used up its minute."
    )
    print(write("serving-gateway", rows, notes))


def measured(url: str, free: str, spent: str, folder: Path) -> list[dict[str, Any]]:
    alone = one_by_one(url, free, NUM_ALONE)
    gateway = process_of("gateway")
    before, started = cpu_s(gateway), time.perf_counter()
    together = load(url, free, NUM_TOGETHER, folder)
    seconds, used = time.perf_counter() - started, cpu_s(gateway) - before
    assert len(together.answer_s) == NUM_TOGETHER, together.failed[:3]
    refused = load(url, spent, NUM_REFUSED, folder)
    assert len(refused.refused_s) >= NUM_REFUSED - 1
    rows = [
        row("gateway_ms_per_request", "ms", round(1e3 * median(alone), 2)),
        row("gateway_cpu_ms_per_streamed_request", "ms", round(1e3 * used / NUM_TOGETHER, 2)),
        row("gateway_requests_per_s_and_core", "1/s", round(NUM_TOGETHER / used, 1)),
        row("gateway_requests_per_s_here", "1/s", round(NUM_TOGETHER / seconds, 1)),
        row("refusal_p95_ms", "ms", round(1e3 * quantiles(refused.refused_s, n=20)[18], 2), "<= 50"),
    ]
    for found in rows:
        print(found)
    return rows


def one_by_one(url: str, secret: str, number: int) -> list[float]:
    """Seconds of each answer that is not streamed."""
    seconds = []
    with httpx.Client(headers={"Authorization": f"Bearer {secret}"}) as client:
        for _ in range(number):
            started = time.perf_counter()
            client.post(f"{url}/chat/completions", json=BODY).raise_for_status()
            seconds.append(time.perf_counter() - started)
    return seconds


def load(url: str, secret: str, number: int, folder: Path) -> Load:
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps(["Iron? " * 40] * number))
    asked = {
        "url": url, "model": "base", "key": secret, "concurrency": CONCURRENCY, "num_tokens": 8, "prompts": str(prompts)
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.serving_load", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Load(**json.loads(done.stdout))


def process_of(deployment: str) -> psutil.Process:
    (found,) = (
        each for each in psutil.process_iter()
        if each.name() != "python" and f"ServeReplica:gateway-only:{deployment}" in " ".join(each.cmdline())
    )  # fmt: skip
    return found


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
