"""How fast many training rows are checked and planned, and in how much memory; a profile says where the time goes.

python -m benchmarks.training_data                      # 30,000 rows checked, a million planned; some minutes
python -m benchmarks.training_data --rows 1000000       # a million rows checked: about ten minutes on two quiet cores
python -m benchmarks.training_data --profile            # the functions that take the time, of 2,000 rows; printed
"""

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.results import row, write
from training.config import TrainingConfig
from training.data.encoding.encode import Encoding, encode_chunk
from training.data.packing import plan_epoch
from training.data.rows import read_rows
from training.data.tokenize import load_tokenizer

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart"
PROMPT_WORDS, ANSWER_WORDS = 20, 45
NUM_PLANNED, CAPACITY, MULTIPLE = 1_000_000, 4096, 8


def main() -> None:
    """Measure, and write benchmarks/results/training-data-<machine>.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = write_words(Path(scratch) / "rows.jsonl", 2000 if asked.profile else asked.rows)
        if asked.profile:
            print_profile(path)
            return
        checked, planned = measured("check", path), measured("plan", path)
    rows = [
        row("data_check_rows_per_s", "rows/s", round(asked.rows / checked["wall_s"]), ">= 2000"),
        row("data_check_cpu_ms_per_row", "ms", round(1000 * checked["cpu_s"] / asked.rows, 3)),
        row("data_check_main_memory", "MiB", checked["mib"], "<= 1024"),
        row("plan_1m_rows_s", "s", round(planned["wall_s"], 1)),
        row("plan_1m_rows_main_memory", "MiB", planned["mib"]),
    ]
    load = Path("/proc/loadavg").read_text().split()[0]
    notes = (
        f"{asked.rows:,} rows of {PROMPT_WORDS + ANSWER_WORDS} words through the whole check (formats, template, "
        f"tokens, digests, near-duplicates) with the quickstart's tokenizer; the start of Python and its libraries is "
        f"counted. "
        f"The plan is that of an epoch: log-normal lengths, packs of {CAPACITY} tokens, {MULTIPLE} to a step. Load "
        f"average at the end: {load}."
    )
    print(write("training-data", rows, notes))


def write_words(path: Path, num_rows: int) -> Path:
    """Prompts and answers of words from the quickstart's rows, drawn by a seed."""
    rng = Random(0)
    words = [word.strip('",.{}:[]') for word in (QUICKSTART / "data" / "train.jsonl").read_text().split()][:3000]
    with path.open("w") as file:
        for number in range(num_rows):
            prompt, answer = (" ".join(rng.choices(words, k=count)) for count in (PROMPT_WORDS - 1, ANSWER_WORDS))
            file.write(json.dumps({"prompt": f"{number} {prompt}", "completion": answer}) + "\n")
    return path


def measured(part: str, path: Path) -> dict[str, Any]:
    """The figures of a part that runs in a process of its own."""
    code = f"from benchmarks.training_data import run_{part} as run; run({str(path)!r})"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "wall_s": time.perf_counter() - began}


def run_check(path: str) -> None:
    """Check rows, and print what it took."""
    from training.data.data_check import check_training_data

    check_training_data(TrainingConfig(data=Path(path)), str(QUICKSTART / "model"))
    _print_usage()


def run_plan(_: str) -> None:
    """Plan an epoch of a million rows, and print what it took."""
    rng = Random(0)
    lengths = [int(min(1024, max(8, rng.lognormvariate(0, 0.8) * 90))) for _ in range(NUM_PLANNED)]
    plan_epoch(lengths, CAPACITY, MULTIPLE, seed=0, epoch=0)
    _print_usage()


def _print_usage() -> None:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu_s = sum(each.ru_utime + each.ru_stime for each in (own, children))
    print(json.dumps({"cpu_s": cpu_s, "mib": own.ru_maxrss // 1024}))


def print_profile(path: Path) -> None:
    """Where the time goes when rows are encoded, in one process."""
    rows = list(read_rows(TrainingConfig(data=path)).rows)
    encoding = Encoding(load_tokenizer(str(QUICKSTART / "model")), sure_above=1024, with_marks=True)
    encode_chunk(rows[:50], encoding)
    profile = cProfile.Profile()
    profile.runcall(encode_chunk, rows, encoding)
    pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
