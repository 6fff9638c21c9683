"""The keys of what was paid for are those that earlier versions gave the same inputs (computed at commit f74172e)."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.storage.runs import Run
from retrieval.config import RetrievalConfig
from serving.config import ServingConfig
from tandem.compare.cache_keys import (
    SAME_ANSWERS,
    SAME_PASSAGES,
    arm_version,
    engine_settings,
    hosted_version,
    index_version,
)
from tandem.compare.cache_keys import raft_rows_name as rows_name
from tandem.compare.check import CheckedData
from tandem.compare.steps import Comparison
from tandem.console import Console
from tandem.pipeline.runs import Inventory
from tandem.project.project import load
from tests.serving.machines import AUTOSCALED, CPU, ONE_A10, ONE_H200

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
SERVING = {"host": "0.0.0.0", "port": 8000, "num_replicas": {"min": 1, "max": 1}, "preload": ["a"],
           "adapter_registry": None, "max_model_len": 4096, "dtype": "auto"}  # fmt: skip
RETRIEVAL = {"uri": "http://milvus:19530", "top_k": 3, "mode": "hybrid", "live": False}
PACKAGES = {"vllm": "0.29.0", "torch": "2.13.0"}


@pytest.mark.parametrize(
    ("weights", "index", "key"),
    [
        (None, None, "909458a261d141da212ea743c9886ba356ccceac5214fc5a4521969e84988d04"),
        (None, "index-version", "08b52838791691abfb5cf73548ab16ab2071d25a43267057a94acbb589bad69c"),
        ("tuned-weights", None, "e551f78af38274d3445d8546d5749bfa8555fd2b7de3231c5022916627c94160"),
        ("tuned-weights", "index-version", "72d6c0e7bed90bb9d02d6e1b5d2815e5a56624c5adc16117a47f90ed1e63edda"),
        ("live-weights", "index-version", "19a5845ec028e64261927d5eac6cbb36e0271a2e2387f4c4ea183a7e3d77c675"),
    ],
)
def test_an_answer_is_found_again(weights: str | None, index: str | None, key: str) -> None:
    assert arm_version("base-digest", SERVING, PACKAGES, weights, index) == key


def test_an_answer_of_a_hosted_model_is_found_again_for_a_day() -> None:
    key = "ba67dd16cf050a5aa0e7b578c6f72c659f8d58bf5c799f6b8165f9b8514ed736"
    assert hosted_version("https://models.example/v1", "large", date(2026, 11, 30)) == key
    assert hosted_version("https://models.example/v1", "large", date(2026, 12, 1)) != key


def test_an_index_and_the_rows_made_from_it_are_found_again() -> None:
    key = "03fce3c063a888a0a35dfebfef207c35ec97a306e05ce1b6c39bc233c7d89db5"
    assert index_version("documents-digest", RETRIEVAL, "prompt-hash") == key
    assert rows_name("data-digest", "index-version", max_rows=100, seed=7) == "c3713cddfa799091"
    assert rows_name("data-digest", None, max_rows=100, seed=7) == "b4e917d375c800b5"


def test_settings_that_are_new_change_no_key_at_their_defaults() -> None:
    """Computed at commit 1e3fa57 from sources of all kinds."""
    sql = {"url": "sqlite:///a.db", "query": "SELECT * FROM a", "id": "id", "text": "body"}
    sources = ["docs", {"path": "s3://bucket/docs", "tenant": "acme"}, {"sql": sql},
               {"sitemap": "https://docs.example.com/sitemap.xml"}]  # fmt: skip
    # The weight that was the default. The one that is now finds other passages, so it has another key.
    written = {"sources": sources, "live": {"url": "http://search:9200", "index": "a"}, "dense_weight": 0.75}

    def version() -> str:
        config = RetrievalConfig.model_validate(written, context={"folder": Path("/srv/p")})
        return index_version("documents-digest", config.model_dump(mode="json"), "prompt-hash")

    key = "d08680a991740dc88740e9f5c8e92128277af87b9632bf0e547eb3c2dcdecc69"
    assert version() == key
    sql["markup"] = "markdown"
    assert version() != key


def test_the_documents_of_an_index_are_found_again(tmp_path: Path) -> None:
    inventory = Inventory(tmp_path, tmp_path / "indexing.json")
    inventory.write([("a.md", "1"), ("b \t.md", "2")])
    assert inventory.digest == "7c600acccca799d277f1da8475644209fe73cc857161e93d3367c34c5b5316ce"


def test_where_a_thing_is_reached_changes_no_key() -> None:
    moved = {**SERVING, "host": "127.0.0.1", "port": 1, "num_replicas": {"min": 4, "max": 4}, "preload": []}
    assert arm_version("b", moved, {}, None, None) == arm_version("b", SERVING, {}, None, None)
    elsewhere = {**RETRIEVAL, "uri": "local"}
    assert index_version("d", elsewhere, "p") == index_version("d", RETRIEVAL, "p")
    assert set(SAME_ANSWERS) <= ServingConfig.model_fields.keys()
    assert set(SAME_PASSAGES) <= RetrievalConfig.model_fields.keys()


FIRST_DEFAULTS = {
    "host": "127.0.0.1", "port": 8000, "models": {}, "max_model_len": 2048, "max_num_seqs": 64, "max_loras": 4,
    "max_loaded_adapters": 16, "adapter_registry": None, "preload": [], "max_lora_rank": 32, "num_gateways": 1,
    "num_replicas": {"min": 1, "max": 1}, "num_retrievers": {"min": 1, "max": 1}, "max_ongoing_requests": 64,
    "max_queued_requests": 64, "request_timeout_s": 120.0, "drain_s": 20.0, "start_timeout_s": 600.0,
    "redis_url": None, "log_prompts": False, "otlp_endpoint": None, "on_retrieval_failure": "error", "dtype": "auto",
    "kv_cache_gib": 1.0, "engine_kwargs": {},
}  # fmt: skip
"""The settings of `serving` as they were at commit f74172e, with their defaults."""


def test_settings_that_the_hardware_decides_now_have_the_key_that_their_former_default_had() -> None:
    assert engine_settings(ServingConfig(), CPU) == FIRST_DEFAULTS
    written = ServingConfig(max_model_len=512, kv_cache_gib=2)
    assert engine_settings(written, CPU) == {**FIRST_DEFAULTS, "max_model_len": 512, "kv_cache_gib": 2.0}


def test_a_key_follows_the_longest_request_and_not_how_many_there_are_at_a_time() -> None:
    """An autoscaler that has no GPU node up yet has the keys that it has once its nodes are up."""
    on_gpu = [engine_settings(ServingConfig(), hardware) for hardware in (AUTOSCALED, ONE_A10, ONE_H200)]
    assert on_gpu == [{**FIRST_DEFAULTS, "max_model_len": -1}] * 3
    assert engine_settings(ServingConfig(adapters=False), CPU)["adapters"] is False
    half, whole = (engine_settings(ServingConfig(gpus_per_engine=part), ONE_H200) for part in (0.5, None))
    assert arm_version("b", half, {}, None, None) == arm_version("b", whole, {}, None, None)


@dataclass(frozen=True)
class Adapter:
    """As much of a published version as its key is made of."""

    content_digest: str
    path: Path = Path("nowhere")

    @property
    def manifest(self) -> SimpleNamespace:
        return SimpleNamespace(content_digest=self.content_digest)


def compared(folder: Path, arms: str, serving: str = "", **weights: str) -> dict[str, str]:
    """The keys of the arms of a comparison with these adapters."""
    text = f"model: {QUICKSTART / 'model'}\nevaluation: {{arms: [{arms}]}}\nserving: {{{serving}}}\n"
    (folder / "tandem.yaml").write_text(text)
    project = load(folder / "tandem.yaml")
    run = Run(project.storage.runs("demo"), "compare", datetime.now(UTC).isoformat())
    adapters = {kind: Adapter(digest) for kind, digest in weights.items()}
    comparison = Comparison(project, CheckedData([]), run, "uri", Console(), adapters=adapters)  # type: ignore[arg-type]
    comparison.trainings.index_version = "index-version"
    return comparison.versions()


def test_each_arm_has_the_key_of_what_answers_for_it(tmp_path: Path) -> None:
    keys = compared(tmp_path, "base, few_shot, retrieval, tuned, tuned_retrieval, raft", tuned="t", raft="r", live="l")
    assert keys["base"] == keys["few_shot"]
    assert len({keys[arm] for arm in keys if arm != "few_shot"}) == len(keys) - 1 == 6


def test_a_copy_that_is_made_anew_in_its_place_is_asked_again(tmp_path: Path) -> None:
    copy = tmp_path / "fp8"
    copy.mkdir()
    (copy / "config.json").write_text("{}")
    keys = []
    for weights in (b"first", b"second"):
        (copy / "model.safetensors").write_bytes(weights)
        copies = f"models: {{base: fp8}}, copy_of: {{base: {QUICKSTART / 'model'}}}"
        keys.append(compared(tmp_path, "base, retrieval", serving=copies))
    assert keys[0].keys() == keys[1].keys() and not set(keys[0].values()) & set(keys[1].values())


@pytest.mark.parametrize(("arm", "other"), [("tuned", "tuned_retrieval"), ("tuned_retrieval", "tuned")])
def test_the_live_version_is_asked_as_the_new_version_is(tmp_path: Path, arm: str, other: str) -> None:
    """With documents where the new version is measured with documents, so that the same weights have the same key."""
    keys = compared(tmp_path, f"base, {arm}", tuned="same", live="same")
    assert keys["live"] == keys[arm]
    assert keys["live"] != compared(tmp_path, f"base, {other}", tuned="same", live="same")["live"]
