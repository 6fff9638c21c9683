"""How fast the endpoint answers beside plain vLLM and stock `ray.serve.llm`: same machine, same models, one run.

python -m benchmarks.serving                    # about half an hour on two cores
python -m benchmarks.serving 150M               # one model alone: `small` or `150M`

How much later the first token comes than from plain vLLM is measured in pairs: benchmarks/serving_first_token.py.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.results import ratio_row, row, write
from benchmarks.serving_arms import (
    ENGINE,
    QUICKSTART,
    ROOT,
    Arm,
    large_model,
    ours,
    ours_with_retrieval,
    plain_vllm,
    stock_ray,
    write_prompts,
)
from benchmarks.serving_load import Load

NUM_TOKENS_IN, NUM_TOKENS_OUT = 128, 64
CONCURRENCY = (1, 8, 32)
NUM_REQUESTS = {"small": {1: 30, 8: 96, 32: 192}, "150M": {1: 16, 8: 32, 32: 64}}
NUM_WARM = 8
Opener = Callable[[Path, Path], AbstractContextManager[Arm]]
Loads = dict[str, dict[int, Load]]


def main() -> None:
    """Measure every arm on every model, or on those that are named, and write
    benchmarks/results/serving-<machine>.json."""
    named = sys.argv[1:] or list(NUM_REQUESTS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in named:
            folder = Path(scratch) / name
            folder.mkdir()
            model = QUICKSTART if name == "small" else large_model(folder / "model")
            rows += rows_of(name, measured(name, model, folder))
    notes = (
        f"{NUM_TOKENS_IN} tokens in, {NUM_TOKENS_OUT} out, streamed, {ENGINE['dtype']}, eager, at most "
        f"{ENGINE['max_num_seqs']} in a batch; everything else as each comes. The clients are a process of their own "
        "on the same cores. small: the quickstart's model, 3M parameters; 150M: random weights. Requests at 1, 8 and "
        f"32 at once: {', '.join(f'{name} {list(NUM_REQUESTS[name].values())}' for name in named)}. With retrieval a "
        "question is sent whose prompt is about as long once its passage is in it."
    )
    print(write("serving", rows, notes))


def measured(name: str, model: Path, folder: Path) -> Loads:
    """What each arm did, by its name and concurrency."""
    found: Loads = {}
    openers: tuple[Opener, ...] = (plain_vllm, ours, ours_with_retrieval, stock_ray)
    for opener in openers:
        with opener(model, folder) as arm:
            found[arm.name] = dict(loads(arm, name, folder))
    return found


def loads(arm: Arm, model: str, folder: Path) -> Iterator[tuple[int, Load]]:
    """The load at each concurrency, after some requests that are not counted."""
    ask(arm, 2, NUM_WARM, folder, seed=0)
    for concurrency in CONCURRENCY:
        load = ask(arm, concurrency, NUM_REQUESTS[model][concurrency], folder, seed=concurrency)
        assert not load.failed and not load.refused_s, (load.failed, len(load.refused_s))
        print(
            f"{model}, {arm.name}, {concurrency} at once: TTFT p50 {1e3 * load.ttft_p50_s:.1f} ms, p95 "
            f"{1e3 * load.ttft_p95_s:.1f} ms, TPOT {1e3 * load.tpot_p50_s:.2f} ms, {load.requests_per_s:.2f}/s",
            flush=True,
        )
        yield concurrency, load


def ask(arm: Arm, concurrency: int, number: int, folder: Path, seed: int) -> Load:
    """`number` requests from a process of their own."""
    prompts = write_prompts(folder / "prompts.json", number, arm.num_tokens_in, seed)
    asked = {
        "url": arm.url, "model": arm.model, "key": arm.key, "concurrency": concurrency, "num_tokens": NUM_TOKENS_OUT,
        "prompts": str(prompts),
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.serving_load", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Load(**json.loads(done.stdout))


def rows_of(model: str, found: Loads) -> list[dict[str, Any]]:
    """Ours beside each baseline, and every figure of every arm."""
    rows = [
        row(f"{metric}: {model}, {arm}, {concurrency} at once", unit, round(value, 5))
        for arm, by_concurrency in found.items()
        for concurrency, load in by_concurrency.items()
        for metric, unit, value in (
            ("ttft_p50_s", "s", load.ttft_p50_s),
            ("ttft_p95_s", "s", load.ttft_p95_s),
            ("tpot_p50_s", "s", load.tpot_p50_s),
            ("requests_per_s", "1/s", load.requests_per_s),
        )
    ]
    mine, vllm, stock = (found.get(name, {}) for name in ("ours", "plain vLLM", "stock ray.serve.llm"))
    is_large = model != "small"
    if mine and vllm:
        rows.append(throughput("throughput_vs_vllm_c32", model, mine[32], vllm[32], ">= 0.9" if is_large else None))
    if mine and stock:
        for concurrency in CONCURRENCY:
            name = f"stock ray.serve.llm, {model}"
            pair = mine[concurrency].ttft_p50_s, stock[concurrency].ttft_p50_s
            rows.append(ratio_row(f"ttft_p50_vs_stock_ray_c{concurrency}", "s", *pair, name, "<= 1.0"))
            metric = f"throughput_vs_stock_ray_c{concurrency}"
            rows.append(throughput(metric, name, mine[concurrency], stock[concurrency], ">= 1.0"))
    return rows


def throughput(metric: str, name: str, ours: Load, other: Load, target: str | None) -> dict[str, Any]:
    return ratio_row(metric, "1/s", ours.requests_per_s, other.requests_per_s, name, target)


if __name__ == "__main__":
    main()
