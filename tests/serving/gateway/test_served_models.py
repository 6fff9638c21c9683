"""Which version an adapter's name stands for, and which versions are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.registry.registry import AdapterVersion, Registry
from retrieval.prompt import PROMPT_HASH
from serving.api.errors import ApiError
from serving.engine.engine import adapter_folder
from serving.gateway.served_models import ServedBase, check_adapter, find_adapter

BASE = ServedBase("base", "digest", "template", max_lora_rank=32)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "adapters")


def published(registry: Registry, **changed: Any) -> AdapterVersion:
    staging = registry.root.parent / "staging"
    staging.mkdir(exist_ok=True)
    (staging / "adapter_config.json").write_text(json.dumps(changed))
    fields: dict[str, Any] = {
        "base_model": "m",
        "base_digest": "digest",
        "method": "lora",
        "rank": 16,
        "template_hash": "template",
        "prompt_hash": None,
        "data_digest": "d",
        "fingerprint": "f",
        "metrics": {},
    }
    return registry.publish("support", staging, **fields | changed)


def test_live_is_the_alias_and_a_number_is_itself(registry: Registry) -> None:
    published(registry)
    published(registry, rank=8)
    assert find_adapter(registry, "support", None).version == 2
    assert find_adapter(registry, "support", 1).version == 1
    registry.promote("support", 1)
    assert find_adapter(registry, "support", None).version == 1


@pytest.mark.parametrize(("name", "version"), [("nobody", None), ("support", 9), ("..", None), ("aliases", 1)])
def test_unknown_ones_are_404(registry: Registry, name: str, version: int | None) -> None:
    published(registry)
    with pytest.raises(ApiError) as refused:
        find_adapter(registry, name, version)
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


def test_a_broken_manifest_is_refused(registry: Registry) -> None:
    found = published(registry)
    (found.path / "manifest.json").write_text("{")
    with pytest.raises(ApiError) as refused:
        find_adapter(registry, "support", None)
    assert refused.value.status == 409


def test_what_fits_is_served(registry: Registry) -> None:
    check_adapter(registry, published(registry), BASE)
    check_adapter(registry, published(registry, prompt_hash=PROMPT_HASH), BASE)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"base_digest": "other"}, "other weights"),
        ({"template_hash": "other"}, "chat template"),
        ({"prompt_hash": "other"}, "retrieved passages"),
        ({"rank": 64}, "max_lora_rank"),
    ],
)
def test_what_does_not_fit_is_409_with_the_reason(registry: Registry, changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as refused:
        check_adapter(registry, published(registry, **changed), BASE)
    assert (refused.value.status, refused.value.code) == (409, "adapter_refused")


COPY = ServedBase("fast", "copy", "template", max_lora_rank=32, original="digest")
CHECK: dict[str, Any] = {"num_rows": 3, "num_tokens": 30, "max_difference": 0.4, "tolerance": 0.1}


def refusal(registry: Registry, version: AdapterVersion, base: ServedBase) -> str:
    with pytest.raises(ApiError) as refused:
        check_adapter(registry, version, base)
    assert (refused.value.status, refused.value.code) == (409, "adapter_refused")
    return str(refused.value)


def test_a_copy_of_the_base_serves_what_passed_its_check_there(registry: Registry) -> None:
    version = published(registry)
    assert "it has not been checked there. Run `tandem adapters check support@1`" in refusal(registry, version, COPY)
    check_adapter(registry, version, COPY, {version.engine_id})
    registry.record_copy_check("support", 1, "copy", mean_difference=0.2, **CHECK)
    assert "differ from the trainer's by 0.200 nats per token" in refusal(registry, version, COPY)
    registry.record_copy_check("support", 1, "copy", mean_difference=0.02, **CHECK)
    check_adapter(registry, version, COPY)


@pytest.mark.parametrize(
    "other",
    [
        ServedBase("fast", "another copy", "template", 32, original="digest"),
        ServedBase("fast", "copy", "template", 32, original="another original"),
        ServedBase("fast", "copy", "template", 32),
        ServedBase("fast", "copy", "another template", 32, original="digest"),
    ],
)
def test_a_check_is_of_one_version_on_one_copy(registry: Registry, other: ServedBase) -> None:
    version = published(registry)
    registry.record_copy_check("support", 1, "copy", mean_difference=0.02, **CHECK)
    assert refusal(registry, version, other)
    assert refusal(registry, published(registry, rank=8), COPY), "the next version has not been checked"


def test_being_checked_lets_in_no_adapter_of_another_model(registry: Registry) -> None:
    version = published(registry, base_digest="quite another")
    with pytest.raises(ApiError, match="other weights"):
        check_adapter(registry, version, COPY, {version.engine_id})


def test_a_whole_model_is_409_and_says_how_to_serve_it(registry: Registry) -> None:
    found = published(registry, kind="merged", method="dora")
    with pytest.raises(ApiError) as refused:
        check_adapter(registry, found, BASE)
    assert (refused.value.status, refused.value.code) == (409, "adapter_refused")
    assert f"`serving.models: {{support: {found.path}}}`" in str(refused.value)


def test_an_adapter_to_a_base_without_adapters_is_409_and_says_why(registry: Registry) -> None:
    with pytest.raises(ApiError, match=r"served without adapters.*`serving\.adapters`") as refused:
        check_adapter(registry, published(registry), ServedBase("base", "digest", "template", 32, has_adapters=False))
    assert (refused.value.status, refused.value.code) == (409, "adapter_refused")


def test_the_engine_finds_the_folder_by_the_id_alone(registry: Registry) -> None:
    found = published(registry)
    assert adapter_folder(registry, found.engine_id) == found.path
