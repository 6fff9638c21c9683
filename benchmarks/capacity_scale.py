"""A large load on paper and simulated: 1,000 adapters, 100 million chunks, 10,000 requests a second.

python -m benchmarks.capacity_scale             # prints the tables of docs/capacity.md; about a minute
python -m benchmarks.capacity_scale --write     # puts them there, and writes benchmarks/results/capacity-scale-*.json

The unit costs are those that Tandem comes with (serving/capacity/unit_costs.json): of a small model on two cores, no
GPU.
"""

import json
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.results import FOLDER, ratio_row, row, write
from benchmarks.simulation import Choice, Place, Seen, simulate
from serving.capacity.adapter_cache import hit_rate, zipf
from serving.capacity.plan import CapacityPlan, PlannedPart, plan
from serving.capacity.unit_costs import NAMES, UnitCosts, shipped_costs
from serving.capacity.workload import Workload

DOCS = Path(__file__).parent.parent / "docs" / "capacity.md"
WISH = Workload(10_000, 512, 128, chunks=100_000_000, adapters=1_000, milvus_replicas=1)
SMALL = Workload(20, 512, 128, chunks=1_000_000, adapters=100, node_cores=16)
MODEL = "quickstart"
NUM_REQUESTS = 200_000
CHOICES: dict[str, Choice] = {
    "gateways": "random", "retrievers": "shorter of two", "engines": "shorter of two", "milvus cores": "shared",
    "redis": "shared", "limiter": "shared",
}  # fmt: skip
"""How a request finds its server: the kernel spreads connections, Ray Serve takes the shorter of two queues."""
SLOTS = (4, 16, 64, 256)
EXPONENTS = (0.6, 1.0, 1.4)
NUM_ASKED = 50_000


def main() -> None:
    """Print the tables, or put them into the guide."""
    costs = shipped_costs()
    seen = simulated(plan(without_singles(WISH), costs, MODEL), NUM_REQUESTS)
    texts = {**tables(costs), "simulated": simulated_table(seen), "adapters": adapter_table(asked_rates())}
    if "--write" not in sys.argv:
        print("\n\n".join(f"{name}\n{text}" for name, text in texts.items()))
        return
    guide = DOCS.read_text()
    for name, text in texts.items():
        guide = put(guide, name, text)
    DOCS.write_text(guide)
    print(write("capacity-scale", list(rows(costs, seen)), notes()))


def put(guide: str, name: str, text: str) -> str:
    """The guide with a table in its place. Raises ValueError where the place is missing."""
    before, start, rest = guide.partition(f"<!-- {name}:start -->\n")
    _, end, after = rest.partition(f"<!-- {name}:end -->")
    if not (start and end):
        raise ValueError(f"{DOCS} has no place for {name}")
    return f"{before}{start}{text}\n{end}{after}"


def tables(costs: UnitCosts) -> dict[str, str]:
    """What needs no simulation."""
    return {
        "costs": costs_table(costs),
        "small": plan_table(plan(SMALL, costs, MODEL)),
        "large": plan_table(plan(WISH, costs, MODEL)),
        "singles": singles_table(costs),
        "step": step_table(),
    }


def costs_table(costs: UnitCosts) -> str:
    lines = [[f"`{name}`", told, number(costs[name].value)] for name, told in NAMES.items()]
    engine = costs.engine(MODEL)
    lines += [
        ["engine, `prefill_s`", f"seconds for each token in ({engine.model})", number(engine.prefill_s)],
        ["engine, `step_s`", "seconds of a step, shared by its batch", number(engine.step_s)],
        ["engine, `step_each_s`", "and for each request in it", number(engine.step_each_s)],
    ]
    return markdown(["cost", "what", "s"], lines)


def plan_table(found: CapacityPlan) -> str:
    """Parts, the busiest first, and nodes."""
    lines = [
        [part.name, f"{part.station.servers:,}", f"{part.busy:.0%}", f"{rate(part.station.capacity)}/s",
         "; ".join(part.arithmetic)]
        for part in sorted(found.parts, key=lambda part: -part.busy)
    ]  # fmt: skip
    lines += [[f"{node.kind} nodes", f"{node.number:,}", "", "", node.arithmetic] for node in found.nodes]
    return markdown(["part", "number", "busy", "ends at most", "arithmetic"], lines)


def singles_table(costs: UnitCosts) -> str:
    """What there can be one of, and the load at which it gives out."""
    lines = []
    for name, redis in (("limiter", False), ("redis", True), ("controller", False)):
        found = plan(replace(WISH, redis=redis), costs, MODEL)
        part = next(part for part in found.parts if part.name == name)
        lines.append([name, f"{part.busy:.0%}", f"{rate(part.station.capacity)}/s"])
    return markdown(["one", f"busy at {WISH.requests_per_s:,.0f}/s", "gives out at"], lines)


def step_table() -> str:
    """What benchmarks/capacity.py found, as it is committed."""
    lines = []
    for path in sorted(FOLDER.glob("capacity-*.json")):
        result = json.loads(path.read_text())
        for found in result["rows"] if result["benchmark"] == "capacity" else ():
            if found["target"] is None or found["target"].startswith(">="):
                figures = [number(found["ours"]), number(found["baseline"]), f"{found['ratio']:.2f}"]
                lines.append([found["metric"], found["baseline_name"].removeprefix("measured, "), *figures])
    return markdown(["", "engine", "predicted", "measured", "ratio"], lines)


def without_singles(wish: Workload) -> Workload:
    """No keys: then nothing of which there is one stands in a request's way, and the rest can be simulated."""
    return replace(wish, keys=False)


def simulated(found: CapacityPlan, num_requests: int) -> list[tuple[PlannedPart, Seen]]:
    """Each part that a request passes, on paper and simulated."""
    parts = [part for part in found.parts if part.name != "controller"]
    places = [Place(part.station, CHOICES[part.name]) for part in parts]
    return list(zip(parts, simulate(places, found.wish.requests_per_s, num_requests), strict=True))


def simulated_table(seen: list[tuple[PlannedPart, Seen]]) -> str:
    lines = [
        [
            part.name,
            CHOICES[part.name],
            f"{part.busy:.0%}",
            f"{one.busy:.0%}",
            number(part.seconds),
            number(one.seconds),
        ]
        for part, one in seen
    ]
    return markdown(["part", "queue", "busy", "simulated", "s, on paper", "s, simulated"], lines)


def asked_rates() -> list[tuple[float, int, float, float]]:
    """Exponent, slots, and the share of hits by the formula and of an LRU that is asked."""
    return [
        (exponent, slots, hit_rate(shares, slots), lru_hits(shares, slots))
        for exponent in EXPONENTS
        for shares in [zipf(WISH.adapters, exponent)]
        for slots in SLOTS
    ]


def adapter_table(found: list[tuple[float, int, float, float]]) -> str:
    lines = [[f"{exponent:g}", str(slots), f"{paper:.1%}", f"{asked:.1%}"] for exponent, slots, paper, asked in found]
    return markdown(["Zipf exponent", "loaded", "found, on paper", "found, simulated"], lines)


def lru_hits(shares: list[float], slots: int) -> float:
    """Of an LRU, once it has filled."""
    held, hits = OrderedDict[int, None](), 0
    for turn, adapter in enumerate(Random(1).choices(range(len(shares)), shares, k=2 * NUM_ASKED)):
        hits += turn >= NUM_ASKED and adapter in held
        held[adapter] = None
        held.move_to_end(adapter)
        if len(held) > slots:
            held.popitem(last=False)
    return hits / NUM_ASKED


def rows(costs: UnitCosts, seen: list[tuple[PlannedPart, Seen]]) -> Iterator[dict[str, Any]]:
    for redis in (False, True):
        found = plan(replace(WISH, redis=redis), costs, MODEL)
        yield row(f"gives_out_at: {found.first.name}", "1/s", round(found.most_requests_per_s, 1))
    for part, one in seen:
        yield ratio_row(f"seconds: {part.name}", "s", part.seconds, one.seconds, "simulated")
    for exponent, slots, paper, asked in asked_rates():
        yield ratio_row(f"adapter_hits: Zipf {exponent:g}, {slots} loaded", "share", paper, asked, "simulated LRU")


def notes() -> str:
    return (
        f"{WISH.requests_per_s:,.0f} requests/s, {WISH.tokens_in} tokens in and {WISH.tokens_out} out, "
        f"{WISH.chunks:,} chunks, {WISH.adapters:,} adapters, by the unit costs of serving/capacity/unit_costs.json "
        f"(a small model on two cores; no GPU). On paper beside {NUM_REQUESTS:,} simulated requests, seed 0."
    )


def markdown(headings: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] * len(headings)
    return "\n".join("| " + " | ".join(line) + " |" for line in (headings, rule, *lines))


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else number(value)


def number(value: float) -> str:
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
