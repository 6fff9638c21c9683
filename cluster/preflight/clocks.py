"""How far the clocks of nodes are apart."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cluster.preflight.finding import Finding, Status

NUM_ASKED = 5
# Object stores refuse requests at 15 minutes, tokens and certificates fail earlier; logs are hard to read at seconds.
APART_S, TOO_FAR_S = 1.0, 30.0
REMEDY = "Run a time service (chrony, or the cloud's own) on the node."


@dataclass(frozen=True)
class ClockOffset:
    """Seconds by which another clock is ahead of this one; it may be wrong by half the way there and back."""

    ahead_s: float
    uncertain_s: float

    @property
    def least_s(self) -> float:
        """Seconds that they are apart for certain."""
        return max(0.0, abs(self.ahead_s) - self.uncertain_s)


def measure_offset(
    ask: Callable[[], float], clock: Callable[[], float] = time.time, num_asked: int = NUM_ASKED
) -> ClockOffset:
    """That of a clock which `ask` reads; of several looks the quickest is the surest (Cristian, 1989)."""
    offsets = []
    for _ in range(num_asked):
        sent = clock()
        there = ask()
        back = clock()
        offsets.append(ClockOffset(there - (sent + back) / 2, (back - sent) / 2))
    return min(offsets, key=lambda one: one.uncertain_s)


def check_clocks(offsets: dict[str, ClockOffset]) -> Iterator[Finding]:
    """A line for each node, against the machine that asks."""
    for node, one in offsets.items():
        text = f"{one.ahead_s:+.3f} s against the machine that asks, ± {one.uncertain_s:.3f} s"
        values = {"ahead_s": round(one.ahead_s, 4), "uncertain_s": round(one.uncertain_s, 4)}
        status: Status = "failed" if one.least_s > TOO_FAR_S else "warning" if one.least_s > APART_S else "ok"
        yield Finding("clock", status, text, "" if status == "ok" else REMEDY, node, values)
