"""Steps that are measured one after the other: each with a time limit, its figures reported as they are found.

The steps run in a process apart from the one that reports. A step that fails, hangs or poisons the device ends that
process, and the remaining steps get a new one.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks import results

LEAST_S = 5.0
"""A step is not begun with less time than this."""


@dataclass(frozen=True)
class Figure:
    """One measured value; `target` reads like "<= 10" and holds for value / baseline where there is a baseline."""

    metric: str
    unit: str
    value: float
    target: str | None = None
    baseline: float | None = None
    baseline_name: str | None = None

    def row(self) -> dict[str, Any]:
        """The figure as a row of a result file."""
        value = _round(self.value)
        if self.baseline is None:
            return results.row(self.metric, self.unit, value, self.target)
        name = self.baseline_name or ""
        return results.ratio_row(self.metric, self.unit, value, _round(self.baseline), name, self.target)


@dataclass(frozen=True)
class Note:
    """Something that a reader of the figures must know, such as a package that is absent."""

    text: str


class StepSkipped(Exception):
    """The step cannot be run here; says what is missing."""


class StepFailed(Exception):
    """What the step looked at is not as it has to be; says what was seen."""


Reports = Iterator[Figure | Note]


@dataclass(frozen=True)
class Step:
    """`run` takes what the program hands to every step, and yields figures and notes as it finds them."""

    name: str
    title: str
    limit_s: float
    run: Callable[[Any], Reports]
    in_new_process: bool = False
    """Whether memory that earlier steps left behind would change its figures."""


@dataclass
class Outcome:
    """What is known about one step: `passed` is None where it was skipped."""

    step: str
    title: str
    passed: bool | None = True
    seconds: float = 0.0
    reason: str | None = None
    """Why it failed or was skipped."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def close(self) -> "Outcome":
        """The outcome once nothing more is added: a target that is not met is a failure."""
        missed = [figure["metric"] for figure in self.figures if results.is_met(figure) is False]
        if missed and self.passed:
            self.passed, self.reason = False, f"target not met: {', '.join(missed)}"
        return self

    def line(self) -> str:
        return json.dumps(asdict(self))


def choose_steps(steps: Sequence[Step], names: str | None) -> list[Step]:
    """The steps of these names, such as "A0,A4", in the order in which they are named; all without names.

    Raises:
        SystemExit: there is no step of a name.
    """
    if names is None:
        return list(steps)
    by_name = {step.name: step for step in steps}
    if unknown := sorted(set(names.split(",")) - set(by_name)):
        raise SystemExit(f"There is no step {', '.join(unknown)}; there are {', '.join(by_name)}.")
    return [by_name[name] for name in dict.fromkeys(names.split(","))]


def measure_steps(
    command: Sequence[str], steps: Sequence[Step], seconds: float, name: str, out: Path | None, is_measurement: bool
) -> int:
    """Run the steps and write what is known after each: the exit code, 1 where a step failed.

    Args:
        name: of the result file, which is written for a measurement only, unless `out` names another file.
    """

    def write(outcomes: list[Outcome]) -> None:
        from benchmarks.gpu.report import write_result

        if out or is_measurement:
            write_result(name, outcomes, out)

    outcomes = run_steps(command, steps, seconds, write)
    failed = [outcome.step for outcome in outcomes if outcome.passed is False]
    print(f"failed: {', '.join(failed)}" if failed else "no step failed", file=sys.stderr)
    return 1 if failed else 0


def run_steps(
    command: Sequence[str], steps: Sequence[Step], seconds: float, closed: Callable[[list[Outcome]], None]
) -> list[Outcome]:
    """Run every step within `seconds` altogether.

    Args:
        command: starts a process that calls `work`; the names of steps and a file descriptor are added to it.
        closed: called after each step with all outcomes so far.
    """
    deadline, outcomes, waiting = time.monotonic() + seconds, list[Outcome](), list(steps)
    while waiting:
        group = _next_group(waiting)
        for outcome in _run_group(command, group, deadline):
            outcomes.append(outcome.close())
            print(outcome.line(), flush=True)
            closed(outcomes)
        waiting = waiting[len(outcomes) - (len(steps) - len(waiting)) :]
    return outcomes


def _next_group(steps: Sequence[Step]) -> list[Step]:
    """The first steps, up to one that needs a process to itself."""
    ends = [number for number, step in enumerate(steps) if step.in_new_process and number > 0]
    alone = [1] if steps[0].in_new_process else []
    return list(steps[: min([*alone, *ends, len(steps)])])


def _run_group(command: Sequence[str], steps: Sequence[Step], deadline: float) -> Iterator[Outcome]:
    """The outcomes of steps in one process: of fewer than all where one of them ends it."""
    first = steps[0]
    if deadline - time.monotonic() < LEAST_S:
        yield Outcome(first.name, first.title, None, reason="no time was left for it")
        return
    reader, writer = os.pipe()
    names = ",".join(step.name for step in steps)
    process = subprocess.Popen([*command, "--work", names, str(writer)], pass_fds=[writer], start_new_session=True)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            yield from _follow(_Lines(pipe), steps, deadline)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _follow(lines: "_Lines", steps: Sequence[Step], deadline: float) -> Iterator[Outcome]:
    for step in steps:
        began, outcome = time.monotonic(), Outcome(step.name, step.title)
        limit = min(step.limit_s, deadline - began)
        ended = False
        while not ended:
            left = began + limit - time.monotonic()
            line = lines.read(left)
            if line is None:
                why = f"ran past its limit of {limit:.0f} s" if not lines.ended else "its process ended"
                outcome.passed, outcome.reason, ended = False, why, True
            else:
                ended = _take(outcome, json.loads(line))
        outcome.seconds = round(time.monotonic() - began, 2)
        yield outcome
        if outcome.passed is False:
            return  # what it left in the process would be measured with the next one


def _take(outcome: Outcome, said: dict[str, Any]) -> bool:
    """Add a line that `work` wrote; whether it was the step's last."""
    match said:
        case {"figure": figure}:
            outcome.figures.append(figure)
        case {"note": note}:
            outcome.notes.append(note)
        case {"passed": passed, "reason": reason}:
            outcome.passed, outcome.reason = passed, reason
            return True
    return False


class _Lines:
    """Lines of a pipe, each waited for only so long."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._rest, self.ended = pipe, b"", False

    def read(self, seconds: float) -> bytes | None:
        """The next line; None where none comes in time, or none will come (`ended`)."""
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._pipe], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            more = self._pipe.read(1 << 16)
            if not more:
                self.ended = True
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def work(steps: Sequence[Step], writer: int, given: Any) -> None:
    """Run steps in this process, each until one fails; what is found goes to a file descriptor as lines of JSON."""
    with os.fdopen(writer, "w") as pipe:

        def say(line: dict[str, Any]) -> None:
            pipe.write(json.dumps(line) + "\n")
            pipe.flush()

        for step in steps:
            passed, reason = _run_step(step, given, say)
            say({"passed": passed, "reason": reason})
            if passed is False:
                return


def _round(value: float) -> float:
    """Six digits that count: an error of 1e-7 is not none."""
    return float(f"{value:.6g}")


def _run_step(step: Step, given: Any, say: Callable[[dict[str, Any]], None]) -> tuple[bool | None, str | None]:
    try:
        for each in step.run(given):
            say({"note": each.text} if isinstance(each, Note) else {"figure": each.row()})
    except StepSkipped as error:
        return None, str(error)
    except StepFailed as error:
        return False, str(error)
    except Exception as error:  # noqa: BLE001 - a step must not take the others with it, whatever it does
        traceback.print_exc(file=sys.stderr)
        return False, f"{type(error).__name__}: {error}"[:500]
    return True, None
