"""A program whose steps end in every way, for the test of the program that runs them.

python -m tests.benchmarks.gpu_step_programs --work NAMES FILE_DESCRIPTOR
"""

import os
import sys
import time
from collections.abc import Iterator

from benchmarks.gpu.steps import Figure, Note, Step, StepFailed, StepSkipped, work


def passes(_: object) -> Iterator[Figure | Note]:
    yield Note("a note")
    yield Figure("seconds", "s", 1.5, "<= 2")


def misses(_: object) -> Iterator[Figure]:
    yield Figure("speed", "1/s", 8.0, ">= 1.0", 10.0, "another")


def raises(_: object) -> Iterator[Figure]:
    yield Figure("before", "s", 1.0)
    raise ValueError("broken")


def fails(_: object) -> Iterator[Figure]:
    yield from ()
    raise StepFailed("not as it should be")


def skips(_: object) -> Iterator[Figure]:
    yield from ()
    raise StepSkipped("needs CUDA")


def hangs(_: object) -> Iterator[Figure]:
    yield Figure("before", "s", 1.0)
    time.sleep(60)


def dies(_: object) -> Iterator[Figure]:
    yield Figure("before", "s", 1.0)
    os._exit(9)


def tells_process(_: object) -> Iterator[Figure]:
    yield Figure("process", "1", float(os.getpid()))


STEPS = {
    name: Step(name, name, 2.0, run, in_new_process=name == "alone")
    for name, run in {
        "passes": passes, "misses": misses, "raises": raises, "fails": fails, "skips": skips, "hangs": hangs,
        "dies": dies, "first": tells_process, "second": tells_process, "alone": tells_process, "after": tells_process,
    }.items()
}  # fmt: skip

if __name__ == "__main__":
    work([STEPS[name] for name in sys.argv[2].split(",")], int(sys.argv[3]), None)
