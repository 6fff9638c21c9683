"""The base models that are served, by name: their engines, and which adapters fit them."""

from ray.serve.handle import DeploymentHandle

from cluster.registry.registry import AdapterVersion, Registry
from serving.adapters import ServedBase, check_adapter, find_adapter
from serving.errors import ApiError
from serving.names import ModelName
from serving.settings import GatewaySettings


class Bases:
    """Holds handles to the engines."""

    def __init__(self, settings: GatewaySettings, engines: dict[str, DeploymentHandle]) -> None:
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
        found = find_adapter(self.registry, name.adapter, name.version, caller)
        check_adapter(found, await self._base(name.base))
        return found

    def engine(self, base: str, engine_id: str | None, stream: bool) -> DeploymentHandle:
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
            self._served[base] = ServedBase(base, digest, template_hash, self._settings.max_lora_rank)
        return self._served[base]

    def _fits(self, adapter: str, base: ServedBase) -> bool:
        try:
            check_adapter(find_adapter(self.registry, adapter, None), base)
        except ApiError:
            return False
        return True
