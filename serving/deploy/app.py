"""Settings -> one Ray Serve application: a gateway, an engine for each base model, a retriever for the documents."""

from collections.abc import Mapping
from pathlib import Path

from ray import serve
from ray.serve import Application

from cluster.errors import TandemError
from cluster.hardware import Hardware
from cluster.registry.registry import Registry
from cluster.storage.storage import Storage
from retrieval.config import RetrievalConfig
from retrieval.search.search import digest_search_settings
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
from serving.engine.engine_args import engine_kwargs
from serving.engine.parallel import num_devices
from serving.engine.sharing import GpuShare
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
    shares: Mapping[str, GpuShare],
    keys: Path | None,
    node: str | None = None,
    being_checked: frozenset[str] = frozenset(),
) -> Application:
    """The application, not yet started.

    `shares` is what the engines of each base take of a GPU. `keys` is the folder of API keys; None lets everybody in.
    `node` is Ray's resource of the node that takes requests.
    """
    engines = {name: _engine(name, base, config, storage, hardware, shares[name]) for name, base in bases.items()}
    retriever = None
    if retrieval and milvus_uri:
        options = retriever_options(config, hardware, list(shares.values()))
        retriever = serve.deployment(Retriever, **options).bind(retrieval, milvus_uri, retriever_device(config))
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
        search_settings=digest_search_settings(retrieval, milvus_uri) if retrieval and milvus_uri else "",
        max_requests=max_requests(config, hardware, list(shares.values())),
        drain_s=config.drain_s,
        without_adapters=tuple(name for name, base in bases.items() if not base.has_adapters),
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


def _engine(
    name: str, base: BaseSource, config: ServingConfig, storage: Storage, hardware: Hardware, share: GpuShare
) -> Application:
    settings = EngineSettings(
        name=name,
        source=base.source,
        engine_kwargs=engine_kwargs(config, hardware, base.files.max_positions, share, base.has_adapters),
        kind=hardware.kind,
        max_loaded_adapters=config.max_loaded_adapters,
        adapters=storage.adapters,
        preload=_preloaded(name, base, config, Registry(storage.adapters)),
        adapter_registry=config.adapter_registry or storage.adapters_url,
        has_adapters=base.has_adapters,
        num_gpus=num_devices(config),
        shares_gpu=not share.is_whole,
    )
    return serve.deployment(Engine, **engine_options(config, hardware, name, share)).bind(settings)


def _preloaded(name: str, base: BaseSource, config: ServingConfig, registry: Registry) -> tuple[str, ...]:
    """The adapters of `serving.preload` that belong to this base.

    Raises:
        TandemError: the base is served without adapters.
    """
    fitting = {base.digest, base.original}
    adapters = [each for each in config.preload if registry.resolve(each).manifest.base_digest in fitting]
    if adapters and not base.has_adapters:
        raise TandemError(
            f"`serving.preload` names {', '.join(adapters)}, and {name} is served without adapters.",
            "Adapters of a base whose architecture vLLM can adapt, with `serving.adapters: true`.",
            "Take them out of `serving.preload`.",
        )
    return tuple(adapters)
