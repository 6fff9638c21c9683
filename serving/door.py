"""Turns away at the door what need not be read: an unknown key, no room, a key that has sent too many requests.

Behind it a request passes FastAPI's routing and error handling, which take longer than to refuse it; and refusing has
to stay cheap when there is most of it.
"""

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.gateway import Gateway
from serving.sent import Sent

KINDS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/v1/score": "score",
}


class Door:
    """ASGI middleware before everything that reads a request; the ids of requests are given before it."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app, self._gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = KINDS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        error = self._gateway.turn_away(kind, _sent(scope)) if kind else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse(error.body(), error.status, error.headers)(scope, receive, send)


def _sent(scope: Scope) -> Sent:
    """The request without its body, which has not been read."""
    headers, peer = Headers(scope=scope), scope.get("client")
    return Sent(b"", headers.get("authorization"), peer[0] if peer else "", scope["state"]["id"])
