"""What a request takes of each part: the figures that `tandem plan-serve` comes with.

python -m benchmarks.capacity_costs             # about six minutes on two cores

Writes benchmarks/results/capacity-costs-<machine>.json and serving/capacity/unit_costs.json, which says the same to the
plan.
"""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.instant_engine import gateway_only
from benchmarks.results import FOLDER, row, write
from benchmarks.serving_arms import PROJECT, QUICKSTART, ROOT, free_port, tandem_serve, write_project
from benchmarks.serving_gateway import load
from cluster.config import ClusterConfig
from cluster.fingerprints.models import digest_model
from cluster.fingerprints.provenance import describe_machine
from cluster.registry.registry import Registry
from cluster.session import ray_session
from cluster.storage.files import write_atomically
from cluster.storage.storage import Storage
from serving.access.keys import Keys, Limits
from serving.access.redis_limiter import RedisLimiter
from serving.capacity.measure import MeasuredEndpoint, measure_costs, processor_seconds
from serving.capacity.unit_costs import SHIPPED_COSTS, UnitCosts, costs_to_json
from serving.config import ServingConfig
from tests.serving.redis_server import redis_server

TOKENS_IN, TOKENS_OUT = 128, 64
SECONDS = 15.0
NUM_ADAPTERS, NUM_LATER = 8, 5
NUM_COUNTED, AT_ONCE = 4_000, 32
WATCHED_S = 20.0
REPLICAS = (1, 9)
"""Of a stand-in engine, beside one gateway."""


def main() -> None:
    """Measure and write."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends too
    source = f"benchmarks/results: capacity-costs, {describe_machine()}"
    with tempfile.TemporaryDirectory() as scratch:
        engines, gateway, retriever, loading = of_endpoint(Path(scratch), source)
    found = {
        **gateway,
        "limiter_s": of_limiter(),
        "retriever_s": retriever,
        "redis_s": of_redis(),
        "search_s": of_search(),
        "adapter_load_s": loading,
        "controller_s": of_controller(),
    }
    rows = [row(name, "s", float(f"{value:.4g}")) for name, value in found.items()]
    for name in ("prefill_s", "step_s", "step_each_s", "batch", "cores"):
        rows.append(row(f"engine_{name}: quickstart", "1" if name in ("batch", "cores") else "s", engines[name]))
    costs = {each["metric"]: {"value": each["ours"], "source": source} for each in rows if ":" not in each["metric"]}
    shipped = {"costs": costs, "engines": {"quickstart": engines}}
    write_atomically(SHIPPED_COSTS, json.dumps(shipped, indent=2) + "\n")
    notes = (
        "Processor time by process less what it is while nobody asks, on a machine of two cores that client and server "
        f"share. The endpoint: quickstart's model, {TOKENS_IN} tokens in, {TOKENS_OUT} out, a key with limits; clients "
        "and loads are those of `tandem plan-serve --measure`. The retriever: a question embedded and searched in "
        f"Milvus Lite with one document. The limiter: the stand-in engine, {NUM_COUNTED} requests, {AT_ONCE} at once. "
        f"An adapter: rank 8, the first use less the fastest of {NUM_LATER} later ones, median of {NUM_ADAPTERS - 1}. "
        "Redis: admitted and settled, "
        "the server's own time. A search: the machine's cores over the searches a second of the retrieval benchmark "
        "(200,000 vectors, server 2.3.5, 32 at once, client included). The controller: "
        f"{REPLICAS[0]} and {REPLICAS[1]} idle replicas, {WATCHED_S:g} s each."
    )
    print(write("capacity-costs", rows, notes))


def of_endpoint(folder: Path, source: str) -> tuple[dict[str, Any], dict[str, float], float, float]:
    """The engine; the gateway; the retriever; and loading an adapter."""
    key = key_of(folder)
    adapters = [publish(folder / "runs", f"a{number}", random_adapter(folder / f"files{number}", number))
                for number in range(NUM_ADAPTERS)]  # fmt: skip
    with tandem_serve(QUICKSTART, folder) as url:
        asked_s(url, key, f"base:{adapters[0]}")  # the first of all adapters sets up what the others find
        loading = median(first_use_s(url, key, name) for name in adapters[1:])
        assert loading > 0, "lost in the noise: measure when the machine is calm"
        print("adapter", loading, flush=True)
        plain = costs_of(url, key, "base", source)
        asked = costs_of(url, key, f"base+{PROJECT}", source)
    engine = costs_to_json(plain)["engines"]["base"] | {
        "model": "the quickstart's model",
        "digest": digest_model(str(QUICKSTART)),
    }
    engine |= {name: float(f"{engine[name]:.4g}") for name in ("prefill_s", "step_s", "step_each_s")}
    gateway = {name: plain[name].value for name in ("gateway_s", "gateway_token_s")}
    gateway["gateway_retrieval_s"] = max(0.0, asked["gateway_s"].value - plain["gateway_s"].value)
    return engine, gateway, asked["retriever_s"].value, loading


def costs_of(url: str, key: str, model: str, source: str) -> UnitCosts:
    endpoint = MeasuredEndpoint(url, model, key, TOKENS_IN, TOKENS_OUT, 1, 0, os.cpu_count() or 1)
    found = measure_costs(endpoint, "base", source, SECONDS, lambda _: None)
    print(model, costs_to_json(found), flush=True)
    return found


def key_of(folder: Path) -> str:
    """A key whose limits are never reached."""
    create = ["keys", "create", "bench", "--requests-per-minute", "1000000", "--tokens-per-day", "1000000000", "--json"]
    made = subprocess.run(
        [sys.executable, "-m", "tandem", *create, "-c", str(write_project(QUICKSTART, folder))],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return str(json.loads(made.stdout)["key"])


def first_use_s(url: str, key: str, adapter: str) -> float:
    """How much longer the first request for an adapter takes than the fastest of some later ones."""
    first, *later = (asked_s(url, key, f"base:{adapter}") for _ in range(1 + NUM_LATER))
    return first - min(later)


def asked_s(url: str, key: str, model: str) -> float:
    """Seconds of an answer of one token."""
    started = time.perf_counter()
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Iron?"}]}
    headers = {"Authorization": f"Bearer {key}"}
    httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=60).raise_for_status()
    return time.perf_counter() - started


def random_adapter(folder: Path, seed: int) -> Path:
    """An adapter whose weights are drawn, not trained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(QUICKSTART)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def publish(storage: Path, name: str, files: Path) -> str:
    template = hashlib.sha256((QUICKSTART / "chat_template.jinja").read_bytes()).hexdigest()
    Registry(Storage(storage).adapters).publish(
        name, files, base_model=str(QUICKSTART), base_digest=digest_model(str(QUICKSTART)), method="lora", rank=8,
        template_hash=template, prompt_hash=None, data_digest="", fingerprint="", metrics={},
    )  # fmt: skip
    return name


def of_limiter() -> float:
    """Seconds of a core of the limiter for a request, less what it takes while nobody asks."""
    with tempfile.TemporaryDirectory() as scratch, ray_session(ClusterConfig()):
        keys = Keys(Path(scratch) / "keys")
        _, secret = keys.create("free", limits=Limits(requests_per_minute=10**9, tokens_per_day=10**12))
        with gateway_only(ServingConfig(port=free_port()), Path(scratch) / "keys") as url:
            port = urlsplit(url).port or 80
            load(url, secret, AT_ONCE, Path(scratch))
            before = processor_seconds(port)["limiter"]
            time.sleep(WATCHED_S)
            idle_s = (processor_seconds(port)["limiter"] - before) / WATCHED_S
            before, started = processor_seconds(port)["limiter"], time.perf_counter()
            load(url, secret, NUM_COUNTED, Path(scratch))
            used, took = processor_seconds(port)["limiter"] - before, time.perf_counter() - started
    found = max(0.0, used - idle_s * took) / NUM_COUNTED
    print("limiter", found, idle_s, flush=True)
    return found


def of_redis() -> float:
    """Seconds of Redis for a request that is admitted and settled."""
    with redis_server() as (url, process):
        before = psutil.Process(process.pid).cpu_times()
        asyncio.run(counted(url))
        after = psutil.Process(process.pid).cpu_times()
    found = (after.user + after.system - before.user - before.system) / NUM_COUNTED
    print("redis", found, flush=True)
    return found


async def counted(url: str) -> None:
    limiter, limits = RedisLimiter(url, 60.0), Limits(requests_per_minute=10**9, tokens_per_day=10**12)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turns:
            key = f"key{number % 100}"
            admitted = await limiter.admit(key, limits, 200)
            await limiter.settle(key, admitted.ticket, 200, 100)  # type: ignore[union-attr]

    await asyncio.gather(*(one(number) for number in range(NUM_COUNTED)))
    await limiter.close()


def of_search() -> float:
    """Seconds of a core for a search, from the retrieval benchmark's result on this machine."""
    (path,) = FOLDER.glob("retrieval-amd*.json")
    name = "pymilvus, server, 32 at once"
    (rate,) = (each["ours"] for each in json.loads(path.read_text())["rows"]
               if each["metric"] == "search_qps_vs_pymilvus" and each["baseline_name"] == name)  # fmt: skip
    return (os.cpu_count() or 1) / float(rate)


def of_controller() -> float:
    """Seconds of a core of Serve's controller for each further replica and second."""
    with ray_session(ClusterConfig(num_cpus=16)):
        few, many = (watched(number) for number in REPLICAS)
    found = max(0.0, many - few) / (REPLICAS[1] - REPLICAS[0])
    print("controller", few, many, found, flush=True)
    return found


def watched(replicas: int) -> float:
    """Seconds of a core of the controller in a second."""
    with idle(replicas) as port:
        time.sleep(5)
        before, started = processor_seconds(port)["controller"], time.perf_counter()
        time.sleep(WATCHED_S)
        return (processor_seconds(port)["controller"] - before) / (time.perf_counter() - started)


@contextmanager
def idle(replicas: int) -> Iterator[int]:
    with gateway_only(ServingConfig(port=free_port()), None, app=f"idle-{replicas}", num_replicas=replicas) as url:
        yield urlsplit(url).port or 80


if __name__ == "__main__":
    main()
