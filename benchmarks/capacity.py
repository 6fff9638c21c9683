"""The capacity model beside what is measured: from unit costs of one engine, what do two give?

python -m benchmarks.capacity                   # about eight minutes on two cores
python -m benchmarks.capacity waits computes    # some of the engines alone: `waits`, `computes`, `vllm`

An endpoint with one engine and one with two run at the same time and are loaded in turn, so that a slow minute hits
both. The model is given what the one with one engine took, and nothing of the other.
"""

import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks.instant_engine import Work, gateway_only
from benchmarks.results import ratio_row, write
from benchmarks.serving_arms import QUICKSTART, ROOT, free_port, tandem_serve, write_prompts
from cluster.config import ClusterConfig
from cluster.session import ray_session
from serving.capacity.load import Load
from serving.capacity.measure import busy_seconds, processor_seconds
from serving.capacity.queueing import ClosedNetwork, Station, closed_times
from serving.capacity.unit_costs import fit_batch
from serving.config import ServingConfig
from serving.deploy.serve_options import PREFIX_ROUTER

CORES = 2
CLIENTS = (1, 4, 32)
TURNS = 3
WORDS = " ".join(["word"] * 16)
WITHIN = (0.8, 1.2)
NOTES = (
    f"An endpoint with one engine and one with two on {CORES} cores, with the clients; loaded in turn, medians of "
    f"{TURNS}. Predicted from processor time by process, throughput and latency of the one with one engine alone. "
)
PROCESSES = ("gateway", "engine", "core")


@dataclass(frozen=True)
class Case:
    """An engine, how many tokens it gives, and how many requests each number of clients sends in a turn."""

    name: str
    told: str
    num_tokens: int
    requests: dict[int, int]
    work: Work | None = None


CASES = (
    Case("waits", "each answer takes 50 ms of a device of its own", 16, {1: 60, 4: 120, 32: 240},
         Work(0.05, text=WORDS)),
    Case("computes", "each answer takes 50 ms of a core", 16, {1: 60, 4: 120, 32: 240}, Work(0.05, True, WORDS)),
    Case("vllm", "vLLM with the quickstart's model, one thread each", 64, {1: 15, 4: 40, 32: 160}),
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One load, what it took of the processor by process (seconds for each request), and what else was busy (cores)."""

    load: Load
    cpu_s: dict[str, float]
    elsewhere: float


Turns = dict[tuple[int, int], list[Turn]]


def main() -> None:
    """Measure, and write benchmarks/results/capacity-<machine>.json."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends too
    named = sys.argv[1:] or [case.name for case in CASES]
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            if case.name in named:
                folder = Path(scratch) / case.name
                folder.mkdir()
                turns = measured(case, folder)
                rows += rows_of(case, turns)
                told.append(f"{case.name}: {case.told}; {elsewhere(turns):.2f} cores were busy with other things")
                print(write("capacity", rows, NOTES + " ".join(f"{one}." for one in told)))


@contextmanager
def endpoints(case: Case, folder: Path) -> Iterator[tuple[str, str]]:
    """URLs of an endpoint with one engine and of one with two."""
    with ExitStack() as stack:
        if case.work is None:
            urls = []
            for number in (1, 2):
                (folder / str(number)).mkdir()
                urls.append(stack.enter_context(tandem_serve(QUICKSTART, folder / str(number), num_replicas=number)))
        else:
            stack.enter_context(ray_session(ClusterConfig()))
            options = {"request_router_config": {"request_router_class": PREFIX_ROUTER}}
            urls = [
                stack.enter_context(
                    gateway_only(ServingConfig(port=free_port(), max_ongoing_requests=1000), None, work=case.work,
                                 app=f"engines-{number}", num_replicas=number, **options)
                )
                for number in (1, 2)
            ]  # fmt: skip
        yield urls[0], urls[1]


def measured(case: Case, folder: Path) -> Turns:
    """Turns by number of engines and of clients."""
    found: Turns = {}
    with endpoints(case, folder) as urls:
        for url in urls:
            turn(case, url, 4, 16, folder, seed=0)
        for number in range(TURNS):
            for engines, clients in [*((1, clients) for clients in CLIENTS), (2, CLIENTS[-1])]:
                one = turn(case, urls[engines - 1], clients, case.requests[clients], folder, seed=number + 1)
                found.setdefault((engines, clients), []).append(one)
                told = {role: round(1e3 * seconds, 2) for role, seconds in one.cpu_s.items()}
                print(f"{case.name}: {engines} engines, {clients} clients: {one.load.requests_per_s:.2f}/s, p50 "
                      f"{median(one.load.answer_s):.3f} s, ms of a core {told}, elsewhere {one.elsewhere:.2f} cores",
                      flush=True)  # fmt: skip
    return found


def turn(case: Case, url: str, clients: int, number: int, folder: Path, seed: int) -> Turn:
    """One load from a process of its own."""
    prompts = write_prompts(folder / "prompts.json", number, 128, seed)
    asked = {"url": url, "model": "base", "key": None, "concurrency": clients, "num_tokens": case.num_tokens,
             "prompts": str(prompts)}  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.serving_load", json.dumps(asked)]
    port = urlsplit(url).port or 80
    before, all_before, started = processor_seconds(port), busy_seconds() - children_s(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    took, all_after, after = time.perf_counter() - started, busy_seconds() - children_s(), processor_seconds(port)
    assert done.returncode == 0, done.stderr
    load = Load(**json.loads(done.stdout))
    assert not load.failed and not load.refused_s, load.failed[:3]
    ours = {role: after[role] - seconds for role, seconds in before.items() if role in PROCESSES}
    cpu_s = {role: seconds / number for role, seconds in (ours | {"client": load.cpu_s}).items()}
    return Turn(load, cpu_s, max(0.0, (all_after - all_before - sum(ours.values())) / took))


def children_s() -> float:
    """Processor time of the loads so far, their start included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rows_of(case: Case, turns: Turns) -> list[dict[str, Any]]:
    """The step as it was and as the model has it; and how the model sees what it was made from."""
    most = CLIENTS[-1]
    rows: list[dict[str, Any]] = []
    for engines, clients in ((1, 4), (1, most), (2, most)):
        found = predicted(case, turns, engines, clients)
        rate = median(one.load.requests_per_s for one in turns[engines, clients])
        seconds = median(median(one.load.answer_s) for one in turns[engines, clients])
        name = f"{case.name}, {engines} engine{'s' * (engines > 1)}, {clients} clients"
        rows += compared("predicted_requests_per_s", "1/s", found.requests_per_s, rate, name, engines > 1)
        rows += compared("predicted_p50_s", "s", found.seconds, seconds, name, engines > 1)
    one, two = (predicted(case, turns, engines, most).requests_per_s for engines in (1, 2))
    steps = [b.load.requests_per_s / a.load.requests_per_s for a, b in zip(turns[1, most], turns[2, most], strict=True)]
    rows += compared("step_from_1_to_2_engines", "ratio", two / one, median(steps), case.name, True)
    for found_row in rows:
        print(found_row, flush=True)
    return rows


def compared(
    metric: str, unit: str, ours: float, measured: float, name: str, is_prediction: bool
) -> list[dict[str, Any]]:
    """What the model had not seen must be neither too low nor too high: a row for each side."""
    figures = float(f"{ours:.4g}"), float(f"{measured:.4g}")
    targets = (f">= {WITHIN[0]}", f"<= {WITHIN[1]}") if is_prediction else (None,)
    return [ratio_row(metric, unit, *figures, f"measured, {name}", target) for target in targets]


def predicted(case: Case, turns: Turns, engines: int, clients: int) -> ClosedNetwork:
    """What so many engines and clients give, from the turns with one engine alone."""
    cost, alone = medians(turns[1, CLIENTS[-1]]), medians(turns[1, 1])
    delay_s = median(median(one.load.answer_s) for one in turns[1, 1]) - sum(alone.values())
    stations = [Station("client", cost["client"]), Station("gateway", cost["gateway"])]
    stations.append(Station("engine", cost["engine"], servers=engines))
    if case.work is None:
        each_s, batch_s = fit_batch([(number, medians(turns[1, number])["core"]) for number in CLIENTS])
        stations.append(Station("core", each_s, batch_s, engines, batch=clients))
    elif not case.work.on_core:
        each_s = 1 / median(one.load.requests_per_s for one in turns[1, CLIENTS[-1]])
        stations.append(Station("device", each_s, servers=engines, on_cores=False))
        delay_s -= each_s
    return closed_times(stations, clients, CORES, max(0.0, delay_s), elsewhere(turns))


def elsewhere(turns: Turns) -> float:
    """Cores that were busy with other things, Ray's own processes among them, while one engine was loaded."""
    return median(one.elsewhere for clients in CLIENTS for one in turns[1, clients])


def medians(turns: list[Turn]) -> dict[str, float]:
    return {role: median(one.cpu_s[role] for one in turns) for role in turns[0].cpu_s}


if __name__ == "__main__":
    main()
