"""By what a comparison finds again what it paid for: kept answers, the state of the index, rows made for `raft`.

Every key is a digest of all that decides the thing, and of nothing else. A key that changes by accident makes users pay
for their answers a second time: tests/tandem/compare/test_cache_keys.py has the values.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from cluster.fingerprints.digests import digest_json
from cluster.hardware import Hardware
from serving.config import ServingConfig
from serving.engine.limits import CPU_SEQS, START_S, model_len_argument

SAME_ANSWERS = ("host", "port", "num_replicas", "preload", "adapter_registry", "copy_of", "copy_tolerance",
                "gpus_per_retriever", "gpus_per_engine")  # fmt: skip
"""Settings of `serving` that change no answer: where it is reached, how much it can take, what it refuses."""

FIRST_SETTINGS = frozenset({
    "host", "port", "models", "max_model_len", "max_num_seqs", "max_loras", "max_loaded_adapters", "adapter_registry",
    "preload", "max_lora_rank", "num_gateways", "num_replicas", "num_retrievers", "max_ongoing_requests",
    "max_queued_requests", "request_timeout_s", "drain_s", "start_timeout_s", "redis_url", "log_prompts",
    "otlp_endpoint", "on_retrieval_failure", "dtype", "kv_cache_gib", "engine_kwargs",
})  # fmt: skip
"""Settings of `serving` that are always in a key. One that was added later is left out at its default, so that earlier
keys stay."""

SAME_PASSAGES = ("uri", "rescan_s")
"""Settings of `retrieval` that change no passage: where the store is reached, and when a watch looks."""


def arm_version(
    model: str, serving: Mapping[str, Any], packages: Mapping[str, str], weights: str | None, index: str | None
) -> str:
    """What answers for an arm of the project's own endpoint.

    Args:
        model: the digest of the base model.
        serving: the settings of `serving`, as JSON values.
        packages: the versions of the packages that serve.
        weights: the digest of the adapter; None for the base model alone.
        index: `index_version` for an arm that retrieves, else None.
    """
    engine = {name: value for name, value in serving.items() if name not in SAME_ANSWERS}
    return digest_json([[model, engine, packages], weights, index])


def engine_settings(
    config: ServingConfig, hardware: Hardware, copies: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The settings of `serving` as JSON values, with former defaults where the project file has none.

    Only the longest request follows the hardware. How many requests an engine takes changes no answer, and it is not
    known while an autoscaler has no GPU node up: a key with it would change within a comparison.

    Args:
        copies: the digests of the served models that are copies in other numbers (`serving.copy_of`), by name.
    """
    unset = {
        "max_model_len": model_len_argument(config, hardware, None), "max_num_seqs": CPU_SEQS,
        "max_ongoing_requests": CPU_SEQS, "max_queued_requests": CPU_SEQS, "start_timeout_s": START_S,
        "kv_cache_gib": 1.0,
    }  # fmt: skip
    written = config.model_dump(mode="json")
    default = ServingConfig().model_dump(mode="json")
    kept = {name: value for name, value in written.items() if name in FIRST_SETTINGS or value != default[name]}
    kept |= {name: value for name, value in unset.items() if written[name] is None}
    return kept | ({"copies": dict(copies)} if copies else {})


def hosted_version(url: str, model: str, day: date, headers: Mapping[str, str] | None = None) -> str:
    """What answers for another endpoint. Nobody says when a hosted model changes: its answers are good for a day.

    Args:
        headers: those that may choose another model or version; keys are none of them.
    """
    return digest_json([url, model, f"{day:%Y-%m-%d}", *([dict(headers)] if headers else [])])


SINCE_DEFAULTS: dict[str, Any] = {
    "embedding_precision": "auto", "encoding": None, "markup": "plain", "languages": [], "accents": "fold",
    "parsing": {"processes": None, "timeout_s": 1800.0, "memory_gib": 4.0, "ocr": True},
}  # fmt: skip
"""Settings of `retrieval` and of its sources that earlier versions did not have: left out at the value that stands for
what those did."""


def index_version(documents: str, retrieval: Mapping[str, Any], prompt_hash: str) -> str:
    """What decides which passages are found and how they are shown.

    Args:
        documents: the digest of all documents, from the run's inventory.
        retrieval: the settings of `retrieval`, as JSON values.
    """
    settings = {name: value for name, value in _as_earlier(retrieval).items() if name not in SAME_PASSAGES}
    return digest_json([documents, settings, prompt_hash])


def _as_earlier(value: Any) -> Any:
    """Settings, and those within them, without the ones that are at their value in `SINCE_DEFAULTS`."""
    if isinstance(value, list | tuple):
        return [_as_earlier(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {name: each for name, each in value.items() if name not in SINCE_DEFAULTS or each != SINCE_DEFAULTS[name]}
    return {name: _as_earlier(each) for name, each in kept.items()}


def raft_rows_name(
    rows: str, index: str | None, max_rows: int | None, seed: int, read: Sequence[str] | None = None
) -> str:
    """The name (without suffix) of the file with the rows for `raft`.

    Args:
        rows: the digest of the training data's sources.
        index: `index_version`.
        read: the digests of the rows as they were read, where some are more than a question and an answer.
    """
    return digest_json([rows, index, max_rows, seed, *(read or ())])[:16]
