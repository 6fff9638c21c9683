"""The README's table, from a comparison's report.json.

python -m benchmarks.readme runs/quickstart/compare-.../report.json
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from cluster.storage import write_atomically

README = Path(__file__).resolve().parent.parent / "README.md"
BETWEEN = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- /table -->)", re.DOTALL)


def update(report_file: Path) -> None:
    """Replace what stands between the README's table marks."""
    report = json.loads(report_file.read_text())
    text, count = BETWEEN.subn(lambda _: table(report), README.read_text())
    assert count == 1, "the README has one pair of table marks"
    write_atomically(README, text)


def table(report: dict[str, Any]) -> str:
    """Share of right answers with its 95 % interval: a row per slice, a column per arm; then latencies and verdict."""
    arms = {arm["name"]: arm["title"] for arm in report["arms"]}
    cells = {(cell["arm"], cell["slice"]): cell for cell in report["cells"]}
    rows = [["slice", "questions", *arms.values()], ["---", "---:", *["---"] * len(arms)]]
    for name in (*report["slices"], "overall"):
        shares = [cells[arm, name]["accuracy"] for arm in arms]
        rows.append([name, str(shares[0]["n"]), *map(_share, shares)])
    seconds = [
        f"{cells[arm, 'overall']['latency_p50_s']:.2f} / {cells[arm, 'overall']['latency_p95_s']:.2f}" for arm in arms
    ]
    rows.append(["p50 / p95 seconds", "", *seconds])
    failed = [str(cells[arm, "overall"]["num_failed"]) for arm in arms]
    rows.append(["failed calls", "", *failed])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", f"> {report['recommendation']['headline']}", ""])


def _share(share: dict[str, Any]) -> str:
    return f"{share['share']:.2f} ({share['low']:.2f} to {share['high']:.2f})"


if __name__ == "__main__":
    update(Path(sys.argv[1]))
