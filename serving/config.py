"""The `serving` section of a project file."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from cluster.config import Name, Section


def _source(written: str, info: ValidationInfo) -> str:
    """An absolute folder where there is one beside the project file, else the hub id as written."""
    folder = Path((info.context or {}).get("folder", ".")) / Path(written).expanduser()
    return str(folder.resolve()) if folder.is_dir() or written.startswith((".", "/", "~")) else written


RESERVED_MODELS = ("embedding", "reranker")
"""Names of the models that retrieval uses, at the same endpoint."""


def _not_reserved(models: dict[str, str]) -> dict[str, str]:
    for name in RESERVED_MODELS:
        if name in models:
            raise ValueError(f"{name} is the name of a model of retrieval")
    return models


class Replicas(Section):
    """How many there may be."""

    min: int = Field(ge=0)
    max: int = Field(ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Replicas":
        if self.min > self.max:
            raise ValueError("min is above max")
        return self


def _replicas(written: Any) -> Any:
    """A plain number is both."""
    return {"min": written, "max": written} if type(written) is int else written


ModelSource = Annotated[str, AfterValidator(_source)]


class ServingConfig(Section):
    host: str = "127.0.0.1"
    """Address the endpoint listens on. The default is reachable from this machine only."""

    port: int = Field(default=8000, ge=1, le=65535)
    """TCP port of the endpoint."""

    models: Annotated[dict[Name, ModelSource], AfterValidator(_not_reserved)] = Field(default_factory=dict)
    """Base models by the name that requests use: a folder or a hub id each. Empty: `base` is the project's model."""

    copy_of: dict[Name, ModelSource] = Field(default_factory=dict)
    """Which of `models` are copies in other numbers (FP8, AWQ, GPTQ, INT8), and of which model: with
    `models: {base: Qwen/Qwen3-8B-FP8}`, `{base: Qwen/Qwen3-8B}`. An adapter that was trained on the original is served
    on the copy once its parity check on that copy has passed."""

    copy_tolerance: float = Field(default=0.1, gt=0)
    """An adapter is served on a copy of its base when the log-probabilities there are at most this far from the
    trainer's, in nats per answer token on average over held-out rows (docs/decisions/010-parity.md)."""

    max_model_len: int | None = Field(default=None, ge=16)
    """Longest prompt and answer together, in tokens. A model that was made for less is served with what it can.
    Default: 2048 on a CPU; on a GPU what the model was made for, or less where the key-value cache has no room for
    it."""

    max_num_seqs: int | None = Field(default=None, ge=1)
    """Requests that one engine computes in a batch; more wait inside the engine. Default: 64 on a CPU; on a GPU vLLM's
    own number for its memory, 256 or 1024."""

    adapters: bool = True
    """Serve adapters. Without them the engine has more memory for requests, and `dtype: float32` works on a GPU. A base
    whose architecture vLLM cannot adapt is served without adapters either way."""

    max_loras: int = Field(default=4, ge=1)
    """Different adapters in one batch. Each takes memory of its own from the start."""

    max_loaded_adapters: int = Field(default=16, ge=1)
    """Adapters that one replica keeps ready; beyond it the one unused for longest is unloaded."""

    adapter_registry: str | None = Field(default=None, pattern=r"^[a-z0-9]+://")
    """A bucket that published adapters are taken from, such as s3://bucket/adapters (`tandem adapters push` writes it);
    without it those in `storage` are served, also where that is a bucket."""

    preload: list[Name] = Field(default_factory=list)
    """Adapters whose live version is loaded at the start; the others are with their first request."""

    max_lora_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = 32
    """Highest rank of an adapter that can be loaded (the values that vLLM knows)."""

    num_gateways: int = Field(default=1, ge=1)
    """Processes that take requests. Those on one machine share its port."""

    num_replicas: Annotated[Replicas, BeforeValidator(_replicas)] = Replicas(min=1, max=1)
    """Engines per base model: a number, or `{min: 0, max: 4}` for as many as the load asks for. With `min: 0` the last
    one ends after five idle minutes, and the next request waits for a new one."""

    num_retrievers: Annotated[Replicas, BeforeValidator(_replicas)] = Replicas(min=1, max=1)
    """Processes that embed questions and search: a number, or `{min: 1, max: 4}`."""

    gpus_per_retriever: float = Field(default=0.0, ge=0, le=1)
    """GPUs of each of these processes, for questions' embeddings and the reranker: 0.25 lets four share one. With 0
    they compute on a CPU. An engine on the same GPU takes what is left of it."""

    max_ongoing_requests: int | None = Field(default=None, ge=1)
    """Requests that one replica works on at a time. Above `max_num_seqs` they wait inside the engine. Default: 64 on a
    CPU, twice `max_num_seqs` on a GPU."""

    max_queued_requests: int | None = Field(default=None, ge=0)
    """Requests that wait for a free replica; beyond it the answer is 429 at once. Default: 64 on a CPU, and on a GPU as
    many as one replica works on: then nobody who is let in waits longer than about twice as long as without a queue."""

    request_timeout_s: float = Field(default=120.0, gt=0)
    """Seconds from a request's arrival to the end of its answer; after that it is cancelled with 408."""

    drain_s: float = Field(default=20.0, ge=0, le=25)
    """Seconds that answers have to end when the endpoint is shut down; new requests get 503 meanwhile."""

    start_timeout_s: float | None = Field(default=None, gt=0)
    """Seconds until the endpoint must be ready. Default: 600 for each base model, and one more for every 100 MB of
    weights; an hour more where a model is still to be downloaded."""

    redis_url: str | None = Field(default=None, pattern=r"^(rediss?|unix)://")
    """Redis that counts the use of API keys, so that limits hold while a process of the cluster is replaced; without it
    one process counts."""

    log_prompts: bool = False
    """Write questions and answers into the access log, which has neither otherwise."""

    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """OpenTelemetry collector that gets traces over HTTP, such as http://localhost:4318/v1/traces."""

    on_retrieval_failure: Literal["error", "answer_without"] = "error"
    """When the document store is down: answer 503, or answer without passages and say so (`retrieval.failed`)."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of weights and activations. `auto` takes what the model's files say, and float32 on a CPU without
    instructions for bfloat16."""

    kv_cache_gib: float | None = Field(default=None, gt=0)
    """Memory for the key-value cache of each device, in GiB. Default: 1 on a CPU; on a GPU vLLM measures what is left
    (`gpu_memory_utilization`)."""

    gpus_per_engine: float | None = Field(default=None, gt=0, le=1)
    """Part of a GPU that an engine takes, such as 0.5 for two on one. Default: a whole GPU; where there are more base
    models than GPUs, as much as the memory plan gives each. Engines with a part start one after the other, on a CPU
    too."""

    tensor_parallel_across_nodes: bool = False
    """Allow `tensor_parallel_size` above the GPUs of a node. Every layer then waits for the network between nodes."""

    reasoning_parser: Annotated[str, Field(min_length=1)] | None = None
    """Which of vLLM's reasoning parsers takes the thinking of the served models out of their answers, such as `qwen3`
    or `deepseek_r1`: it then comes as `reasoning` beside `content`. Default: the thinking stays in the answer as the
    model writes it."""

    tool_call_parser: Annotated[str, Field(min_length=1)] | None = None
    """Which of vLLM's parsers reads calls of tools out of the served models' answers, such as `hermes` or `mistral`:
    they then come as `tool_calls` beside `content`. Default: a request with `tools` is refused."""

    engine_kwargs: dict[str, Any] = Field(default_factory=dict)
    """vLLM's own engine arguments, passed on as they are. One that Tandem sets itself is an error."""

    @model_validator(mode="after")
    def _copies_are_served(self) -> "ServingConfig":
        for name, original in self.copy_of.items():
            if name not in self.models:
                raise ValueError(f"copy_of names {name}, which is not among `models`: name the copy there")
            if self.models[name] == original:
                raise ValueError(f"copy_of says that {name} is a copy of itself; name the model that it was made from")
        return self

    @property
    def own_host(self) -> str:
        """The address at which this machine reaches the endpoint, also where it listens on all of them."""
        return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def own_url(self) -> str:
        """The URL at which this machine reaches the endpoint, without /v1."""
        return (
            f"http://[{self.own_host}]:{self.port}" if ":" in self.own_host else f"http://{self.own_host}:{self.port}"
        )

    def for_one_model(self, source: str) -> "ServingConfig":
        """These settings where one engine serves one model, as `base`, and nothing is loaded beforehand."""
        alone = {"models": {"base": source}, "num_replicas": Replicas(min=1, max=1), "preload": [],
                 "adapter_registry": None, "copy_of": {}}  # fmt: skip
        return self.model_copy(update=alone)
