"""Settings -> one Ray Serve application: a gateway, an engine for each base model, a retriever for the documents."""

from pathlib import Path

from ray import serve
from ray.serve import Application

from cluster.registry.registry import Registry
from cluster.storage.storage import Storage
from retrieval.config import RetrievalConfig
from serving.access.limiter import USAGE, Limiter
from serving.config import ServingConfig
from serving.deploy.serve_options import (
    BaseSource,
    engine_options,
    gateway_options,
    limiter_options,
    max_requests,
    retriever_device,
    retriever_options,
)
from serving.engine.engine import Engine, EngineSettings
from serving.engine.engine_args import Hardware, engine_kwargs
from serving.gateway.endpoint import Endpoint
from serving.gateway.settings import GatewaySettings
from serving.retriever import Retriever


def build_app(
    config: ServingConfig,
    bases: dict[str, BaseSource],
    storage: Storage,
    retrieval: RetrievalConfig | None,
    milvus_uri: str | None,
    hardware: Hardware,
    keys: Path | None,
    node: str | None = None,
    being_checked: frozenset[str] = frozenset(),
) -> Application:
    """The application, not yet started.

    `keys` is the folder of API keys; None lets everybody in. `node` is Ray's resource of the node that takes requests.
    """
    engines = {name: _engine(name, base, config, storage, hardware) for name, base in bases.items()}
    retriever = None
    if retrieval and milvus_uri:
        retriever = serve.deployment(Retriever, **retriever_options(config)).bind(
            retrieval, milvus_uri, retriever_device(config)
        )
    limiter = None
    if keys and config.redis_url is None:
        limiter = serve.deployment(Limiter, **limiter_options()).bind(keys / USAGE, config.request_timeout_s)
    settings = GatewaySettings(
        bases={name: base.digest for name, base in bases.items()},
        originals={name: base.original for name, base in bases.items() if base.original},
        being_checked=being_checked,
        adapters=storage.adapters,
        max_lora_rank=config.max_lora_rank,
        request_timeout_s=config.request_timeout_s,
        answer_without=config.on_retrieval_failure == "answer_without",
        prompt_tokens=retrieval.prompt_tokens if retrieval else 0,
        retrieval_timeout_s=2 * retrieval.timeout_s + 2 if retrieval else 0.0,
        max_requests=max_requests(config, len(bases)),
        drain_s=config.drain_s,
        num_engines=config.num_replicas.max,
        sleeps=config.num_replicas.min == 0,
        keys=keys,
        redis_url=config.redis_url,
        adapter_registry=config.adapter_registry or storage.adapters_url,
        key_registry=storage.keys_url if keys else None,
        logs=storage.logs,
        reports=storage.root,
        log_prompts=config.log_prompts,
        otlp_endpoint=config.otlp_endpoint,
    )
    return serve.deployment(Endpoint, **gateway_options(config, node)).bind(
        settings, engines, retriever, limiter, config.host, config.port
    )


def _engine(name: str, base: BaseSource, config: ServingConfig, storage: Storage, hardware: Hardware) -> Application:
    registry = Registry(storage.adapters)
    fitting = {base.digest, base.original}
    preload = [adapter for adapter in config.preload if registry.resolve(adapter).manifest.base_digest in fitting]
    settings = EngineSettings(
        name=name,
        source=base.source,
        engine_kwargs=engine_kwargs(config, hardware, base.max_positions),
        kind=hardware.kind,
        max_loaded_adapters=config.max_loaded_adapters,
        adapters=storage.adapters,
        preload=tuple(preload),
        adapter_registry=config.adapter_registry or storage.adapters_url,
    )
    return serve.deployment(Engine, **engine_options(config, hardware, name)).bind(settings)
