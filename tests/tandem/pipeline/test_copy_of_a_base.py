"""An adapter that was trained on bf16 weights, served on an FP8 copy of them after its parity check on that copy."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from cluster.config import ClusterConfig
from cluster.errors import TandemError
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import AdapterVersion, Registry
from cluster.session import ray_session
from serving.deploy.run import running_endpoint
from tandem.console import Console
from tandem.pipeline import parity_check
from tandem.pipeline.endpoint import serve
from tandem.project.project import Project, load
from tests.ports import free_port
from tests.serving.fp8_copy import write_fp8_copy
from tests.serving.served_app import MODEL, publish
from tests.serving.test_parity_replay import encoded
from tests.training.served import load_served
from training.publish.parity_rows import answer_logprobs, write_parity_rows

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with ray_session(ClusterConfig()):
        yield


def project_on(copy: Path, folder: Path) -> Project:
    (folder / "tandem.yaml").write_text(
        f"model: {MODEL}\nstorage: {folder / 'storage'}\n"
        f"serving: {{port: {free_port()}, models: {{base: {copy}}}, copy_of: {{base: {MODEL}}}}}\n"
    )
    return load(folder / "tandem.yaml")


def publish_trained(project: Project, folder: Path) -> AdapterVersion:
    """A version for the bf16 model with its log-probabilities in transformers, not live yet."""
    files = trained_adapter(folder / "adapter")
    tuned = load_served(str(MODEL), files)
    write_parity_rows(encoded(), files, answer_logprobs(tuned, encoded(), CPU), None, tuned.dtype)
    number = publish(project.storage, "support", files, promote=False)
    return Registry.of(project.storage).get("support", number)


def trained_adapter(folder: Path) -> Path:
    """An adapter that has learnt the rows: their answers are likely, as a trained model's are."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    tuned = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW((each for each in tuned.parameters() if each.requires_grad), lr=5e-3)
    rows = encoded()
    for _ in range(40):
        for row in range(len(rows)):
            tokens, is_answer = (torch.from_numpy(array.copy()) for array in rows.sequence(row))
            labels = tokens.long().masked_fill(~is_answer, -100)
            tuned(input_ids=tokens.long()[None], labels=labels[None]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def ask(url: str, model: str) -> httpx.Response:
    return httpx.post(
        f"{url}/completions", json={"model": model, "prompt": "What is iron?", "max_tokens": 4}, timeout=60
    )


def test_it_is_refused_until_it_is_checked_on_the_copy_and_served_from_then_on(tmp_path: Path) -> None:
    copy = write_fp8_copy(MODEL, tmp_path / "fp8")
    project, registry = project_on(copy, tmp_path), Registry(tmp_path / "storage" / "adapters")
    version = publish_trained(project, tmp_path)
    assert version.manifest.base_digest == digest_model(str(MODEL)) != digest_model(str(copy))
    with running_endpoint(project.serving, project.model, project.storage, None, None, print) as url:
        refused = ask(url, "base:support@1")
        assert refused.status_code == 409
        assert "it has not been checked there. Run `tandem adapters check support@1`" in refused.text
    parity_check.serve_and_check(project, version, Console())
    check = registry.copy_check_of(version, digest_model(str(copy)))
    assert check is not None and 0 < check.mean_difference <= project.serving.copy_tolerance
    assert registry.check_of("support", 1) is None, "the bf16 model is not served, so nothing was checked on it"
    print(f"FP8 copy: {check.mean_difference:.4f} nats per token on average, {check.max_difference:.3f} at most")
    with running_endpoint(project.serving, project.model, project.storage, None, None, print) as url:
        adapted, base = ask(url, "base:support"), ask(url, "base")
        assert (adapted.status_code, base.status_code) == (200, 200)
        assert adapted.json()["choices"][0]["text"] != base.json()["choices"][0]["text"]


def test_a_model_that_is_no_copy_does_not_pass(tmp_path: Path) -> None:
    other = write_fp8_copy(MODEL, tmp_path / "other", noise=1.0)
    project, registry = project_on(other, tmp_path), Registry(tmp_path / "storage" / "adapters")
    version = publish_trained(project, tmp_path)
    with pytest.raises(TandemError, match="on a copy of its base in other numbers") as raised:
        parity_check.serve_and_check(project, version, Console())
    assert "serving.copy_tolerance" in raised.value.accepted
    check = registry.copy_check_of(version, digest_model(str(other)))
    assert check is not None and not check.passed
    assert registry.shares("support") == {}, "nothing went live"


def test_a_comparison_checks_it_at_the_endpoint_that_it_has(tmp_path: Path) -> None:
    copy = write_fp8_copy(MODEL, tmp_path / "fp8")
    project, registry = project_on(copy, tmp_path), Registry(tmp_path / "storage" / "adapters")
    version = publish_trained(project, tmp_path)
    with serve(project, None, {"tuned": version}, Console()) as served:
        model = parity_check.ServedModel(served.url, served.models["tuned"])
        parity_check.ensure_parity(project, version, Console(), model)
    check = registry.copy_check_of(version, digest_model(str(copy)))
    assert check is not None and check.passed
    assert registry.shares("support") == {1: 1}, "it is live"
