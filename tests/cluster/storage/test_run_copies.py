"""A run's folder and its copy in a bucket, on a real S3 server: nothing twice, nothing stale, one process at a time."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.storage import buckets
from cluster.storage.buckets import BucketUnreachable, open_bucket
from cluster.storage.run_copies import HELD, RunClaim, RunCopy
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from tests.cluster.s3 import Faults, faulty_server

URL = "s3://bucket/team"


@pytest.fixture(scope="module")
def started() -> Iterator[Faults]:
    with faulty_server() as faults:
        yield faults


@pytest.fixture
def server(started: Faults) -> Faults:
    """Empty, and nothing goes wrong yet."""
    started.reset()
    return started


def copy_of(folder: Path) -> RunCopy:
    return RunCopy(open_bucket(URL).at("run"), folder)


def test_what_changes_is_sent_once_and_brought_once(server: Faults, tmp_path: Path) -> None:
    here, there = copy_of(tmp_path / "here"), copy_of(tmp_path / "there")
    (here.folder / "adapter").mkdir(parents=True)
    (here.folder / "adapter" / "weights").write_bytes(b"1")
    (here.folder / "metrics.jsonl").write_text("1\n")
    for hidden in (".hidden", "lock", "checkpoints/step-1/shard"):
        (here.folder / hidden).parent.mkdir(parents=True, exist_ok=True)
        (here.folder / hidden).write_text("stays here")
    assert here.push() == ["adapter/weights", "metrics.jsonl"] and here.push() == []
    assert sorted(there.pull()) == ["adapter/weights", "metrics.jsonl"] and there.pull() == []
    assert there.push() == []
    with (there.folder / "metrics.jsonl").open("a") as file:
        file.write("2\n")
    assert there.push() == ["metrics.jsonl"] == here.pull("metrics.jsonl", "*.npz")
    assert (here.folder / "metrics.jsonl").read_text() == "1\n2\n"
    here.remove("adapter/weights")
    assert not (here.folder / "adapter" / "weights").exists()
    assert copy_of(tmp_path / "third").pull() == ["metrics.jsonl"]


def test_a_store_that_is_away_for_a_while_costs_nothing(
    server: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "RETRIES", 0)
    copy = copy_of(tmp_path / "here")
    copy.folder.mkdir()
    with copy.kept_up(every_s=0.05):
        (copy.folder / "a").write_text("a")
        until(lambda: "run/a" in open_bucket(URL).listed())
        server.expired.add("key")
        (copy.folder / "b").write_text("b")
        before = len(server.requests)
        until(lambda: len(server.requests) > before)
        server.expired.clear()
    assert set(open_bucket(URL).listed()) == {"run/a", "run/b"}
    with pytest.raises(BucketUnreachable), copy.kept_up(every_s=60):
        (copy.folder / "c").write_text("c")
        server.expired.add("key")
    assert (copy.folder / "c").read_text() == "c"
    with pytest.raises(ZeroDivisionError), copy.kept_up(every_s=60):  # what went wrong first is told
        (copy.folder / "d").write_text("d")
        _ = 1 / 0
    server.expired.clear()
    assert copy.push() == ["c", "d"]


def test_a_run_is_held_by_one_machine(server: Faults) -> None:
    bucket = open_bucket(URL).at("run")
    with RunClaim(bucket, dead_after_s=1).held():
        time.sleep(1.5)  # longer than without a sign of life
        with pytest.raises(TandemError, match="still going on in another process"), RunClaim(bucket, 1).held():
            pass
    assert bucket.read(HELD) is None
    with RunClaim(bucket, 1).held():
        pass


def test_a_machine_that_gave_no_word_is_taken_for_dead_after_a_while(server: Faults) -> None:
    bucket = open_bucket(URL).at("run")
    bucket.put(HELD, b'{"host": "gone"}')
    began, taken, refused = time.monotonic(), list[float](), list[TandemError]()

    def take() -> None:
        try:
            with RunClaim(bucket, dead_after_s=1).held():
                taken.append(time.monotonic() - began)
                time.sleep(1)
        except TandemError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1 and taken[0] >= 1 and len(refused) == 2


def test_a_run_is_written_here_and_found_elsewhere(server: Faults, tmp_path: Path) -> None:
    first, second = (Storage(tmp_path / name, open_bucket(URL)) for name in ("first", "second"))
    run = Run.start(first, "town", "train", {"model": "m"})
    with run.held():
        run.log_metrics({"step": 1})
        run.finish("failed", error="x")
    second.fetch("town", "*/manifest.json")
    found = second.runs("town") / run.id
    assert {file.name for file in found.iterdir() if file.is_file()} == {"manifest.json", ".copied.json"}
    again = Run.reopen(found, second)
    assert (found / "metrics.jsonl").read_text() == '{"step": 1}\n'
    with again.held():
        again.log_metrics({"step": 2})
        again.finish("done")
    with run.held():  # the one that is open on this machine is the newer one here
        (run.path / "manifest.json").write_text("mine")
        first.fetch("town", "*/manifest.json")
        assert (run.path / "manifest.json").read_text() == "mine"
        run.finish("done")


def until(holds: "object") -> None:
    deadline = time.monotonic() + 60
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)
