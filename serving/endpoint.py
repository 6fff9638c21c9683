"""The deployment that users reach: a gateway and its port."""

import asyncio
import logging

from ray.serve.handle import DeploymentHandle

from cluster.errors import TandemError
from cluster.registry.mirror import Mirror
from serving import tracing
from serving.gateway import Gateway
from serving.keys import follow_keys
from serving.listener import Listener
from serving.routes import make_app
from serving.settings import GatewaySettings

PULL_EVERY_S = 2.0
logger = logging.getLogger("ray.serve")


async def follow(settings: GatewaySettings) -> None:
    """Take what is new in the stores of adapters and keys, for as long as the gateway lives. While they do not answer,
    what is here is served."""
    assert settings.adapter_registry
    mirror, told = Mirror(settings.adapter_registry, settings.adapters), set[str]()
    while True:
        try:
            if settings.keys and settings.key_registry:
                await asyncio.to_thread(follow_keys, settings.key_registry, settings.keys)
            await asyncio.to_thread(mirror.pull)
        except TandemError as error:
            logger.warning("%s", error)
        for name in mirror.refused.keys() - told:
            logger.warning("%s", mirror.refused[name])
            told.add(name)
        await asyncio.sleep(PULL_EVERY_S)


class Endpoint:
    """A replica of the gateway, which listens from its start to its end."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: GatewaySettings,
        engines: dict[str, DeploymentHandle],
        retriever: DeploymentHandle | None,
        limiter: DeploymentHandle | None,
        host: str,
        port: int,
    ) -> None:
        tracing.start(settings.otlp_endpoint)
        self._gateway = Gateway(settings, engines, retriever, limiter)
        self._following = asyncio.create_task(follow(settings)) if settings.adapter_registry else None
        self._listener = Listener(make_app(self._gateway), host, port)
        await self._listener.start()

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises here."""
        self._listener.check()

    async def __del__(self) -> None:
        """New requests are turned away, and those that are being answered have time to end."""
        if self._following:
            self._following.cancel()
        await self._gateway.drain()
        await self._listener.stop()
