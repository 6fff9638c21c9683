"""Ten times more clients than the endpoint can hold: how long those wait who are let in, and those who are not.

python -m benchmarks.serving_overload           # about three minutes on two cores
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from benchmarks.results import ratio_row, row, write
from benchmarks.serving_arms import QUICKSTART, ROOT, tandem_serve, write_prompts
from benchmarks.serving_load import Load

NUM_SEQS = 16
CAPACITY = 2 * NUM_SEQS
"""As many are computed, and as many wait."""
NUM_TOKENS_IN, NUM_TOKENS_OUT = 128, 64
MIB = 2**20


def main() -> None:
    """Measure, and write benchmarks/results/serving-overload-<machine>.json."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = measured(Path(scratch))
    notes = (
        f"The quickstart's model, {NUM_TOKENS_IN} tokens in and {NUM_TOKENS_OUT} out, streamed. {NUM_SEQS} requests "
        f"are computed at a time and {NUM_SEQS} wait. Clients in a process of their own on the same cores, each with a "
        "connection of its own; one that is refused asks again when `Retry-After-Ms` says so, as OpenAI's client does; "
        "all of them ask first at the same moment. The refusals' times hold the clients' own work too."
    )
    print(write("serving-overload", rows, notes))


def measured(folder: Path) -> list[dict[str, Any]]:
    """The endpoint at its capacity and at ten times that."""
    settings = {"max_num_seqs": NUM_SEQS, "max_ongoing_requests": NUM_SEQS, "max_queued_requests": NUM_SEQS}
    with tandem_serve(QUICKSTART, folder, **settings) as url:
        gateway = gateway_process()
        ask(url, folder, NUM_SEQS, 2 * NUM_SEQS)
        full = ask(url, folder, CAPACITY, 8 * CAPACITY)
        before = gateway.memory_info().rss
        over = ask(url, folder, 10 * CAPACITY, 20 * CAPACITY)
        grown = gateway.memory_info().rss - before
    assert not full.failed and not over.failed, (full.failed[:3], over.failed[:3])
    assert over.refused_s and not full.refused_s, (len(over.refused_s), len(full.refused_s))
    p95 = {name: quantiles(load.answer_s, n=20)[18] for name, load in (("full", full), ("over", over))}
    return [
        ratio_row("admitted_p95_vs_at_capacity", "s", p95["over"], p95["full"], f"{CAPACITY} at once", "<= 2.0"),
        row("refusal_p95_ms", "ms", round(1e3 * quantiles(over.refused_s, n=20)[18], 2), "<= 50"),
        row("admitted", "1", len(over.answer_s)),
        row("refused", "1", len(over.refused_s)),
        row("requests_per_s_at_capacity", "1/s", round(full.requests_per_s, 2)),
        row("requests_per_s_at_ten_times", "1/s", round(over.requests_per_s, 2)),
        row("gateway_memory_grown_mib", "MiB", round(grown / MIB, 1), "<= 50"),
    ]


def ask(url: str, folder: Path, concurrency: int, number: int) -> Load:
    """`number` requests of so many clients."""
    prompts = write_prompts(folder / "prompts.json", number, NUM_TOKENS_IN, seed=concurrency)
    asked = {
        "url": url, "model": "base", "key": None, "concurrency": concurrency, "num_tokens": NUM_TOKENS_OUT,
        "prompts": str(prompts), "comes_back": True,
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.serving_load", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Load(**json.loads(done.stdout))


def gateway_process() -> psutil.Process:
    (found,) = (each for each in psutil.process_iter() if "ServeReplica:tandem:gateway" in " ".join(each.cmdline()))
    return found


if __name__ == "__main__":
    main()
