"""Values handed to a slow receiver by a thread of its own, so that a training never waits for one.

    writer = BackgroundWriter("MLflow at http://host", send, on_trouble=print)
    writer.put(step, {"loss": 1.5})
    writer.close()

Values keep their order. What the receiver does not take now is sent again until it does; meanwhile they wait in a queue
of bounded length, and what does not fit there is counted and left out. Trouble is said once.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MAX_WAITING = 100_000
"""Steps that wait at most, about 70 MB with ten values each."""

MAX_BATCH = 100
"""Steps that are handed over together."""

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0


@dataclass(frozen=True)
class StepValues:
    """The values of a step, and when they were recorded (milliseconds since 1970)."""

    step: int
    values: Mapping[str, float]
    time_ms: int = field(default_factory=lambda: int(1e3 * time.time()))


class RefusedValues(Exception):
    """The receiver refuses these values for good; they are not sent again."""


class BackgroundWriter:
    """Hands steps to `send` in batches, in their order.

    Args:
        name: the receiver, for people.
        send: takes a batch. What it raises is trouble that may pass, but for `RefusedValues`.
        on_trouble: gets a sentence for people, once.
        finish: is called in the thread after the last batch, unless the receiver never took it.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[list[StepValues]], None],
        on_trouble: Callable[[str], None],
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self._send, self._on_trouble, self._finish = name, send, on_trouble, finish
        self._waiting: deque[StepValues] = deque()
        self._changed = threading.Condition()
        self._closing, self._is_noted, self.num_lost = False, False, 0
        self._thread = threading.Thread(target=self._run, name=f"write to {name}", daemon=True)
        self._thread.start()

    def put(self, step: int, values: Mapping[str, float]) -> None:
        """Have the values of a step sent; returns at once, whatever the receiver does."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                self.num_lost += 1
                return
            self._waiting.append(StepValues(step, values))
            self._changed.notify()

    def close(self, timeout_s: float = 30.0) -> int:
        """Send what is left, for at most so many seconds. Returns the steps that the receiver did not take."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        with self._changed:
            return self.num_lost + len(self._waiting)

    def _run(self) -> None:
        pause_s = FIRST_RETRY_S
        while batch := self._next():
            try:
                self._send(batch)
            except RefusedValues as error:
                self._note(f"{error}")
                self.num_lost += len(batch)
            except Exception as error:  # noqa: BLE001  # whatever a receiver raises, the training continues
                self._note(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}")
                self._pause(pause_s)
                pause_s = min(2 * pause_s, LAST_RETRY_S)
                continue
            pause_s = FIRST_RETRY_S
            with self._changed:
                for _ in batch:
                    self._waiting.popleft()
        try:
            self._finish()
        except Exception as error:  # noqa: BLE001  # as above
            self._note(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}")

    def _next(self) -> list[StepValues]:
        """The first steps that wait, which stay in the queue until they are sent; empty once all are and it closes."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return [self._waiting[place] for place in range(min(MAX_BATCH, len(self._waiting)))]

    def _pause(self, seconds: float) -> None:
        """Wait before the next attempt; less where the training ends meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)
        if self._closing:
            time.sleep(min(seconds, FIRST_RETRY_S))

    def _note(self, reason: str) -> None:
        if not self._is_noted:
            self._is_noted = True
            self._on_trouble(f"{self.name} does not take the curves ({reason}). The training continues; {_KEPT}.")


_KEPT = "metrics.jsonl has every value"


def describe_lost(name: str, num_steps: int) -> str:
    """What a person should know of steps that a receiver did not take."""
    return f"{name} did not take the values of {num_steps} steps; {_KEPT}."
