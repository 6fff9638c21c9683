"""What a version is checked on before it goes live: its base, and each served copy of it in other numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from tandem.commands.serve import adapters
from tandem.pipeline.served_copies import checks_of_training, models_to_check, served_base
from tandem.project.project import Project, load

CHECK: dict[str, Any] = {"num_rows": 3, "num_tokens": 30, "max_difference": 0.4, "tolerance": 0.1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("bf16", "fp8", "awq", "unrelated"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"name": name}))
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    return tmp_path


def project_in(folder: Path, serving: dict[str, Any]) -> Project:
    (folder / "tandem.yaml").write_text(json.dumps({"model": "./bf16", "storage": "./runs", "serving": serving}))
    return load(folder / "tandem.yaml")


def publish(project: Project, kind: str = "adapter") -> AdapterVersion:
    files = project.path.parent / "files"
    files.mkdir(exist_ok=True)
    (files / "adapter_model.safetensors").write_bytes(b"weights")
    return Registry.of(project.storage).publish(
        "support", files, promote=False, base_model="bf16", base_digest=digest_model(project.model), method="lora",
        rank=8, template_hash="t", prompt_hash=None, data_digest="d", fingerprint="f", metrics={}, kind=kind,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("serving", "checked", "base"),
    [
        ({}, ["base"], "base"),
        ({"models": {"base": "./bf16", "other": "./unrelated"}}, ["base"], "base"),
        ({"models": {"base": "./unrelated"}}, ["base"], None),
        ({"models": {"base": "./fp8"}, "copy_of": {"base": "./bf16"}}, ["base copy"], None),
        ({"models": {"base": "./bf16", "fast": "./fp8"}, "copy_of": {"fast": "./bf16"}}, ["base", "fast copy"], "base"),
        (
            {"models": {"a": "./fp8", "b": "./awq", "c": "./bf16"}, "copy_of": {"a": "./bf16", "b": "./bf16"}},
            ["c", "a copy", "b copy"],
            "c",
        ),
        ({"models": {"base": "./bf16", "x": "./awq"}, "copy_of": {"x": "./unrelated"}}, ["base"], "base"),
    ],
)
def test_what_is_checked(folder: Path, serving: dict[str, Any], checked: list[str], base: str | None) -> None:
    project = project_in(folder, serving)
    version = publish(project)
    found = models_to_check(project, version)
    assert checks_of_training(project) == found, "it is known before the training"
    assert served_base(project, version) == base
    assert [each.name + " copy" * bool(each.digest) for each in found] == checked
    assert all(each.digest in (None, digest_model(each.source)) for each in found)


def test_a_whole_model_is_checked_as_it_is(folder: Path) -> None:
    project = project_in(folder, {"models": {"base": "./fp8"}, "copy_of": {"base": "./bf16"}})
    version = publish(project, kind="merged")
    assert [(each.source, each.digest) for each in models_to_check(project, version)] == [(str(version.path), None)]


def test_what_a_served_copy_would_refuse_does_not_go_live(folder: Path) -> None:
    project = project_in(folder, {"models": {"base": "./fp8"}, "copy_of": {"base": "./bf16"}})
    version, registry = publish(project), Registry.of(project.storage)
    with pytest.raises(TandemError, match="has not passed its parity check on base"):
        adapters.promote(project, "support@1")
    with pytest.raises(TandemError, match="has not passed its parity check on base"):
        adapters.split(project, "support", ["1=100"])
    copy = digest_model(str(folder / "fp8"))
    registry.record_copy_check("support", 1, copy, mean_difference=0.3, **CHECK)
    with pytest.raises(TandemError, match="has not passed"):
        adapters.promote(project, "support@1")
    registry.record_copy_check("support", 1, copy, mean_difference=0.03, **CHECK)
    assert adapters.promote(project, "support@1") == "support@1 is live."
    assert registry.shares("support") == {version.version: 1}
    text, (row,) = adapters.list_versions(project)
    assert "parity 0.0300" in text
    assert [check["copy_digest"] for check in row["parity_on_copies"]] == [copy]


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        ({"copy_of": {"base": "./bf16"}}, "not among `models`"),
        ({"models": {"base": "./bf16"}, "copy_of": {"base": "./bf16"}}, "a copy of itself"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(folder: Path, serving: dict[str, Any], message: str) -> None:
    with pytest.raises(TandemError, match=message):
        project_in(folder, serving)
