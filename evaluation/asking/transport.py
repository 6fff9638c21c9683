"""Chat completions over HTTP, by hand: a comparison sends tens of thousands, and a harness that is slow would be
measured with the endpoint. (benchmarks/evaluation.py has this beside the `openai` package.)

A call that the endpoint could not take is tried again (retries.py), and a parameter that it refuses is left out
(refused_parameters.py). What came instead of an answer is a Reply too, with its reason.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import orjson

from cluster.errors import TandemError
from evaluation.asking.addresses import SECRET, certificates, completion_urls, proxy_for, shown_url
from evaluation.asking.responses.completions import Completion, read_completion
from evaluation.asking.responses.endpoint_errors import EndpointError, error_in, read_error, shorten, status_in
from evaluation.asking.responses.json_bodies import parse_body
from evaluation.asking.responses.refused_parameters import LEFT_OUT, find_refused_parameters
from evaluation.asking.retries import Throttle, backoff_s, wait_asked_for
from evaluation.config import RequestSettings, Retries
from evaluation.engine_time import in_flight
from evaluation.replies import Reply

if TYPE_CHECKING:
    from aiohttp import ClientResponse

THINKING_TIME = 5
"""How many times as long a reply may take where the model thinks."""

LIMITS = ("max_tokens", "max_completion_tokens")
# A model's chat completion is some kilobytes; what is larger than this is not read into memory.
MAX_BODY_BYTES = 64 * 2**20
MAX_TIMEOUTS = 2
"""A call that gets no response in time is tried once more: each try costs the whole time limit."""

WRONG_ADDRESS = (404, 405)
REDIRECTS = (307, 308)
"""With these the same request is sent to another address; after the others it would be another request."""

MAX_ADDRESSES = 8
MIN_SECRET = 4


@dataclass
class _Model:
    """What was learnt about a model: how many calls it takes at once, and the parameters that it refuses."""

    throttle: Throttle
    adjusted: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class _Try:
    """One try of a call. `again`: another may succeed; `busy`: all calls slow down. `wait_s`: as the endpoint asks."""

    completion: Completion
    again: bool = False
    busy: bool = False
    timed_out: bool = False
    wait_s: float | None = None


@dataclass(frozen=True)
class _Refused:
    """A response without an answer: the error in it, and its headers."""

    error: EndpointError
    headers: Mapping[str, str]


class EndpointClient:
    """An OpenAI-compatible endpoint. Made and closed inside a running event loop.

    Args:
        url: with or without /v1.
        connections: calls to one model in flight at most.
        settings: of an endpoint that is not the project's own.
        retries: when a call is tried again; the default settings where there are none.
        own: whether it is Tandem's endpoint, whose citations are read.

    Raises:
        TandemError: a header, a proxy or the certificates that the environment names cannot be used.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        connections: int,
        settings: RequestSettings | None = None,
        *,
        retries: Retries | None = None,
        own: bool = False,
    ) -> None:
        from aiohttp import ClientSession, ClientTimeout, TCPConnector

        self.url = shown_url(url)
        self._addresses = completion_urls(url)
        self._proxy = proxy_for(url)
        self._timeout_s, self._connections, self._own = timeout_s, connections, own
        self._retries = retries or Retries()
        secrets = _secret_headers(settings) if settings else {}
        self._secrets = _secret_values(secrets)
        self._fixed = frozenset(settings.extra_body) if settings else frozenset()
        self._models: dict[str, _Model] = {}
        self._places = count()
        self._was_reached = False
        self._without_limit: set[str] = set()
        ssl = certificates() if urlsplit(url).scheme == "https" else True
        self._limit = ClientTimeout(total=timeout_s)
        self._session: ClientSession = ClientSession(
            connector=TCPConnector(limit=connections, ssl=ssl),
            headers={"Content-Type": "application/json", **secrets},
        )

    async def complete(self, body: dict[str, Any], timeout_s: float | None = None) -> Completion:
        """What came back, after as many tries as it took; never raises for what the endpoint does.

        Args:
            timeout_s: seconds after which a try has failed, where that is not the client's own limit.
        """
        name = body["model"]
        model = self._models.get(name) or self._models.setdefault(name, _Model(Throttle(self._connections)))
        place, num_timeouts = next(self._places), 0
        for num_tries in count(1):
            await model.throttle.enter(place)
            started = time.monotonic()
            try:
                tried = await self._try(model, body, timeout_s)
                num_timeouts += tried.timed_out
                is_last = num_tries >= self._retries.max_tries or num_timeouts >= MAX_TIMEOUTS
                if not self._is_tried_again(model.throttle, tried) or is_last:
                    return self._without_secrets(tried.completion)
                wait_s = min(backoff_s(num_tries, tried.wait_s), self._retries.max_wait_s)
                if tried.busy:
                    model.throttle.slow_down(started, wait_s)
            finally:
                model.throttle.leave()
            if not tried.busy:
                await asyncio.sleep(wait_s)
        raise AssertionError("the loop above ends by returning")

    async def complete_thinking(self, body: dict[str, Any]) -> Completion:
        """The same for a model that thinks: it may take longer, and where `max_tokens` is refused, it is left out. The
        model may have no room for so many tokens, and then gets what room there is."""
        timeout_s = THINKING_TIME * self._timeout_s
        unlimited = {name: value for name, value in body.items() if name not in LIMITS}
        if body["model"] in self._without_limit:
            return await self.complete(unlimited, timeout_s)
        completion = await self.complete(body, timeout_s)
        if completion.status == 400:
            second = await self.complete(unlimited, timeout_s)
            if second.reply.failed is None:
                self._without_limit.add(body["model"])
                return second
        return completion

    async def close(self) -> None:
        await self._session.close()

    def _is_tried_again(self, throttle: Throttle, tried: _Try) -> bool:
        """Whether another try may help, and the model has not been without any answer for too long."""
        if tried.again:
            return throttle.failed() < self._retries.max_wait_s
        throttle.answered()
        return False

    async def _try(self, model: _Model, body: dict[str, Any], timeout_s: float | None) -> _Try:
        """One try; what the endpoint says about the request itself (its address, a parameter) is followed at once."""
        # Each refusal changes the request, and each address is asked once, so that this ends.
        for _ in range(2 * len(LEFT_OUT) + MAX_ADDRESSES):
            adjusted, address = model.adjusted, self._addresses[0]
            sent = _adjust(body, adjusted) if adjusted else body
            tried = await self._send(address, sent, timeout_s)
            if isinstance(tried, _Try):
                return _with_adjusted(tried, adjusted, body) if adjusted else tried
            if not self._follow(tried, address) and not self._learn(model, tried.error, sent, adjusted):
                break
        assert isinstance(tried, _Refused)
        return self._failed(tried, sent)

    async def _send(self, address: str, sent: dict[str, Any], timeout_s: float | None) -> _Try | _Refused:
        from aiohttp import ClientError, ClientTimeout

        response = None
        started = time.perf_counter()
        try:
            limit = self._limit if timeout_s is None else ClientTimeout(total=timeout_s)
            post = self._session.post(
                address, data=_to_json(sent), proxy=self._proxy, allow_redirects=False, timeout=limit
            )
            with in_flight():
                async with post as response:
                    content = await _read(response)
                    latency_s = time.perf_counter() - started
        except TimeoutError:
            reply = Reply(failed=f"There was no answer within {timeout_s or self._timeout_s:g} s.")
            is_silent = response is None
            return _Try(Completion(reply, responded=False), again=is_silent, timed_out=is_silent)
        except (ClientError, OSError, ValueError) as error:
            return self._not_reached(error)
        self._was_reached = True
        if content is None:
            seen = f"The endpoint {self.url} sent more than {MAX_BODY_BYTES // 2**20} MiB, which is no answer."
            return _Try(Completion(Reply(failed=seen)))
        if response.status >= 300:
            return _Refused(read_error(response.status, content), response.headers)
        return self._answered(content, latency_s, address, response.headers)

    def _answered(self, content: bytes, latency_s: float, address: str, headers: Mapping[str, str]) -> _Try | _Refused:
        try:
            body = parse_body(content)
        except ValueError as error:
            begin = f"it begins with {shorten(content[:60].decode(errors='replace'))!r}" if content else "it is empty"
            reason = str(error) if content.startswith((b"data:", b"event:", b":")) else begin
            return _Try(Completion(Reply(failed=f"The endpoint's answer is no chat completion: {reason}.")))
        if (status := status_in(body)) is not None:
            return _Refused(error_in(status, body), headers)
        self._addresses = [address]
        return _Try(read_completion(body, latency_s, cites=self._own))

    def _not_reached(self, error: Exception) -> _Try:
        """A connection that broke is tried again; a host that never responded is not there."""
        from aiohttp import ClientConnectorError, ClientHttpProxyError, ClientResponseError, ClientSSLError, InvalidURL

        if isinstance(error, ClientHttpProxyError):
            is_passing = error.status >= 500
        elif isinstance(error, ClientSSLError | InvalidURL | ClientResponseError):
            is_passing = False
        elif isinstance(error, ClientConnectorError):
            is_passing = self._was_reached
        else:
            is_passing = not isinstance(error, ValueError)
            self._was_reached = self._was_reached or is_passing
        remedy = " Name the file of your certificates in SSL_CERT_FILE." if isinstance(error, ClientSSLError) else ""
        through = f" through the proxy {shown_url(self._proxy)}" if self._proxy else ""
        reason = shorten(error) or type(error).__name__
        seen = f"The endpoint {self.url} could not be reached{through}: {reason.rstrip('.')}.{remedy}"
        return _Try(Completion(Reply(failed=seen), responded=False), again=is_passing)

    def _follow(self, refused: _Refused, address: str) -> bool:
        """Whether there is another address to ask at, since the endpoint is not at this one."""
        if address != self._addresses[0]:
            return True  # another call has learnt it meanwhile
        error = refused.error
        if error.status in REDIRECTS and (there := _redirected(address, refused.headers.get("Location", ""))):
            self._addresses = [there]
            return True
        names_model = bool(error.records) and "model" in error.message.casefold()
        if error.status not in WRONG_ADDRESS or names_model or len(self._addresses) == 1:
            return False
        self._addresses = self._addresses[1:]
        return True

    def _learn(
        self, model: _Model, error: EndpointError, sent: dict[str, Any], adjusted: dict[str, str | None]
    ) -> bool:
        """Whether the error names parameters that can be left out or renamed; they are from now on."""
        if model.adjusted is not adjusted:
            return True
        own_names = {new: name for name, new in adjusted.items() if new}
        names = sent.keys() - self._fixed
        refused = find_refused_parameters(error, names)
        learnt = {own_names.get(name, name): None if name in own_names else new for name, new in refused.items()}
        if learnt:
            model.adjusted = adjusted | learnt
        return bool(learnt)

    def _failed(self, refused: _Refused, sent: dict[str, Any]) -> _Try:
        error, retries = refused.error, self._retries
        if error.is_filtered:
            return _Try(Completion(Reply(no_answer="content_filter")))
        message = f"The endpoint {self.url} answered {error.status}: {error.message}"
        if location := refused.headers.get("Location") if error.status < 400 else None:
            message = f"The endpoint {self.url} has moved to {shown_url(location)}. Set its `url` to that address."
        elif (
            error.status in (400, 422)
            and not self._own
            and any(name in error.message for name in LEFT_OUT & sent.keys())
        ):
            message += " Rename or leave out a parameter with `parameters` of the endpoint."
        is_final = error.is_final or error.status < 400
        completion = Completion(Reply(failed=message), final=is_final, status=error.status)
        if not error.is_tried_again:
            return _Try(completion)
        wait_s = wait_asked_for(refused.headers, error.texts)
        if wait_s is not None and wait_s > retries.max_wait_s:
            longer = f"{message} It asks to wait for {wait_s:,.0f} s."
            completion = replace(completion, reply=Reply(failed=longer))
        is_busy = error.is_busy or (error.status == 503 and wait_s is not None)
        return _Try(completion, again=True, busy=is_busy, wait_s=wait_s)

    def _without_secrets(self, completion: Completion) -> Completion:
        """An error may repeat the key that it refuses."""
        failed = completion.reply.failed
        if not failed or not any(secret in failed for secret in self._secrets):
            return completion
        for secret in self._secrets:
            failed = failed.replace(secret, "***")
        return replace(completion, reply=Reply(failed=failed))


async def _read(response: "ClientResponse") -> bytes | None:
    """The body; None where it is too large."""
    length = response.content_length
    if length is not None and length <= MAX_BODY_BYTES and "Content-Encoding" not in response.headers:
        return await response.read()
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            return None
    return bytes(content)


def _to_json(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # half of a surrogate pair in a question
        return json.dumps(body).encode()


def apply_settings(body: dict[str, Any], settings: RequestSettings) -> dict[str, Any]:
    """The body as an endpoint's settings have it."""
    return _adjust(body, settings.parameters) | settings.extra_body


def connection_key(url: str, settings: RequestSettings) -> str:
    """The same for endpoints that can share connections. It holds keys: it is not for showing."""
    return json.dumps([url, sorted(_secret_headers(settings).items()), sorted(settings.extra_body)])


def visible_headers(settings: RequestSettings) -> dict[str, str]:
    """The headers that are no keys, by their names in lower case."""
    headers = {name.casefold(): value.get_secret_value() for name, value in settings.headers.items()}
    return {name: value for name, value in sorted(headers.items()) if not SECRET.search(name)}


def _adjust(body: dict[str, Any], adjusted: Mapping[Any, str | None]) -> dict[str, Any]:
    named = ((adjusted.get(name, name), value) for name, value in body.items())
    return {name: value for name, value in named if name is not None}


def _with_adjusted(tried: _Try, adjusted: dict[str, str | None], body: dict[str, Any]) -> _Try:
    """The try, whose reply says what was left out of this call."""
    changed = {name: new for name, new in adjusted.items() if name in body}
    reply = tried.completion.reply.model_copy(update={"adjusted": changed})
    return replace(tried, completion=replace(tried.completion, reply=reply))


def _redirected(address: str, location: str) -> str | None:
    """Where a request is sent on to, if that is the same host: a key is given to no other."""
    there = urljoin(address, location)
    before, after = urlsplit(address), urlsplit(there)
    is_same = before.hostname == after.hostname and (before.scheme, before.port) == (after.scheme, after.port)
    is_safer = before.hostname == after.hostname and (before.scheme, after.scheme) == ("http", "https")
    return there if location and there != address and (is_same or is_safer) else None


def _secret_headers(settings: RequestSettings) -> dict[str, str]:
    """The headers with the keys. Raises TandemError where one cannot be sent."""
    key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
    values = {name: value.get_secret_value().strip() for name, value in settings.headers.items()}
    if key and "authorization" not in map(str.casefold, values):
        values["Authorization"] = f"Bearer {key}"
    for name, value in values.items():
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII) or not value.isprintable():
            raise TandemError(
                f"The header {name!r} of an endpoint cannot be sent: its name or its value is not printable text.",
                "A name of letters, digits and hyphens, and a value on one line.",
                "Correct `headers` or `api_key` of the endpoint, or the variable that it names.",
            )
    return values


def _secret_values(headers: Mapping[str, str]) -> list[str]:
    """What may not be shown, the longest first."""
    values = {part for value in headers.values() for part in (value, value.rpartition(" ")[2])}
    return sorted((value for value in values if len(value) >= MIN_SECRET), key=len, reverse=True)
