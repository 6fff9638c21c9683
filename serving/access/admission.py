"""Who is let in: a key that is known, a place for one more request, and what the key may still use."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from serving.access.keys import Key, Keys, Limits
from serving.access.limiter import Admitted, Refusal
from serving.access.token_usage import TokenUsage
from serving.api.errors import ApiError

DRAIN_POLL_S = 0.05


class UsageCounter(Protocol):
    """What counts the use of keys for all gateways together."""

    async def admit(self, key: str, limits: Limits, num_tokens: int) -> Admitted | Refusal: ...
    async def settle(self, key: str, ticket: int, reserved: int, num_tokens: int) -> None: ...


@dataclass(frozen=True)
class AccessRequest:
    """What a request asks for: a model, a collection or both, as they stand in a key and in a refusal."""

    asks: str
    model: str | None
    collection: str | None
    token_usage: TokenUsage


class Admission:
    """The door of one gateway.

    Args:
        max_requests: as many are answered at a time, whoever asks.
        keys: None lets everybody in.
        limiter: counts what keys use; the same for all gateways.
    """

    def __init__(self, max_requests: int, keys: Keys | None, limiter: UsageCounter | None) -> None:
        self._max_requests, self._keys, self._limiter = max_requests, keys, limiter
        self._num_requests = 0
        self._refused: dict[str, tuple[float, Refusal]] = {}
        self._settling: set[asyncio.Future[None]] = set()
        self._is_draining = False

    def identify(self, authorization: str | None) -> Key | None:
        """The key of an Authorization header; None where the endpoint asks for none. Raises ApiError 401."""
        if self._keys is None:
            return None
        scheme, _, secret = (authorization or "").partition(" ")
        key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            message = "The API key is not known." if authorization else "No API key was sent."
            raise ApiError(401, f"{message} Send one as `Authorization: Bearer tdm_...`.", code="invalid_api_key")
        return key

    def check_room(self) -> None:
        """Raises ApiError 429 or 503 where there is no place for one more request."""
        if self._is_draining:
            raise ApiError(503, "The endpoint is being shut down.", code="shutting_down", retry_after_s=5)
        if self._num_requests >= self._max_requests:
            raise ApiError(429, "Too many requests are waiting.", code="overloaded", retry_after_s=1)

    def check_wait(self, key: Key | None) -> None:
        """Raises ApiError 429 where the key has sent too many requests, and has to wait still."""
        if key and (refused := self._refused_still(key)):
            raise _limited(refused)

    def enter(self, held: AsyncExitStack) -> None:
        """Take a place until `held` is closed. Raises ApiError 429 or 503 where there is none."""
        self.check_room()
        self._num_requests += 1
        held.callback(self._leave)

    async def admit(self, key: Key | None, wanted: AccessRequest, held: AsyncExitStack) -> None:
        """Check the key's rights and limits; what the request takes is settled when `held` is closed.

        Raises:
            ApiError: 403 or 429.
        """
        token_usage = wanted.token_usage
        if key is None:
            return
        if not key.may_use(wanted.model, wanted.collection):
            raise ApiError(403, f"This key may not use {wanted.asks}.", param="model", code="model_not_permitted")
        if key.limits.is_any:
            assert self._limiter is not None
            self.check_wait(key)
            admission = await self._limiter.admit(key.id, key.limits, token_usage.reserved)
            if isinstance(admission, Refusal):
                self._remember(key, admission)
                raise _limited(admission)
            held.callback(self._settle, key.id, admission.ticket, token_usage)

    def _refused_still(self, key: Key) -> Refusal | None:
        """Whoever has sent too many requests is refused here until one more may come: refusing is to be cheap."""
        until, refused = self._refused.get(key.id, (0.0, None))
        if refused is None or key.limits.requests_per_minute is None or until <= (now := time.monotonic()):
            self._refused.pop(key.id, None)
            return None
        return replace(refused, retry_after_s=int(until - now) + 1)

    def _remember(self, key: Key, refused: Refusal) -> None:
        if refused.limit == "requests_per_minute" and key.id not in self._refused:
            # The time to wait is rounded up to whole seconds: one second less is never too long.
            self._refused[key.id] = time.monotonic() + refused.retry_after_s - 1, refused

    async def drain(self, limit_s: float) -> None:
        """Let nobody in any more, and wait for those that are being answered."""
        self._is_draining = True
        deadline = time.monotonic() + limit_s
        while self._num_requests and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_POLL_S)

    def _leave(self) -> None:
        self._num_requests -= 1

    def _settle(self, key: str, ticket: int, token_usage: TokenUsage) -> None:
        """Sent off and not waited for: whoever asked may have gone."""
        assert self._limiter is not None
        settling = asyncio.ensure_future(
            self._limiter.settle(key, ticket, token_usage.reserved, token_usage.num_tokens)
        )
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)


def _limited(refused: Refusal) -> ApiError:
    return ApiError(429, f"{refused.reason}.", code="rate_limit_exceeded", retry_after_s=refused.retry_after_s)
