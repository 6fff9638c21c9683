"""From an adapter's name to a version that fits the served base, or the reason why it does not."""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.registry.registry import AdapterManifest, AdapterVersion, Registry, UnknownAdapter
from retrieval.prompt import PROMPT_HASH
from serving.errors import ApiError


@dataclass(frozen=True)
class ServedBase:
    """What an adapter is compared with."""

    name: str
    digest: str
    template_hash: str
    max_lora_rank: int


def find_adapter(registry: Registry, name: str, version: int | None, caller: str | None = None) -> AdapterVersion:
    """The version, or that of the alias `live` for this caller. Raises ApiError 404 where there is none."""
    try:
        return registry.resolve(name, str(version) if version else "live", caller)
    except UnknownAdapter as error:
        raise ApiError.of(error, 404, param="model", code="model_not_found") from error
    except (ValueError, KeyError) as error:
        raise ApiError(409, f"The manifest of the adapter {name} cannot be read.", code="adapter_refused") from error


def check_adapter(found: AdapterVersion, base: ServedBase) -> None:
    """Raises ApiError 409 where the version is no adapter, or was not made for what is served."""
    if found.manifest.kind == "merged":
        raise ApiError(
            409,
            f"{found.name}@{found.version} is a whole model ({found.manifest.method}), not an adapter to {base.name}. "
            f"Serve it as a base of its own: `serving.models: {{{found.name}: {found.path}}}`.",
            param="model",
            code="adapter_refused",
        )
    reasons = list(_mismatches(found.manifest, base))
    if reasons:
        raise ApiError(
            409,
            f"The adapter {found.name}@{found.version} is refused: {'; '.join(reasons)}. "
            f"Serve the model it was trained on ({found.manifest.base_model}), or train it again.",
            param="model",
            code="adapter_refused",
        )


def _mismatches(manifest: AdapterManifest, base: ServedBase) -> Iterator[str]:
    if manifest.base_digest != base.digest:
        yield f"it was trained on other weights than those that {base.name} serves"
    if manifest.template_hash != base.template_hash:
        yield "it was trained with another chat template"
    if manifest.prompt_hash is not None and manifest.prompt_hash != PROMPT_HASH:
        yield "it was trained with another format of retrieved passages"
    if manifest.rank > base.max_lora_rank:
        yield f"its rank is {manifest.rank} and serving.max_lora_rank is {base.max_lora_rank}"
