"""Adapters in a bucket of a real S3 server, pushed from one folder and pulled into another."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from obstore.store import S3Store

from cluster.errors import TandemError
from cluster.registry.mirror import Mirror, push_versions
from cluster.registry.registry import Registry, UnknownAdapter
from tests.cluster.registry.test_registry import FIELDS
from tests.cluster.s3 import s3_server

URL = "s3://bucket/team/adapters"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str) -> S3Store:
    """Empty."""
    httpx.post(f"{server}/moto-api/reset").raise_for_status()
    httpx.put(f"{server}/bucket").raise_for_status()
    return S3Store("bucket", client_options={"allow_http": True})


@pytest.fixture
def made(tmp_path: Path) -> Registry:
    """Two versions of `support`, the first of them live."""
    files = tmp_path / "files"
    (files / "plots").mkdir(parents=True)
    registry = Registry(tmp_path / "made")
    for number in range(2):
        (files / "adapter_model.safetensors").write_bytes(b"weights" * (number + 1))
        (files / "plots" / "loss.png").write_bytes(b"png")
        registry.publish("support", files, promote=number == 0, **FIELDS)
    return registry


def test_a_copy_is_the_registry_and_follows_its_alias(bucket: S3Store, made: Registry, tmp_path: Path) -> None:
    assert push_versions(URL, made, "support") == ["support/v1", "support/v2", "support/aliases/live"]
    assert push_versions(URL, made, "support") == []
    copy = Registry(tmp_path / "copy")
    mirror = Mirror(URL, copy.root)
    assert mirror.pull() == ["support/v1", "support/v2", "support/aliases/live"]
    assert mirror.pull() == []
    assert copy.versions("support") == [
        found.__class__(copy.root / "support" / f"v{found.version}", found.manifest)
        for found in made.versions("support")
    ]
    for version in (1, 2):
        kept, copied = (each.root / "support" / f"v{version}" for each in (made, copy))
        files = sorted(file.relative_to(kept) for file in kept.rglob("*") if file.is_file())
        assert files == sorted(file.relative_to(copied) for file in copied.rglob("*") if file.is_file())
        assert all((kept / file).read_bytes() == (copied / file).read_bytes() for file in files)
    assert copy.resolve("support").version == 1
    made.promote("support", 2)
    assert push_versions(URL, made, "support") == ["support/aliases/live"] == mirror.pull()
    assert copy.resolve("support").version == 2
    made.split("support", {1: 90, 2: 10})
    push_versions(URL, made, "support")
    mirror.pull()
    assert copy.shares("support") == {1: 90, 2: 10}


def test_a_version_that_is_damaged_is_not_taken_and_what_is_live_stays(
    bucket: S3Store, made: Registry, tmp_path: Path
) -> None:
    push_versions(URL, made, "support")
    copy = Registry(tmp_path / "copy")
    Mirror(URL, copy.root).pull()
    (tmp_path / "files" / "adapter_model.safetensors").write_bytes(b"new")
    made.publish("support", tmp_path / "files", **FIELDS)
    push_versions(URL, made, "support")
    bucket.put("team/adapters/support/v3/adapter_model.safetensors", b"damaged")
    mirror = Mirror(URL, copy.root)
    assert mirror.pull() == []
    assert "support/v3" in mirror.refused and copy.resolve("support").version == 1
    with pytest.raises(UnknownAdapter):
        copy.get("support", 3)
    assert not [path for path in (copy.root / "support").iterdir() if path.name.startswith(".")]


def test_files_that_are_malformed_are_left_with_the_reason(bucket: S3Store, made: Registry, tmp_path: Path) -> None:
    push_versions(URL, made, "support")
    mirror = Mirror(URL, tmp_path / "copy")
    mirror.pull()
    bucket.put("team/adapters/support/aliases/live.json", b"[1")
    bucket.put("team/adapters/support/v3/manifest.json", b"no json")
    assert mirror.pull() == []
    assert set(mirror.refused) == {"support/aliases/live.json", "support/v3"}
    assert Registry(tmp_path / "copy").resolve("support").version == 1


def test_another_version_of_the_same_number_is_refused(bucket: S3Store, made: Registry, tmp_path: Path) -> None:
    push_versions(URL, made, "support")
    other = Registry(tmp_path / "other")
    (tmp_path / "files" / "adapter_model.safetensors").write_bytes(b"theirs")
    other.publish("support", tmp_path / "files", **FIELDS)
    with pytest.raises(TandemError, match="another support@1"):
        push_versions(URL, other, "support")


def test_names_that_lead_out_of_the_folder_are_left(
    bucket: S3Store, made: Registry, tmp_path: Path, server: str
) -> None:
    push_versions(URL, made, "support")
    httpx.put(f"{server}/bucket/team/adapters/x/y", content=b"{}").raise_for_status()
    httpx.put(f"{server}/bucket/team/adapters/support/aliases/a.txt", content=b"{}").raise_for_status()
    mirror = Mirror(URL, tmp_path / "copy" / "deep")
    mirror.pull()
    assert {path.name for path in (tmp_path / "copy" / "deep").iterdir()} == {"support"}
    httpx.put(f"{server}/bucket/team/adapters/%2E%2E/evil/v1/manifest.json", content=b"{}").raise_for_status()
    with pytest.raises(TandemError):
        mirror.pull()
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"deep"}


def test_a_store_that_is_not_there_is_told_and_what_is_here_stays(
    bucket: S3Store, made: Registry, tmp_path: Path, server: str
) -> None:
    push_versions(URL, made, "support")
    mirror = Mirror(URL, tmp_path / "copy")
    mirror.pull()
    httpx.post(f"{server}/moto-api/reset").raise_for_status()
    with pytest.raises(TandemError, match="cannot be used: NoSuchBucket"):
        mirror.pull()
    assert Registry(tmp_path / "copy").resolve("support").version == 1
    with pytest.raises(TandemError, match="cannot be used: NoSuchBucket"):
        push_versions("s3://missing/x", made, "support")
    assert json.loads((tmp_path / "copy" / "support" / "aliases" / "live.json").read_text()) == {"version": 1}
