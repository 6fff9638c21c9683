"""A training never waits for a receiver of its curves; what is reachable gets every value, in order."""

import threading
import time
from collections.abc import Callable

import pytest

from training.trainer import background
from training.trainer.background import BackgroundWriter, RefusedValues, StepValues


class Receiver:
    """Keeps what it gets; `behave` is called before, and may wait or raise."""

    def __init__(self, behave: Callable[[list[StepValues]], None] = lambda batch: None) -> None:
        self.behave, self.steps, self.finished = behave, list[int](), False

    def send(self, batch: list[StepValues]) -> None:
        self.behave(batch)
        self.steps += [each.step for each in batch]

    def finish(self) -> None:
        self.finished = True


def writer_to(receiver: Receiver, notes: list[str]) -> BackgroundWriter:
    return BackgroundWriter("a receiver", receiver.send, notes.append, receiver.finish)


def test_a_slow_receiver_costs_the_training_nothing_and_gets_everything_in_order() -> None:
    receiver, notes = Receiver(lambda batch: time.sleep(0.05)), list[str]()
    writer = writer_to(receiver, notes)
    began = time.perf_counter()
    for step in range(1000):
        writer.put(step, {"loss": 1.0})
    assert time.perf_counter() - began < 0.5
    assert writer.close() == 0
    assert receiver.steps == list(range(1000))
    assert (receiver.finished, notes) == (True, [])


def test_a_receiver_that_comes_back_has_every_step_once_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_RETRY_S", 0.01)
    failures = iter([ConnectionError("refused\nand more"), TimeoutError("late"), ConnectionError("refused"), None])

    def unreachable(batch: list[StepValues]) -> None:
        if error := next(failures, None):
            raise error

    receiver, notes = Receiver(unreachable), list[str]()
    writer = writer_to(receiver, notes)
    for step in range(50):
        writer.put(step, {"loss": 1.0})
        time.sleep(0.002)
    assert writer.close() == 0
    assert receiver.steps == list(range(50))
    assert notes == [
        "a receiver does not take the curves (ConnectionError: refused). The training continues; metrics.jsonl has "
        "every value."
    ]


def test_a_receiver_that_never_answers_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MAX_WAITING", 10)
    hanging = threading.Event()
    writer = writer_to(Receiver(lambda batch: hanging.wait(60) and None), notes := list[str]())
    for step in range(100):
        writer.put(step, {"loss": 1.0})
    began = time.perf_counter()
    assert writer.close(timeout_s=0.2) == 100, "10 wait, and 90 had no room"
    assert time.perf_counter() - began < 2
    assert notes == []
    hanging.set()


def test_values_that_are_refused_are_counted_and_the_next_ones_sent() -> None:
    def picky(batch: list[StepValues]) -> None:
        if batch[0].step == 0:
            raise RefusedValues("no such run")

    receiver, notes = Receiver(picky), list[str]()
    writer = writer_to(receiver, notes)
    writer.put(0, {"loss": 1.0})
    while writer.num_lost == 0:
        time.sleep(0.01)
    writer.put(1, {"loss": 1.0})
    assert writer.close() == 1
    assert receiver.steps == [1]
    assert "no such run" in notes[0]
