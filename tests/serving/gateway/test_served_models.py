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
    check_adapter(published(registry), BASE)
    check_adapter(published(registry, prompt_hash=PROMPT_HASH), BASE)


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
        check_adapter(published(registry, **changed), BASE)
    assert (refused.value.status, refused.value.code) == (409, "adapter_refused")


def test_a_whole_model_is_409_and_says_how_to_serve_it(registry: Registry) -> None:
    found = published(registry, kind="merged", method="dora")
    with pytest.raises(ApiError) as refused:
        check_adapter(found, BASE)
    assert (refused.value.status, refused.value.code) == (409, "adapter_refused")
    assert f"`serving.models: {{support: {found.path}}}`" in str(refused.value)


def test_the_engine_finds_the_folder_by_the_id_alone(registry: Registry) -> None:
    found = published(registry)
    assert adapter_folder(registry, found.engine_id) == found.path
