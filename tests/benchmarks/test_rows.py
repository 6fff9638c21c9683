"""The training benchmark's rows have the lengths that its result names."""

import json
from pathlib import Path
from statistics import median

from benchmarks.rows import LONGEST, MEDIAN, write_rows


def test_lengths_are_log_normal_around_the_median(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in write_rows(tmp_path / "rows.jsonl", 2000).read_text().splitlines()]
    lengths = [len(row["prompt"].split()) - 1 + len(row["completion"].split()) for row in rows]
    assert min(lengths) >= 8 and max(lengths) == LONGEST
    assert abs(median(lengths) - MEDIAN) < 0.1 * MEDIAN
    assert sum(lengths) / len(lengths) > 1.15 * MEDIAN, "a long tail"


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    first, again = (write_rows(tmp_path / name, 20).read_bytes() for name in "ab")
    assert first == again != write_rows(tmp_path / "c", 20, seed=1).read_bytes()
