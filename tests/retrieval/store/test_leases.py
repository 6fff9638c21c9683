"""One writer of a collection at a time: real processes, on Milvus Lite and on the real server."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

import pytest

from cluster.errors import TandemError
from retrieval.errors import TOKEN_VARIABLE, CollectionBusy, WriterReplaced
from retrieval.store import leases
from retrieval.store.collection import ChunkRow, CollectionSettings
from retrieval.store.leases import RENEWED_PROPERTY, WRITER_PROPERTY, Writer, hold_lease
from retrieval.store.store import Store

pytestmark = pytest.mark.slow
NUMBERS = count()
SETTINGS = CollectionSettings("a model", dimensions=4, chunk_tokens=100, chunking_version=1, bm25=False)
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["retrieval.store.leases", "pymilvus"])


@pytest.fixture
def name() -> str:
    return f"leased-{next(NUMBERS)}"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that a test can wait for."""
    monkeypatch.setattr(leases, "LEASE_S", 2.0)
    monkeypatch.setattr(leases, "RENEW_S", 0.5)
    monkeypatch.setattr(leases, "LOOK_S", 0.1)


class Process:
    """A writer in a process of its own, which holds the lease until it is killed or let go."""

    def __init__(self, uri: str, name: str) -> None:
        self._events, theirs = _FORKS.Pipe()
        self.process = _FORKS.Process(
            target=_hold, args=(uri, name, os.environ.get(TOKEN_VARIABLE, ""), theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.said = str(self._events.recv())

    def let_go(self) -> None:
        self._events.send("")
        self.process.join()

    def kill(self) -> None:
        assert self.process.pid
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


def _hold(uri: str, name: str, token: str, events: Connection) -> None:
    os.environ[TOKEN_VARIABLE] = token  # the processes were started before the session had one
    try:
        with hold_lease(Store(uri, timeout_s=30), name), suppress(EOFError):
            events.send("holds")
            events.recv()
    except TandemError as error:
        events.send(str(error))


def locks(store: Store, name: str) -> set[str]:
    return leases._locks(store, name)


def test_a_second_process_is_refused_by_whatever_address_it_comes(store: Store, name: str) -> None:
    first = Process(store.uri, name)
    assert first.said == "holds"
    other = store.uri.replace("127.0.0.1", "localhost")
    assert other != store.uri
    second = Process(other, name)
    assert f"{name} is being indexed by another process (process {first.process.pid} of " in second.said
    first.let_go()
    assert locks(store, name) == set()
    assert Process(other, name).said == "holds"


def test_a_writer_that_was_killed_blocks_nobody_on_its_machine(store: Store, name: str) -> None:
    killed = Process(store.uri, name)
    killed.kill()
    started = time.monotonic()
    with hold_lease(store, name):
        assert time.monotonic() - started < leases.LEASE_S / 2
        assert len(locks(store, name)) == 1


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.matrix)])
def test_of_many_at_once_one_writes_at_a_time(store: Store, name: str, rounds: int) -> None:
    for _ in range(rounds):
        inside: list[int] = []
        most, held, refused = [0], [0], [0]
        begin = threading.Barrier(4)

        def write(
            begin: threading.Barrier = begin, inside: list[int] = inside, most: list[int] = most,
            held: list[int] = held, refused: list[int] = refused,
        ) -> None:  # fmt: skip
            own = Store(store.uri, timeout_s=30)
            begin.wait()
            try:
                with hold_lease(own, name):
                    inside.append(1)
                    most[0] = max(most[0], len(inside))
                    time.sleep(0.2)
                    inside.pop()
                    held[0] += 1
            except CollectionBusy:
                refused[0] += 1
            finally:
                own.close()

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most[0] == 1 and held[0] >= 1 and held[0] + refused[0] == 4
        assert locks(store, name) == set()


def elsewhere(store: Store, name: str) -> tuple[str, Writer]:
    """A lock of a process on another machine, as it stands in the store."""
    writer = replace(Writer(), host="elsewhere", processes="another boot/1", user="somebody")
    lock = f"{leases.alias_of(name)}_w{writer.token}"
    store.create_empty(lock, {WRITER_PROPERTY: json.dumps(asdict(writer)), RENEWED_PROPERTY: "1"})
    return lock, writer


def test_a_writer_elsewhere_that_renews_is_believed(store: Store, name: str, short: None) -> None:
    lock, writer = elsewhere(store, name)
    stop = threading.Event()

    def renew() -> None:
        while not stop.wait(0.3):
            store.set_properties(lock, leases._kept(writer))

    renewing = threading.Thread(target=renew)
    renewing.start()
    said: list[str] = []
    with (
        pytest.raises(CollectionBusy, match=r"process .* of somebody on elsewhere"),
        hold_lease(store, name, said.append),
    ):
        pass
    stop.set()
    renewing.join()
    assert said == []
    assert locks(store, name) == {lock}
    store.remove(lock)


@pytest.mark.parametrize("damage", [{}, {WRITER_PROPERTY: "no JSON"}])
def test_a_writer_elsewhere_that_died_is_followed_after_its_lease(
    store: Store, name: str, short: None, damage: dict[str, str]
) -> None:
    lock, _ = elsewhere(store, name)
    if damage:
        store.set_properties(lock, damage)
    said: list[str] = []
    with hold_lease(store, name, said.append) as lease:
        assert locks(store, name) == {lease.lock} != {lock}
    assert len(said) == 1 and f"was writing to {name}: waiting up to 2 s" in said[0]


def test_a_writer_that_slept_too_long_writes_nothing(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    physical = store.ensure(name, SETTINGS)
    row = ChunkRow("id-1", "1.md", "hash", 1, 0, "T\ntext", [1.0, 0, 0, 0])
    monkeypatch.setattr(leases, "RENEW_S", 60.0)
    with hold_lease(store, name) as lease:
        store.upsert(physical, [row])
        lease.renewed -= leases.LEASE_S
        store.upsert(physical, [row])
        assert time.monotonic() - lease.renewed < leases.TRUSTED_S, "it looked, and its lock was there"
        store.remove(lease.lock)
        lease.renewed -= leases.LEASE_S
        writes: list[Callable[[], Any]] = [
            lambda: store.upsert(physical, [row]), lambda: store.delete(physical, ["id-1"]),
            lambda: store.publish(name, physical),
        ]  # fmt: skip
        for write in writes:
            with pytest.raises(WriterReplaced, match="took over"):
                write()
    store.upsert(physical, [row])  # outside of a lease nothing is looked at


def test_a_lock_is_renewed_and_keeps_its_writer(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.1)
    with hold_lease(store, name) as lease:
        seen = [store.properties(lease.lock) or {}]
        until = time.monotonic() + 30
        while time.monotonic() < until and len({each[RENEWED_PROPERTY] for each in seen}) < 3:
            seen.append(store.properties(lease.lock) or {})
        assert len({each[RENEWED_PROPERTY] for each in seen}) == 3
        assert {each[WRITER_PROPERTY] for each in seen} == {json.dumps(asdict(lease.writer))}


def test_a_lock_that_could_not_be_removed_blocks_its_own_process_no_longer(store: Store, name: str) -> None:
    """As where the store was away when a run ended."""
    with hold_lease(store, name) as first:
        store.create_empty(f"{first.lock[:-16]}{'0' * 16}", leases._kept(replace(first.writer, token="0" * 16)))
    with hold_lease(store, name) as lease:
        assert locks(store, name) == {lease.lock}


def test_the_lock_of_another_name_is_another_lock(store: Store, name: str) -> None:
    with hold_lease(store, name), hold_lease(Store(store.uri, timeout_s=30), f"{name}-w"):
        assert name not in store.collections() and f"{name}-w" not in store.collections()
        assert store.filled(name) == []


def test_a_process_is_known_to_have_ended_by_its_number_and_its_start() -> None:
    own = Writer()
    assert own.is_here and own.is_own and own.is_gone, "it holds nothing"
    assert replace(own, started="1").is_gone, "the number was given to another process"
    assert not replace(own, started="1", processes="another boot/1").is_gone
    assert not replace(own, started="1", processes="").is_gone
    process = _FORKS.Process(target=int)
    process.start()
    process.join()
    assert process.pid and replace(own, pid=process.pid).is_gone
    assert not replace(own, pid=os.getppid(), started=leases._started(os.getppid())[0]).is_gone
