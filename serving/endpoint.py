"""The deployment that users reach: a gateway and its port."""

from ray.serve.handle import DeploymentHandle

from serving import tracing
from serving.gateway import Gateway
from serving.listener import Listener
from serving.routes import make_app
from serving.settings import GatewaySettings


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
        self._listener = Listener(make_app(self._gateway), host, port)
        await self._listener.start()

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises here."""
        self._listener.check()

    async def __del__(self) -> None:
        """New requests are turned away, and those that are being answered have time to end."""
        await self._gateway.drain()
        await self._listener.stop()
