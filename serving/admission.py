"""Who is let in: a key that is known, a place for one more request, and what the key may still use."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from retrieval.prompt import estimate_tokens
from serving.errors import ApiError
from serving.keys import Key, Keys
from serving.limiter import Admitted, Refused
from serving.request import Request

DRAIN_POLL_S = 0.05
ANSWER_TOKENS = 256
"""Reserved for an answer whose length the request leaves open."""


@dataclass
class Spending:
    """The tokens of one request: reserved before it, counted as they come, and told by the engine at the end."""

    prompt: int
    reserved: int
    generated: int = 0
    told: int | None = None

    @property
    def num_tokens(self) -> int:
        return self.told if self.told is not None else min(self.reserved, self.prompt + self.generated)


class Admission:
    """The door of one gateway.

    Args:
        max_requests: as many are answered at a time, whoever asks.
        keys: None lets everybody in.
        limiter: counts what keys use; the same for all gateways.
    """

    def __init__(self, max_requests: int, keys: Keys | None, limiter: DeploymentHandle | None) -> None:
        self._max_requests, self._keys, self._limiter = max_requests, keys, limiter
        self._num_requests = 0
        self._is_draining = False

    def identify(self, authorization: str | None) -> Key | None:
        """The key of an Authorization header; None where the endpoint asks for none. Raises ApiError 401."""
        if self._keys is None:
            return None
        scheme, _, secret = (authorization or "").partition(" ")
        key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            said = "The API key is not known." if authorization else "No API key was sent."
            raise ApiError(401, f"{said} Send one as `Authorization: Bearer tdm_...`.", code="invalid_api_key")
        return key

    def enter(self, held: AsyncExitStack) -> None:
        """Take a place until `held` is closed. Raises ApiError 429 or 503 where there is none."""
        if self._is_draining:
            raise ApiError(503, "The endpoint is being shut down.", code="shutting_down", retry_after_s=5)
        if self._num_requests >= self._max_requests:
            raise ApiError(429, "Too many requests are waiting.", code="overloaded", retry_after_s=1)
        self._num_requests += 1
        held.callback(self._leave)

    async def admit(self, key: Key | None, request: Request, held: AsyncExitStack) -> Spending:
        """Check the key's rights and limits; what the request takes is settled when `held` is closed.

        Raises:
            ApiError: 403 or 429.
        """
        spending = _expected(request)
        if key is None:
            return spending
        if not key.may_ask(request.name):
            raise ApiError(403, f"This key may not use {request.name}.", param="model", code="model_not_permitted")
        if key.limits.is_any:
            assert self._limiter is not None
            found: Admitted | Refused = await self._limiter.admit.remote(key.id, key.limits, spending.reserved)
            if isinstance(found, Refused):
                raise ApiError(
                    429, f"{found.reason}.", code="rate_limit_exceeded", retry_after_s=found.retry_after_s
                )  # fmt: skip
            held.callback(self._settle, key.id, found.ticket, spending)
        return spending

    async def drain(self, limit_s: float) -> None:
        """Let nobody in any more, and wait for those that are being answered."""
        self._is_draining = True
        deadline = time.monotonic() + limit_s
        while self._num_requests and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL_S)

    def _leave(self) -> None:
        self._num_requests -= 1

    def _settle(self, key: str, ticket: int, spending: Spending) -> None:
        """Sent off and not waited for: whoever asked may have gone."""
        assert self._limiter is not None
        self._limiter.settle.remote(key, ticket, spending.reserved, spending.num_tokens)


def _expected(request: Request) -> Spending:
    body: dict[str, Any] = request.body
    prompt = estimate_tokens(str(body.get("messages") or body.get("prompt") or ""))
    asked = body.get("max_completion_tokens") or body.get("max_tokens")
    choices = body.get("n")
    answers = (asked if type(asked) is int and asked > 0 else ANSWER_TOKENS) * (
        choices if type(choices) is int and choices > 0 else 1
    )
    return Spending(prompt, prompt + answers)
