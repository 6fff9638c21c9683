"""What goes wrong with a store: credentials that expire, answers that are lost, a server that goes away or is slow."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.registry.mirror import Mirror, push_versions
from cluster.registry.registry import Registry, UnknownAdapter
from cluster.storage import buckets
from cluster.storage.buckets import Bucket, BucketUnreachable, open_bucket
from cluster.storage.storage import open_storage
from tests.cluster.registry.test_registry import FIELDS
from tests.cluster.s3 import Faults, faulty_server

URL = "s3://bucket/team"


@pytest.fixture(scope="module")
def server() -> Iterator[Faults]:
    with faulty_server() as faults:
        yield faults


@pytest.fixture
def bucket(server: Faults) -> Bucket:
    """Empty, and nothing goes wrong yet."""
    server.reset()
    return open_bucket(URL)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    for number in range(4):
        (folder / f"part-{number}.bin").write_bytes(b"weights" * 1000)
    return folder


def test_an_answer_that_is_lost_is_known_by_what_was_put(bucket: Bucket, server: Faults) -> None:
    server.lost_answers = 1
    assert bucket.create("numbers/v1.json", b"mine"), "the put that was tried again found its own"
    assert not bucket.create("numbers/v1.json", b"theirs")
    server.lost_answers = 1
    old = bucket.read("numbers/v1.json")
    bucket.replace("numbers/v1.json", old, b"changed")
    assert bucket.read("numbers/v1.json").content == b"changed"


def test_a_promotion_whose_answer_is_lost_is_made_once(bucket: Bucket, server: Faults, staging: Path) -> None:
    registry = Registry(staging.parent / "cache", bucket)
    for _ in range(2):
        registry.publish("support", staging, **FIELDS)
    registry.record_gates("support", 2, [{"name": "overall", "passed": False, "seen": "-0.1"}])
    server.lost_answers = 1
    registry.promote("support", 1)
    server.lost_answers = 1
    registry.promote("support", 2, "canary", despite="a trial")
    assert registry.shares("support") == {1: 1} and registry.before("support") == {1, 2}
    assert len(registry.gates_of("support", 2).despite) == 1


def test_credentials_that_expire_are_asked_for_again(
    bucket: Bucket, server: Faults, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment gives new ones when it is asked, as the endpoint for containers of a cloud does."""
    with credential_source() as source:
        source.use(monkeypatch, staging.parent / "token")
        bucket = open_bucket(URL)
        registry = Registry(staging.parent / "cache", bucket)
        assert registry.publish("support", staging, **FIELDS).version == 1
        server.expired |= set(source.given)
        assert registry.publish("support", staging, **FIELDS).version == 2
        assert len(source.given) == 2 and registry.resolve("support").version == 2


def test_credentials_that_nobody_renews_end_in_words_and_lose_nothing(
    bucket: Bucket, server: Faults, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "short")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    registry = Registry(staging.parent / "cache", open_bucket(URL))
    registry.publish("support", staging, **FIELDS)
    server.expired.add("short")
    with pytest.raises(BucketUnreachable, match="ExpiredToken") as raised:
        registry.publish("support", staging, **FIELDS)
    assert "Renew or correct the credentials" in raised.value.remedy
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fresh")
    assert registry.publish("support", staging, **FIELDS).version == 2
    assert [version.version for version in registry.versions("support")] == [1, 2]


@pytest.mark.parametrize("puts", [1, 2, 4, 5])
def test_a_store_that_goes_away_in_the_middle_shows_no_half_version(
    bucket: Bucket, server: Faults, staging: Path, puts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "RETRIES", 0)
    registry = Registry(staging.parent / "cache", open_bucket(URL))
    server.puts_left = puts
    with pytest.raises(BucketUnreachable, match="cannot be used"):
        registry.publish("support", staging, **FIELDS)
    server.puts_left = None
    assert registry.versions("support") == []
    with pytest.raises(UnknownAdapter):
        registry.resolve("support")
    again = registry.publish("support", staging, **FIELDS)
    assert again.version == (1 if puts == 1 else 2), "a number that was taken is not given again"
    assert registry.resolve("support").path.is_dir()


def test_a_push_that_broke_off_is_gone_on_with(
    bucket: Bucket, server: Faults, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "RETRIES", 0)
    made = Registry(staging.parent / "made")
    made.publish("support", staging, **FIELDS)
    server.puts_left = 3
    with pytest.raises(BucketUnreachable):
        push_versions(URL, made, "support")
    server.puts_left = None
    mirror = Mirror(URL, staging.parent / "copy")
    assert mirror.pull() == []
    assert push_versions(URL, made, "support") == ["support/v1", "support/aliases/live"] == mirror.pull()


def test_a_push_loses_no_history_of_who_promoted_there(bucket: Bucket, staging: Path) -> None:
    made = Registry(staging.parent / "made")
    for _ in range(3):
        made.publish("support", staging, promote=False, **FIELDS)
    made.promote("support", 1)
    push_versions(URL, made, "support")
    Registry(staging.parent / "cache", bucket).promote("support", 3)
    made.promote("support", 2)
    push_versions(URL, made, "support")
    assert Registry(staging.parent / "cache", bucket).before("support") == {1, 2, 3}


def test_a_pull_that_broke_off_leaves_nothing(
    bucket: Bucket, server: Faults, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry(staging.parent / "cache", bucket).publish("support", staging, **FIELDS)
    monkeypatch.setattr(buckets, "RETRIES", 0)
    there = Registry(staging.parent / "reader", open_bucket(URL)).resolve("support")
    server.expired.add("key")
    with pytest.raises(BucketUnreachable):
        _ = there.path
    assert not list((staging.parent / "reader").rglob("*.*"))
    server.expired.clear()
    assert (there.path / "part-0.bin").is_file()


def test_a_slow_store_is_waited_for(bucket: Bucket, server: Faults, staging: Path) -> None:
    server.delay_s = 0.5
    registry = Registry(staging.parent / "cache", bucket)
    began = time.monotonic()
    assert registry.publish("support", staging, **FIELDS).version == 1
    assert time.monotonic() - began > 3


def test_a_large_file_comes_piece_by_piece(bucket: Bucket, server: Faults, tmp_path: Path) -> None:
    content = bytes(range(256)) * (1 << 16)  # 16 MiB
    (tmp_path / "large").write_bytes(content)
    bucket.put("large", tmp_path / "large")
    server.requests.clear()
    bucket.download("large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content
    assert server.requests.count("GET /bucket/team/large") == 2


def test_a_disk_that_is_full_leaves_nothing_of_a_version(bucket: Bucket, staging: Path) -> None:
    """A limit on file sizes stands for a full disk: the kernel refuses the write in the middle."""
    Registry(staging.parent / "cache", bucket).publish("support", staging, **FIELDS)
    code = f"""
import resource, signal
from pathlib import Path
from cluster.storage.buckets import open_bucket
from cluster.errors import TandemError
from cluster.registry.registry import Registry
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    Registry(Path({str(staging.parent / "reader")!r}), open_bucket({URL!r})).resolve("support").path
except TandemError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in done.stdout and "TANDEM_CACHE" in done.stdout, done.stderr
    assert not list((staging.parent / "reader").rglob("*.*"))


def test_what_cannot_be_a_storage_is_refused_before_anything(
    bucket: Bucket, server: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(TandemError, match="NoSuchBucket") as raised:
        open_storage("s3://missing/team", tmp_path)
    assert "Make the bucket" in raised.value.remedy
    server.expired.add("key")
    with pytest.raises(TandemError, match="ExpiredToken"):
        open_storage(URL, tmp_path)
    server.expired.clear()
    monkeypatch.setattr(buckets, "RETRIES", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(TandemError, match="cannot be used"):
        open_storage(URL, tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(TandemError, match="TANDEM_CACHE"):
        open_storage(URL, tmp_path)


def test_a_storage_is_a_bucket_and_a_folder_of_this_machine(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_CACHE", str(tmp_path / "cache"))
    storage = open_storage(URL, tmp_path)
    assert storage.root.parent == tmp_path / "cache" and storage.root == open_storage(f"{URL}/", tmp_path).root
    assert storage.root != open_storage("s3://bucket/other", tmp_path).root
    assert (storage.adapters_url, storage.keys_url) == (f"{URL}/adapters", f"{URL}/keys")
    assert bucket.listed() == {}, "the probe is gone"


class Source(BaseHTTPRequestHandler):
    """Gives credentials of its own to each who asks."""

    def do_GET(self) -> None:
        given: list[str] = self.server.given  # type: ignore[attr-defined]
        given.append(f"key{len(given)}")
        told = {
            "AccessKeyId": given[-1], "SecretAccessKey": "secret", "Token": "token",
            "Expiration": "2099-01-01T00:00:00Z",
        }  # fmt: skip
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())

    def log_message(self, *_: object) -> None:
        pass


class credential_source:  # noqa: N801 - used as a function is
    """A server as clouds have it for their containers (AWS_CONTAINER_CREDENTIALS_FULL_URI)."""

    def __enter__(self) -> "credential_source":
        self._server = HTTPServer(("127.0.0.1", 0), Source)
        self.given: list[str] = []
        self._server.given = self.given  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def use(self, environment: pytest.MonkeyPatch, token: Path) -> None:
        token.write_text("ask")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.delenv(name)
        port = self._server.server_port
        environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{port}/credentials")
        environment.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
