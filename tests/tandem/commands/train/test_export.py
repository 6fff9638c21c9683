"""A version is exported whole or not at all: as an adapter, or merged into the base it was trained on."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from tandem.commands.train.export import export_version
from tandem.project.project import Project, load
from tests.training.conftest import write_model
from training.config import TrainingConfig
from training.model.model import load_model
from training.publish.weights import save_adapter

TOKENS = torch.arange(8, 60)[None]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_model(tmp_path / "base", torch.float32)
    (tmp_path / "tandem.yaml").write_text(f"project: small\nmodel: {tmp_path / 'base'}\n")
    return load(tmp_path / "tandem.yaml")


@pytest.fixture
def version(project: Project, tmp_path: Path) -> AdapterVersion:
    tuned = load_model(project.model, TrainingConfig(precision="fp32", rank=4), torch.device("cpu"))
    state = {name: torch.randn_like(p) * 0.1 for name, p in tuned.named_parameters() if p.requires_grad}
    save_adapter(tuned, state, project.model, tmp_path / "staging")
    return Registry(project.storage.adapters).publish(
        "support", tmp_path / "staging", base_model=project.model, base_digest=digest_model(project.model),
        method="lora", rank=4, template_hash="t", prompt_hash=None, data_digest="d", fingerprint="f", metrics={},
    )  # fmt: skip


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(TOKENS).logits


@pytest.mark.parametrize("name", ["support", "support@1"])
def test_an_adapter_is_exported_as_it_is(project: Project, version: AdapterVersion, tmp_path: Path, name: str) -> None:
    to = tmp_path / "new" / "folder"
    assert export_version(project, name, to, merged=False).version == 1
    assert {file.name: file.read_bytes() for file in to.iterdir()} == {
        file.name: file.read_bytes() for file in version.path.iterdir()
    }
    assert [path.name for path in to.parent.iterdir()] == ["folder"]


def test_a_merged_export_is_the_base_with_its_adapter(
    project: Project, version: AdapterVersion, tmp_path: Path
) -> None:
    to = tmp_path / "merged"
    to.mkdir()
    export_version(project, "support@1", to, merged=True)
    base = AutoModelForCausalLM.from_pretrained(project.model)
    before = logits(base)
    expected = logits(PeftModel.from_pretrained(base, version.path))
    assert (expected - before).abs().mean() > 0.1
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(to)), expected, atol=1e-4, rtol=1e-4)


def test_a_folder_that_holds_something_is_left_alone(project: Project, version: AdapterVersion, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    with pytest.raises(TandemError, match="not an empty folder"):
        export_version(project, "support", tmp_path / "mine", merged=False)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["support@x", "support@", "support@9", "nobody"])
def test_unknown_versions_are_refused(project: Project, version: AdapterVersion, tmp_path: Path, name: str) -> None:
    with pytest.raises(TandemError):
        export_version(project, name, tmp_path / "to", merged=False)
    assert not (tmp_path / "to").exists()


def test_another_base_is_refused(project: Project, version: AdapterVersion, tmp_path: Path) -> None:
    write_model(tmp_path / "base", torch.bfloat16)
    with pytest.raises(TandemError, match="other weights"):
        export_version(project, "support", tmp_path / "to", merged=True)
    assert not (tmp_path / "to").exists()


def test_a_merge_that_fails_leaves_nothing(project: Project, version: AdapterVersion, tmp_path: Path) -> None:
    (version.path / "adapter_model.safetensors").write_bytes(b"cut off")
    before = set(tmp_path.iterdir())
    with pytest.raises(Exception, match=r"(?i)header|safetensor"):
        export_version(project, "support", tmp_path / "to", merged=True)
    assert set(tmp_path.iterdir()) == before
