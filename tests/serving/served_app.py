"""One served application for all slow tests: the quickstart model, a random adapter, a collection of six documents."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.config import ClusterConfig
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import Registry
from cluster.session import ray_session
from cluster.storage.storage import Storage
from retrieval.config import RetrievalConfig
from serving.config import ServingConfig
from tests.cluster.s3 import s3_server
from tests.ports import free_port
from tests.serving.collector import Collector, collector

MODEL = Path(__file__).parents[2] / "examples" / "quickstart" / "model"
ELEMENTS = {"Iron": 26, "Gold": 79, "Neon": 10, "Zinc": 30, "Argon": 18, "Tin": 50}
ADAPTER, COLLECTION = "support", "elements"
REGISTRY = "s3://bucket/adapters"
MAX_LOADED = 4
NUM_SEQS, QUEUED = 64, 160
CAPACITY = NUM_SEQS + QUEUED


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint and what it serves."""

    url: str
    config: ServingConfig
    storage: Storage
    model: str
    adapter: Path
    loaded_at_start: list[str]
    collector: Collector
    """What has been sent to it by the gateway and the engine."""

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def publish(self, name: str, files: Path | None = None, **changed: Any) -> int:
        """Another version of the adapter's files, or of these, under `name`; gives its number."""
        return publish(self.storage, name, files or self.adapter, **changed)


@pytest.fixture(scope="package")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    from ray import serve

    from retrieval.index.indexing import index_documents
    from retrieval.store.milvus_lite import local_server
    from serving.deploy.run import running_endpoint

    folder = tmp_path_factory.mktemp("served")
    storage = Storage(folder / "storage")
    tools = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}
    config = ServingConfig(
        port=free_port(),
        request_timeout_s=60,
        preload=[ADAPTER],
        max_loaded_adapters=MAX_LOADED,
        max_num_seqs=NUM_SEQS,
        max_ongoing_requests=NUM_SEQS,
        max_queued_requests=QUEUED,
        engine_kwargs=tools,
    )
    retrieval = RetrievalConfig(sources=[documents(folder / "docs")], timeout_s=5.0)
    adapter = random_adapter(folder / "adapter")
    publish(storage, ADAPTER, adapter)
    with s3_server(), collector() as spans, local_server(storage.milvus) as uri:
        index_documents(retrieval, COLLECTION, uri, lambda _: None)
        with (
            ray_session(ClusterConfig()),
            running_endpoint(
                config.model_copy(update={"otlp_endpoint": spans.url, "adapter_registry": REGISTRY}),
                str(MODEL),
                storage,
                retrieval,
                uri,
                lambda _: None,
            ) as url,
        ):
            engine = serve.get_deployment_handle("engine-base", "tandem")
            loaded = engine.loaded_adapters.remote().result()
            yield Endpoint(url, config, storage, str(MODEL), adapter, loaded, spans)


def documents(folder: Path) -> Path:
    folder.mkdir()
    for name, number in ELEMENTS.items():
        text = f"# {name}\n\nThe atomic number of {name} is {number}. {name} is a chemical element.\n"
        (folder / f"{name.lower()}.md").write_text(text)
    return folder


def random_adapter(folder: Path, std: float = 0.5) -> Path:
    """A PEFT adapter whose weights are drawn, not trained: it changes every answer; the less `std`, the less."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    base = AutoModelForCausalLM.from_pretrained(MODEL)
    tuned = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=std)
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return folder


def publish(storage: Storage, name: str, files: Path, **changed: Any) -> int:
    fields: dict[str, Any] = {
        "base_model": str(MODEL),
        "base_digest": digest_model(str(MODEL)),
        "method": "lora",
        "rank": json.loads((files / "adapter_config.json").read_text())["r"],
        "template_hash": hashlib.sha256((MODEL / "chat_template.jinja").read_bytes()).hexdigest(),
        "prompt_hash": None,
        "data_digest": "",
        "fingerprint": "",
        "metrics": {},
    }
    return Registry(storage.adapters).publish(name, files, **fields | changed).version
