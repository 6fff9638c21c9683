"""The endpoint's collections for agents: MCP over streamable HTTP at `POST /mcp`, with the rights of the caller's key.

Each request stands alone (no sessions), so any gateway answers any of them, and each is admitted, counted and logged as
a search over HTTP is. A page of a foreign site, which a browser on this machine shows, is kept out: by the key where
the endpoint asks for one, and by the `Host` and `Origin` that it sends where it does not.
"""

import asyncio
import json
import socket
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from cluster.jobs.wheel import package_version
from retrieval.mcp_server import Passage, Refused, SearchArguments, make_mcp_server
from serving.api.errors import ApiError, error_body
from serving.api.requests import IncomingRequest
from serving.gateway.gateway import Gateway

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MAX_BODY_BYTES = 1024 * 1024


class McpRoute:
    """An ASGI application. The protocol's package is imported by the first request."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._manager: StreamableHTTPSessionManager | None = None
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            key = self._gateway.identify(headers.get("authorization"))
            if not _is_same_site(headers, is_keyed=key is not None):
                raise ApiError(403, "The request comes from a page of another site.", code="foreign_origin")
        except ApiError as error:
            asks = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
            await JSONResponse(error.body(), error.status, {**error.headers, **asks})(scope, receive, send)
            return
        if scope["method"] != "POST":
            body = error_body(405, "This endpoint takes MCP requests by POST; it opens no streams of its own.")
            await JSONResponse(body, 405, {"Allow": "POST"})(scope, receive, send)
            return
        await (await self._started()).handle_request(scope, receive, send)

    async def _started(self) -> "StreamableHTTPSessionManager":
        async with self._starting:
            if self._manager is None:
                # It takes a second to import, and most endpoints are asked by no agent.
                from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

                server = make_mcp_server(GatewayKnowledge(self._gateway), package_version())
                self._manager = StreamableHTTPSessionManager(
                    server, json_response=True, stateless=True, max_request_body_size=MAX_BODY_BYTES
                )
                ready = asyncio.Event()
                self._running = asyncio.create_task(_run(self._manager, ready))
                await ready.wait()
        return self._manager


async def _run(manager: "StreamableHTTPSessionManager", ready: asyncio.Event) -> None:
    async with manager.run():
        ready.set()
        await asyncio.Event().wait()


class GatewayKnowledge:
    """The collections behind a gateway, by the key of each request."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def collections(self, request: Any) -> list[str]:
        try:
            return await self._gateway.collections(request.headers.get("authorization"))
        except ApiError as error:
            raise Refused(error.message) from error

    async def search(self, request: Any, collection: str, asked: SearchArguments) -> list[Passage]:
        body: dict[str, Any] = {"query": asked.query}
        body |= {"max_num_results": asked.top_k} if asked.top_k else {}
        body |= {"filters": asked.filter} if asked.filter is not None else {}
        incoming = IncomingRequest(
            json.dumps(body).encode(), request.headers.get("authorization"),
            request.client.host if request.client else "",
            request.scope["state"]["id"], request.headers.get("traceparent"),
        )  # fmt: skip
        try:
            answer = await self._gateway.call("search", partial(self._gateway.services.search, collection), incoming)
        except ApiError as error:
            raise Refused(error.message) from error
        return [
            Passage(
                source=each["file_id"], citation=each["attributes"]["citation"], title=each["attributes"]["title"],
                text=each["content"][0]["text"], score=each["score"],
            )
            for each in json.loads(bytes(answer.body))["data"]
        ]  # fmt: skip


def _is_same_site(headers: Headers, is_keyed: bool) -> bool:
    """Whether a request is none of a page of another site, whose name may also have been made to lead here."""
    host = headers.get("host", "")
    origin = headers.get("origin")
    try:
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return False
        return is_keyed or _is_own_name(urlsplit(f"//{host}").hostname or "")
    except ValueError:  # neither is an address
        return False


def _is_own_name(name: str) -> bool:
    """Whether a name is none that somebody else gives in the DNS: an address, this machine's, or one without dots."""
    try:
        ip_address(name)
        return True
    except ValueError:
        pass
    own = {socket.gethostname().lower(), socket.getfqdn().lower()}
    return "." not in name or name in own or name.endswith((".localhost", ".local", ".internal", ".svc.cluster.local"))
