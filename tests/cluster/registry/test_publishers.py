"""Publishers, promoters and readers of one bucket, each a process or thread of its own, on a real S3 server."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.registry.registry import Registry
from cluster.storage.buckets import Bucket, open_bucket
from tests.cluster.registry.test_registry import FIELDS
from tests.cluster.s3 import store


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with store() as address:
        yield address


@pytest.fixture
def bucket(url: str, request: pytest.FixtureRequest) -> Bucket:
    """Empty."""
    return open_bucket(url).at(request.node.name.replace("_", "-"))


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def publisher(bucket: Bucket, folder: Path, count: int, num_files: int = 2) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.cluster.registry.publisher", bucket.url, str(folder), "support"]
    return subprocess.Popen([*command, str(count), str(num_files)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_eight_processes_publish_and_no_number_is_given_twice(bucket: Bucket, tmp_path: Path) -> None:
    publishers = [publisher(bucket, tmp_path / str(number), count=5) for number in range(8)]
    given = [int(line) for each in publishers for line in each.communicate(timeout=300)[0].split()]
    assert [each.returncode for each in publishers] == [0] * 8
    assert sorted(given) == list(range(1, 41))
    registry = Registry(tmp_path / "reader", bucket)
    found = registry.versions("support")
    assert [each.version for each in found] == list(range(1, 41))
    for each in found:  # fetched, and held against its manifest
        assert {file.name for file in each.path.iterdir()} == {"part-0.bin", "part-1.bin", "manifest.json"}
    assert len({each.manifest.content_digest for each in found}) == 40


@pytest.mark.slow
def test_who_is_killed_leaves_nothing_to_be_seen_and_its_number_is_never_given_again(
    bucket: Bucket, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "reader", bucket)
    half: set[int] = set()
    for number in range(3):
        victim = publisher(bucket, tmp_path / f"victim {number}", count=1, num_files=60)
        while not (begun := numbers(bucket) - half - published(registry)):
            assert victim.poll() is None
            time.sleep(0.005)
        os.kill(victim.pid, signal.SIGKILL)
        victim.communicate()
        half |= begun
    assert half and not half & published(registry)
    publishers = [publisher(bucket, tmp_path / str(number), count=3) for number in range(4)]
    given = [int(line) for each in publishers for line in each.communicate(timeout=300)[0].split()]
    assert len(given) == len(set(given)) == 12 and not half & set(given)
    assert published(registry) == set(given)
    assert max(given) <= 12 + len(half)


def numbers(bucket: Bucket) -> set[int]:
    return {
        int(key.removeprefix("support/numbers/v").removesuffix(".json")) for key in bucket.glob("support/numbers/*")
    }


def published(registry: Registry) -> set[int]:
    return {each.version for each in registry.versions("support")}


def test_promoters_lose_nothing_of_one_another_and_readers_see_whole_versions(
    bucket: Bucket, staging: Path, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "maker", bucket)
    for _ in range(12):
        registry.publish("support", staging, promote=False, **FIELDS)
    registry.promote("support", 1)
    done, seen, failed = threading.Event(), set[int](), list[BaseException]()

    def read(number: int) -> None:
        try:
            while not done.is_set():
                version = Registry(tmp_path / f"reader {number}", bucket).resolve("support")
                assert (version.path / "adapter_model.safetensors").read_bytes() == b"weights"
                seen.add(version.version)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    def promote(versions: range) -> None:
        for version in versions:
            Registry(tmp_path / "promoter", bucket).promote("support", version)

    readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    promoters = [threading.Thread(target=promote, args=(range(first, 13, 3),)) for first in (2, 3, 4)]
    for thread in [*readers, *promoters]:
        thread.start()
    for thread in promoters:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not failed
    assert registry.before("support") == set(range(1, 13)), "each promotion is in the history of the next"
    assert seen <= set(range(1, 13)) and registry.resolve("support").version in (10, 11, 12)


def test_what_two_machines_record_of_one_version_is_all_kept(bucket: Bucket, staging: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "a", bucket)
    registry.publish("support", staging, **FIELDS)
    registry.publish("support", staging, promote=False, **FIELDS)
    registry.record_gates("support", 2, [{"name": "overall", "passed": False, "seen": "-0.1"}])

    def pass_by(number: int) -> None:
        Registry(tmp_path / str(number), bucket).promote("support", 2, f"{number}", despite=f"reason {number}")

    threads = [threading.Thread(target=pass_by, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gates = registry.gates_of("support", 2)
    assert gates and sorted(each.reason for each in gates.despite) == [f"reason {number}" for number in range(6)]


def test_one_of_many_takes_what_can_be_taken_once(bucket: Bucket) -> None:
    for number in range(5):
        won: list[bool] = []
        start = threading.Barrier(8)

        def take(me: int, key: str = f"key-{number}", won: list[bool] = won, start: threading.Barrier = start) -> None:
            start.wait()
            won.append(bucket.create(key, f"{me}".encode()))

        threads = [threading.Thread(target=take, args=(me,)) for me in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False] * 7 + [True]


def test_a_condition_that_no_longer_holds_refuses(bucket: Bucket) -> None:
    assert bucket.create("other", b"1") and not bucket.create("other", b"2")
    old = bucket.read("other")
    assert old and bucket.replace("other", old, b"3")
    assert not bucket.replace("other", old, b"4"), "it has changed since it was read"
    bucket.delete("other")
    assert bucket.read("other") is None and not bucket.replace("other", old, b"5")
    bucket.delete("other")
