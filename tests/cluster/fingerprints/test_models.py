"""A model's digest follows what decides its answers, and nothing else."""

from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model, find_model


def test_the_digest_follows_weights_but_not_the_card(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"1")
    before = digest_model(str(tmp_path))
    (tmp_path / "README.md").write_text("card")
    assert digest_model(str(tmp_path)) == before
    (tmp_path / "model.safetensors").write_bytes(b"2")
    assert digest_model(str(tmp_path)) != before


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"holds no config\.json"):
        find_model(str(tmp_path))
    with pytest.raises(TandemError, match="does not exist"):
        digest_model(str(tmp_path / "missing"))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TandemError, match="holds no weights"):
        find_model(str(tmp_path))


def test_a_hub_id_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(TandemError, match="neither a folder nor reachable"):
        digest_model("nobody/no-such-model")
