"""The result file of a GPU run: every figure of every step, and what did not pass."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.gpu.steps import Outcome
from cluster.fingerprints.provenance import describe_machine
from cluster.hardware import read_gpus


def write_result(benchmark: str, outcomes: Sequence[Outcome], out: Path | None = None) -> Path:
    """Write what is known so far as <benchmark>-<GPU>.json, or to `out`."""
    rows = [figure for outcome in outcomes for figure in outcome.figures]
    return results.write(benchmark, rows, describe(outcomes), describe_device(), out)


def describe(outcomes: Sequence[Outcome]) -> str:
    """Every step in a sentence, with what a reader of its figures must know."""
    said = []
    for outcome in outcomes:
        state = {True: "passed", False: "failed", None: "skipped"}[outcome.passed]
        reason = f" ({outcome.reason})" if outcome.reason else ""
        notes = f": {'; '.join(outcome.notes)}" if outcome.notes else ""
        said.append(f"{outcome.step} {outcome.title}, {outcome.seconds:.0f} s: {state}{reason}{notes}")
    return ". ".join(said)


def describe_device() -> str:
    """The GPUs with their driver, and the machine around them; the machine alone where it has none."""
    gpus = read_gpus()
    if not gpus:
        return describe_machine()
    number = f"{len(gpus)} x " if len(gpus) > 1 else ""
    return f"{number}{gpus[0].name}, driver {gpus[0].driver}, {describe_machine()}"
