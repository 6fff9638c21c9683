"""The base models that are served, by name: their engines, and which version of an adapter fits them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.registry.registry import AdapterManifest, AdapterVersion, Registry, UnknownAdapter
from retrieval.prompt import PROMPT_HASH
from serving.api.errors import ApiError
from serving.api.model_name import ModelName
from serving.gateway.settings import GatewaySettings

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle


@dataclass(frozen=True)
class ServedBase:
    """What an adapter is compared with."""

    name: str
    digest: str
    template_hash: str
    max_lora_rank: int
    original: str | None = None
    """The digest of the model that this one is a copy of in other numbers."""
    has_adapters: bool = True
    """Whether adapters are served to it at all."""


def find_adapter(registry: Registry, name: str, version: int | None, caller: str | None = None) -> AdapterVersion:
    """The version, or that of the alias `live` for this caller. Raises ApiError 404 where there is none."""
    try:
        return registry.resolve(name, str(version) if version else "live", caller)
    except UnknownAdapter as error:
        raise ApiError.of(error, 404, param="model", code="model_not_found") from error
    except (ValueError, KeyError) as error:
        raise ApiError(409, f"The manifest of the adapter {name} cannot be read.", code="adapter_refused") from error


def check_adapter(
    registry: Registry, version: AdapterVersion, base: ServedBase, being_checked: Collection[str] = ()
) -> None:
    """Raises ApiError 409 where the version is no adapter, or was not made for what is served.

    Args:
        being_checked: engine ids of versions that a copy of their base serves before their parity check there.
    """
    if version.manifest.kind == "merged":
        raise ApiError(
            409,
            f"{version.name}@{version.version} is a whole model ({version.manifest.method}), not an adapter to "
            f"{base.name}. "
            f"Serve it as a base of its own: `serving.models: {{{version.name}: {version.path}}}`.",
            param="model",
            code="adapter_refused",
        )
    if not base.has_adapters:
        raise ApiError(
            409,
            f"{base.name} is served without adapters: vLLM cannot adapt its architecture, or `serving.adapters` is "
            "false.",
            param="model",
            code="adapter_refused",
        )
    reasons = list(_mismatches(version.manifest, base))
    if reasons:
        raise ApiError(
            409,
            f"The adapter {version.name}@{version.version} is refused: {'; '.join(reasons)}. "
            f"Serve the model it was trained on ({version.manifest.base_model}), or train it again.",
            param="model",
            code="adapter_refused",
        )
    if version.manifest.base_digest != base.digest and version.engine_id not in being_checked:
        _check_copy(registry, version, base)


def _check_copy(registry: Registry, version: AdapterVersion, base: ServedBase) -> None:
    """Raises ApiError 409 where the version's parity check on this copy of its base failed, or was never made."""
    pinned = f"{version.name}@{version.version}"
    check = registry.copy_check_of(version, base.digest)
    if check and check.passed:
        return
    seen = (
        f"its log-probabilities there differ from the trainer's by {check.mean_difference:.3f} nats per token on "
        f"average, and {check.tolerance:g} are allowed"
        if check
        else "it has not been checked there"
    )
    raise ApiError(
        409,
        f"The adapter {pinned} is refused: {base.name} is a copy in other numbers of the model that it was trained on, "
        f"and {seen}. Run `tandem adapters check {pinned}`, or serve the model it was trained on "
        f"({version.manifest.base_model}).",
        param="model",
        code="adapter_refused",
    )


def _mismatches(manifest: AdapterManifest, base: ServedBase) -> Iterator[str]:
    if manifest.base_digest not in (base.digest, base.original):
        yield f"it was trained on other weights than those that {base.name} serves"
    if manifest.template_hash != base.template_hash:
        yield "it was trained with another chat template"
    if manifest.prompt_hash is not None and manifest.prompt_hash != PROMPT_HASH:
        yield "it was trained with another format of retrieved passages"
    if manifest.rank > base.max_lora_rank:
        yield f"its rank is {manifest.rank} and serving.max_lora_rank is {base.max_lora_rank}"


class ServedModels:
    """Holds handles to the engines."""

    def __init__(self, settings: GatewaySettings, engines: "dict[str, DeploymentHandle]") -> None:
        self.engines, self._settings = engines, settings
        self.registry = Registry(settings.adapters)
        self._served: dict[str, ServedBase] = {}
        self._handles: dict[tuple[str, str | None, bool], DeploymentHandle] = {}

    def check(self, name: ModelName) -> None:
        """Raises ApiError 404 where the base model is not served."""
        if name.base not in self.engines:
            raise ApiError(404, f"The model {str(name)!r} is not served.", param="model", code="model_not_found")

    async def adapter(self, name: ModelName, caller: str) -> AdapterVersion:
        """The version that answers this caller. Raises ApiError 404 or 409."""
        assert name.adapter
        version = find_adapter(self.registry, name.adapter, name.version, caller)
        check_adapter(self.registry, version, await self._base(name.base), self._settings.being_checked)
        return version

    def engine(self, base: str, engine_id: str | None, stream: bool) -> "DeploymentHandle":
        """Serve routes by the adapter's id to a replica that holds it. Only ids of existing versions come here."""
        key = (base, engine_id, stream)
        if key not in self._handles:
            # Over gRPC: Ray makes an object of each item of a stream otherwise.
            self._handles[key] = self.engines[base].options(
                stream=stream, multiplexed_model_id=engine_id or "", _by_reference=False
            )
        return self._handles[key]

    async def names(self) -> list[ModelName]:
        """The bases, and every adapter whose live version fits one."""
        names = [ModelName(base) for base in self.engines]
        for base in self.engines:
            served = await self._base(base)
            names += [ModelName(base, name) for name in self.registry.names() if self._fits(name, served)]
        return names

    async def _base(self, base: str) -> ServedBase:
        if base not in self._served:
            template_hash = await self.engines[base].template_hash.remote()
            digest = self._settings.bases[base]
            original, adapts = self._settings.originals.get(base), base not in self._settings.without_adapters
            rank = self._settings.max_lora_rank
            self._served[base] = ServedBase(base, digest, template_hash, rank, original, adapts)
        return self._served[base]

    def _fits(self, adapter: str, base: ServedBase) -> bool:
        try:
            found = find_adapter(self.registry, adapter, None)
            check_adapter(self.registry, found, base, self._settings.being_checked)
        except ApiError:
            return False
        return True
