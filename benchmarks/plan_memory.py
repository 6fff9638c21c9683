"""The plan's memory against peaks that others measured and published, with their own number formats.

python -m benchmarks.plan_memory

published_memory.json holds each figure with its source, settings and the architecture's shape. Compared is what an
allocator's counter can see, so without the plan's allowance. A row that the band does not hold for has the reason in
`outside`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import results
from training.config import TrainingConfig
from training.plan.memory import GIB, MemorySetup, NumberFormats, estimate_memory
from training.plan.shapes import ModelShapes, read_model_shapes

PUBLISHED = Path(__file__).with_name("published_memory.json")
BANDS = {"one device": 0.25, "replicated": 0.25, "sharded": 0.25, "offloaded": 0.25, "four bits": 0.25}
"""The largest relative error, by the kind of row."""


@dataclass(frozen=True)
class Compared:
    """One published peak and our estimate of it, in GiB."""

    name: str
    kind: str
    place: tuple[str, int, str]
    """Method, ZeRO stage, offload."""

    source: str
    published: float
    estimated: float
    outside: str | None
    """Why the band does not hold, where that is known."""

    @property
    def ratio(self) -> float:
        return self.estimated / self.published

    @property
    def is_within(self) -> bool:
        return abs(self.ratio - 1) <= BANDS[self.kind]


def compare_all() -> list[Compared]:
    """Every published row with our estimate."""
    published = json.loads(PUBLISHED.read_text())
    return [_compare(row, published) for row in published["rows"]]


def _compare(row: dict[str, Any], published: dict[str, Any]) -> Compared:
    setup = MemorySetup(
        formats=NumberFormats(**published["formats"][row["formats"]]),
        **{key: row[key] for key in MemorySetup.__dataclass_fields__ if key in row and key != "formats"},
    )
    found = estimate_memory(_shapes(row, published["architectures"][row["architecture"]]), setup)
    return Compared(
        f"{row['name']} ({row['source']})", row["kind"], (row["method"], row["stage"], row["offload"]),
        published["sources"][row["source"]]["url"], row["peak_gib"],
        found.computed / GIB, row.get("outside"),
    )  # fmt: skip


def _shapes(row: dict[str, Any], architecture: dict[str, Any]) -> ModelShapes:
    from transformers import AutoConfig

    fields = dict(architecture)
    method = {key: row[key] for key in ("method", "rank", "target_modules")}
    return read_model_shapes(TrainingConfig(**method), AutoConfig.for_model(fields.pop("model_type"), **fields))


def _result_row(compared: Compared) -> dict[str, Any]:
    row = results.row(f"peak_memory: {compared.name}", "GiB", round(compared.estimated, 2))
    band = BANDS[compared.kind]
    target = f"<= {1 + band:g}" if compared.ratio > 1 else f">= {1 - band:g}"
    baseline = {"baseline": compared.published, "baseline_name": compared.source, "target": target}
    return {**row, **baseline, "ratio": round(compared.ratio, 3)}


def main() -> None:
    """Print every row and write the result."""
    compared = compare_all()
    for each in compared:
        mark = "" if each.is_within else f"  outside: {each.outside}"
        print(f"{each.estimated:7.2f} {each.published:7.2f} {each.ratio:6.2f}  {each.kind:10} {each.name}{mark}")
    outside = [f"{each.name}: {each.outside}" for each in compared if each.outside]
    within = sum(each.is_within for each in compared)
    notes = (
        f"ours is the estimate, baseline the published peak, measured by others on their GPUs; settings in "
        f"published_memory.json. {within} of {len(compared)} rows are within 25 %, above or below. Outside: "
        + "; ".join(outside)
    )
    print(results.write("plan-memory", [_result_row(each) for each in compared], notes))


if __name__ == "__main__":
    main()
