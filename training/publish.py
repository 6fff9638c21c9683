"""A trained adapter becomes a version in the registry: what it was trained on, from what, and with what."""

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any, Literal

from cluster.digests import digest_json, digest_question
from cluster.registry import AdapterVersion, Registry
from cluster.storage import Storage
from training.config import TrainingConfig
from training.data import Row
from training.duplicates import minhash
from training.sources import digest_source

# Settings that say where things are or how a failure is met, and not what comes out.
_WITHOUT_EFFECT = {
    "data", "held_out_data", "adapter", "max_failures", "checkpoint_steps", "checkpoint_upload", "keep_checkpoints",
    "parity_tolerance", "mlflow", "ray_options",
}  # fmt: skip
_PACKAGES = ("torch", "transformers", "peft", "deepspeed")
_FORMAT = 2
_NUM_PERMUTATIONS = 64


def fingerprint(config: TrainingConfig, model: str, base_digest: str) -> str:
    """A digest of everything that decides the adapter: rows, settings, base weights and the packages that train.

    A base in a folder is known by its content alone, so that a project can be moved.

    Raises:
        TandemError: a source of `config.data` does not exist or cannot be read.
    """
    return digest_json({
        "format": _FORMAT,
        "data": digest_sources(config),
        "settings": config.model_dump(mode="json", exclude=_WITHOUT_EFFECT),
        "base": base_digest if Path(model).exists() else [model, base_digest],
        "packages": {package: importlib.metadata.version(package) for package in _PACKAGES},
    })  # fmt: skip


def digest_sources(config: TrainingConfig) -> str:
    """A digest of what is trained on and held out, with the weights: of files' bytes and of hub data sets' rows."""
    return digest_json([
        [[digest_source(source), source.weight] for source in sources]
        for sources in (config.data, config.held_out_data)
    ])  # fmt: skip


def write_trained(rows: list[Row], folder: Path) -> None:
    """trained.jsonl: for each row that was trained on its id, its sources, digests of messages and questions, and
    `minhash`, 64 numbers by which text that is nearly a row's is found (how they are computed: duplicates.minhash)."""
    (folder / "trained.jsonl").write_text("".join(json.dumps(_trained(row)) + "\n" for row in rows))


def _trained(row: Row) -> dict[str, Any]:
    questions = [digest_question(message["content"]) for message in row.messages if message["role"] == "user"]
    return {
        "id": row.id, "sha256": row.digest, "question_sha256": questions, "sources": list(row.sources),
        "minhash": minhash(row, _NUM_PERMUTATIONS).hashvalues.tolist(),
    }  # fmt: skip


def result_kind(config: TrainingConfig) -> Literal["adapter", "merged"]:
    """Whether an adapter is published or a whole model: vLLM loads neither DoRA nor modules to save as an adapter."""
    return "merged" if config.method in ("full", "dora") or config.modules_to_save else "adapter"


def template_hash(tokenizer: Any) -> str:
    """SHA-256 of the chat template's text."""
    return hashlib.sha256(tokenizer.get_chat_template().encode()).hexdigest()


def publish(
    storage: Storage,
    adapter: str,
    folder: Path,
    config: TrainingConfig,
    *,
    model: str,
    base_digest: str,
    fingerprint: str,
    template: str,
    prompt_hash: str | None,
    metrics: dict[str, float],
) -> AdapterVersion:
    """Publish the files of a finished training as the next version of `adapter`; live where no parity check is due."""
    return Registry(storage.adapters).publish(
        adapter,
        folder,
        promote=config.parity_tolerance is None,
        base_model=model,
        base_digest=base_digest,
        method=config.method,
        kind=result_kind(config),
        rank=config.rank,
        template_hash=template,
        prompt_hash=prompt_hash,
        data_digest=digest_sources(config),
        fingerprint=fingerprint,
        metrics=metrics,
    )
