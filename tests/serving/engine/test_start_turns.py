"""Engines of one machine start one after the other, once the GPU's memory is free."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from serving.engine.start_turns import has_free_memory, start_turn, wait_for_free_memory
from tests.serving.machines import GIB, H100, H200, Gpu

NAME = f"tandem-test-turn-{os.getpid()}"


def take_turn(name: str, to_test: Connection) -> None:
    to_test.send("asks")
    with start_turn(name):
        to_test.send("starts")
        time.sleep(60)


@pytest.fixture
def engines() -> Iterator[list[tuple[multiprocessing.process.BaseProcess, Connection]]]:
    context, started = multiprocessing.get_context("spawn"), []
    for _ in range(2):
        here, there = context.Pipe()
        process = context.Process(target=take_turn, args=(NAME, there), daemon=True)
        process.start()
        assert here.poll(30) and here.recv() == "asks"
        started.append((process, here))
        if len(started) == 1:
            assert here.poll(30) and here.recv() == "starts"
    yield started
    for process, _ in started:
        process.kill()
        process.join()
    for file in Path("/tmp").glob(f"{NAME}*"):
        file.unlink()


def test_the_next_engine_starts_when_the_one_before_has_ended(
    engines: list[tuple[multiprocessing.process.BaseProcess, Connection]],
) -> None:
    (first, _), (_, second) = engines
    assert not second.poll(0.5), "it waits"
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    assert second.poll(10) and second.recv() == "starts", "the kernel passed the turn on"


def test_memory_that_is_given_back_is_waited_for() -> None:
    looks = iter([[replace(H200, used_bytes=120 * GIB)], [replace(H200, used_bytes=60 * GIB)], [H200]])
    assert wait_for_free_memory(0.92, 1, lambda: next(looks), limit_s=5, poll_s=0)
    assert not wait_for_free_memory(0.92, 1, lambda: [replace(H200, used_bytes=GIB * 100)], limit_s=0.01, poll_s=0)


@pytest.mark.parametrize(
    ("gpus", "number", "is_free"),
    [
        ([], 1, True),
        ([H100] * 8, 8, True),
        ([replace(H100, used_bytes=40 * GIB), H100], 1, True),
        ([replace(H100, used_bytes=40 * GIB), H100], 2, False),
        ([H100] * 8, 16, True),
    ],
)
def test_as_many_gpus_are_free_as_the_engine_takes_here(gpus: list[Gpu], number: int, is_free: bool) -> None:
    assert has_free_memory(gpus, 0.92, number) is is_free
