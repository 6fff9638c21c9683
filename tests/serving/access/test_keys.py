"""Keys: only their hashes are kept, and each opens what it is for."""

import time
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.storage.buckets import open_bucket
from serving.access import keys as keys_module
from serving.access.keys import Keys, Limits, follow_keys
from serving.api.model_name import ModelName
from tests.cluster.s3 import s3_server


def test_a_secret_finds_its_key_and_is_nowhere_on_disk(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    key, secret = keys.create("a", tenant="acme", labels=("hr",), limits=Limits(concurrency=2))
    other, other_secret = keys.create("b")
    assert Keys(tmp_path).find(secret) == key
    assert keys.find(other_secret) == other
    assert keys.all() == sorted([key, other], key=lambda each: (each.created, each.id))
    assert key.rights.tenant == "acme" and key.rights.labels == {"hr"}
    (file,) = tmp_path.glob(f"{key.id}.json")
    assert secret.split("_", 2)[2] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("secret", ["", "tdm_", "x" * 5000, "tdm_000000000000_" + "a" * 43, "../../etc/passwd", "é"])
def test_what_is_no_secret_finds_nothing(tmp_path: Path, secret: str) -> None:
    Keys(tmp_path).create("a")
    assert Keys(tmp_path).find(secret) is None


def test_the_right_id_with_another_secret_finds_nothing(tmp_path: Path) -> None:
    _, secret = Keys(tmp_path).create("a")
    assert Keys(tmp_path).find(secret[:-1] + ("A" if secret[-1] != "A" else "B")) is None


def test_a_revoked_key_is_refused_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(tmp_path)
    key, secret = keys.create("a")
    assert keys.find(secret)
    Keys(tmp_path).revoke(key.id)
    now = time.monotonic()
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: now + 1.01)
    assert keys.find(secret) is None
    with pytest.raises(TandemError, match="no key"):
        keys.revoke(key.id)
    with pytest.raises(TandemError, match="no key"):
        keys.revoke("../../x")


def test_a_key_opens_the_models_and_collections_it_names(tmp_path: Path) -> None:
    key, _ = Keys(tmp_path).create("a", models=("base:support",), collections=("docs",))
    asked = {
        "base:support": True, "base:support@7": True, "base:support@7+docs": True, "base": False, "base:other": False,
        "base:support+secret": False, "base+docs": False,
    }  # fmt: skip
    assert {name: key.may_ask(ModelName.parse(name)) for name in asked} == asked
    everything, _ = Keys(tmp_path).create("b")
    assert everything.may_ask(ModelName.parse("other:any@1+thing"))
    assert key.may_use(None, "docs") and not key.may_use(None, "docs+other") and not key.may_use(None, "docs+")
    both, _ = Keys(tmp_path).create("b", collections=("docs", "other", "third"))
    assert both.may_use("base", "other+docs") and not both.may_use("base", "docs+other+secret")
    nothing, _ = Keys(tmp_path).create("c", collections=())
    assert not nothing.may_ask(ModelName.parse("base+docs")) and nothing.may_ask(ModelName.parse("base"))


@pytest.mark.parametrize(
    "wrong", [{"models": ("base@7",)}, {"models": ("base:a@7",)}, {"models": ("A",)}, {"tenant": ""}, {"labels": ("",)}]
)
def test_a_key_that_could_never_work_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(TandemError):
        Keys(tmp_path).create("a", **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "0123456789ab.json").write_text("{}")
    with pytest.raises(TandemError, match=r"0123456789ab\.json is no key"):
        Keys(tmp_path).all()


def test_a_gateway_follows_the_keys_of_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server():
        made = Keys(open_bucket("s3://bucket/team/keys"))
        key, secret = made.create("a")
        (tmp_path / "usage").mkdir()
        (tmp_path / "usage" / "daily.json").write_text("{}")  # what the endpoint counts is its own
        follow_keys("s3://bucket/team/keys", tmp_path)
        assert Keys(tmp_path).find(secret) == key
        assert (tmp_path / f"{key.id}.json").stat().st_mode & 0o777 == 0o600
        _, other = made.create("b")
        made.revoke(key.id)
        follow_keys("s3://bucket/team/keys", tmp_path)
        assert Keys(tmp_path).find(secret) is None and Keys(tmp_path).find(other)
        assert (tmp_path / "usage" / "daily.json").exists()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(TandemError, match="cannot be used"):
        follow_keys("s3://bucket/team/keys", tmp_path)
    assert Keys(tmp_path).find(other), "while the bucket does not answer, the keys that are here stay"
