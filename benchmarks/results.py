"""The one shape of a result, and the table of all of them.

python -m benchmarks.results
"""

import json
import operator
import re
from pathlib import Path
from typing import Any

from cluster.fingerprints.provenance import describe_machine, git_commit, package_versions
from cluster.storage.files import write_atomically

FOLDER = Path(__file__).parent / "results"
COMPARE = {">=": operator.ge, "<=": operator.le}


def row(metric: str, unit: str, ours: float, target: str | None = None) -> dict[str, Any]:
    """A measured figure without a baseline; `target` reads like "<= 10" and holds for `ours`."""
    return {
        "metric": metric, "unit": unit, "ours": ours, "baseline": None, "baseline_name": None, "ratio": None,
        "target": target,
    }  # fmt: skip


def ratio_row(
    metric: str, unit: str, ours: float, baseline: float, baseline_name: str, target: str | None = None
) -> dict[str, Any]:
    """A figure beside a baseline's, measured in the same run; `target` holds for ours / baseline."""
    return {
        "metric": metric, "unit": unit, "ours": ours, "baseline": baseline, "baseline_name": baseline_name,
        "ratio": round(ours / baseline, 3), "target": target,
    }  # fmt: skip


def write(
    benchmark: str, rows: list[dict[str, Any]], notes: str, machine: str | None = None, path: Path | None = None
) -> Path:
    """Write a result as <benchmark>-<machine>.json, or to `path`; `machine` is this one where it is not named."""
    machine = machine or describe_machine()
    slug = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
    path = path or FOLDER / f"{benchmark}-{slug}.json"
    result = {
        "benchmark": benchmark, "commit": git_commit(), "machine": machine,
        "versions": package_versions(), "rows": rows, "notes": notes,
    }  # fmt: skip
    write_atomically(path, json.dumps(result, indent=2) + "\n")
    return path


def is_met(found: dict[str, Any]) -> bool | None:
    """Whether a row's target is met; None where it has none. It holds for the ratio where there is a baseline."""
    if not found["target"]:
        return None
    sign, limit = found["target"].split()
    value = found["ours"] if found["ratio"] is None else found["ratio"]
    return bool(COMPARE[sign](value, float(limit)))


def main() -> None:
    """Print every committed result as one table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("benchmark", "metric", "unit", "ours", "baseline", "ratio", "target", "met")
    for path in sorted(FOLDER.glob("*.json")):
        result = json.loads(path.read_text())
        for found in result["rows"]:
            numbers = ["" if found[key] is None else f"{found[key]:.4g}" for key in ("ours", "baseline", "ratio")]
            met = {True: "yes", False: "no", None: ""}[is_met(found)]
            table.add_row(result["benchmark"], found["metric"], found["unit"], *numbers, found["target"] or "", met)
    Console().print(table)


if __name__ == "__main__":
    main()
