"""`make demo` from a fresh clone: how long each part takes, and the most memory that all its processes held at once.

python -m benchmarks.demo          # clones this checkout's last commit into a temporary folder; about ten minutes
"""

import json
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psutil

from benchmarks.results import row, write

ROOT = Path(__file__).resolve().parent.parent
MARK = "TANDEM_BENCHMARK_MARK"
SAMPLE_S = 2.0


def main() -> None:
    """Run, sample, and write benchmarks/results/demo-<machine>.json."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "tandem"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = {**os.environ, MARK: uuid.uuid4().hex}
        setup_s, _ = measured(["make", "setup"], clone, environment)
        demo_s, peak_gib = measured(["make", "demo"], clone, environment)
        run = next((clone / "runs" / "quickstart").glob("compare-*"))
        stages = json.loads((run / "manifest.json").read_text())["stages"]
    rows = [
        row("demo_with_setup_s", "s", round(setup_s + demo_s, 1), "<= 600"),
        row("peak_memory_gib", "GiB", round(peak_gib, 2), "<= 12"),
        row("setup_s", "s", round(setup_s, 1), "<= 130"),
    ]
    before = 0.0
    for name, at in stages.items():
        rows.append(row(f"stage_{name}_s", "s", round(at - before, 1)))
        before = at
    notes = (
        "Fresh clone, empty storage, package cache as it was. Memory: proportional set sizes of all processes, summed."
    )
    print(write("demo", rows, notes))


def measured(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that a command took, and the peak of its processes' memory in GiB. Raises where it fails."""
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(command, cwd=folder, env=environment)
    while process.poll() is None:
        peak = max(peak, _memory(environment[MARK]))
        time.sleep(SAMPLE_S)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    return seconds, peak / 2**30


def _memory(mark: str) -> int:
    """Bytes held by every process that carries the mark, shared pages counted once."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                total += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return total


if __name__ == "__main__":
    main()
