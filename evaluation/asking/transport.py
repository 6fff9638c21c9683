"""One chat completion over HTTP, by hand: a comparison sends tens of thousands, and a harness that is slow would be
measured with the endpoint. (benchmarks/evaluation.py has this beside the `openai` package.)

A call is tried once. What came instead of an answer is a Reply too, with its reason.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from evaluation.asking.thinking import hides_thinking, read_message, separate_thinking
from evaluation.results import CitedSource, Reply

if TYPE_CHECKING:
    from aiohttp import ClientResponse

MAX_SHOWN_CHARACTERS = 300
THINKING_TIME = 5
"""How many times as long a reply may take where the model thinks."""
# A model's chat completion is some kilobytes; what is larger than this is not read into memory.
MAX_BODY_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Completion:
    """A reply, whether the endpoint responded at all, the likeliest first tokens where they were asked for, and the
    status of a refusal."""

    reply: Reply
    responded: bool = True
    tops: list[tuple[str, float]] | None = None
    status: int | None = None


class EndpointClient:
    """An OpenAI-compatible endpoint. Made and closed inside a running event loop."""

    def __init__(self, url: str, timeout_s: float, connections: int, api_key: str | None = None) -> None:
        from aiohttp import ClientSession, ClientTimeout, TCPConnector

        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._without_limit: set[str] = set()
        self._session: ClientSession = ClientSession(
            connector=TCPConnector(limit=connections), headers=headers, timeout=ClientTimeout(total=timeout_s)
        )

    async def complete(self, body: dict[str, Any], timeout_s: float | None = None) -> Completion:
        """What came back; never raises for what the endpoint does.

        Args:
            timeout_s: seconds after which this call has failed, where that is not the client's own limit.
        """
        from aiohttp import ClientError, ClientTimeout

        started, limit_s = time.perf_counter(), timeout_s or self._timeout_s
        try:
            async with self._session.post(
                f"{self.url}/chat/completions", data=orjson.dumps(body), timeout=ClientTimeout(total=limit_s)
            ) as response:
                content = await _read(response)
                latency_s = time.perf_counter() - started
        except TimeoutError:
            return Completion(Reply(failed=f"There was no answer within {limit_s:g} s."), responded=False)
        except (ClientError, OSError) as error:
            seen = f"The endpoint {self.url} could not be reached: {error or type(error).__name__}."
            return Completion(Reply(failed=seen), responded=False)
        if response.status >= 400:
            refusal = f"The endpoint {self.url} answered {response.status}: {_message(content)}"
            return Completion(Reply(failed=refusal), status=response.status)
        return _said(content, latency_s)

    async def complete_thinking(self, body: dict[str, Any]) -> Completion:
        """The same for a model that thinks: it may take longer, and where `max_tokens` is refused, it is left out. The
        model may have no room for so many tokens, and then gets what room there is."""
        timeout_s = THINKING_TIME * self._timeout_s
        unlimited = {name: value for name, value in body.items() if name != "max_tokens"}
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


async def _read(response: "ClientResponse") -> bytes:
    content = await response.content.read(MAX_BODY_BYTES)
    while len(content) < MAX_BODY_BYTES and (more := await response.content.read(MAX_BODY_BYTES - len(content))):
        content += more
    return content


def _said(content: bytes, latency_s: float) -> Completion:
    """Nothing of the body is taken for granted: what is no chat completion is a failure, not a wrong answer."""
    try:
        body = orjson.loads(content)
        choice, usage = body["choices"][0], body.get("usage") or {}
        said, thinking = read_message(choice["message"])
        if thinking is None and hides_thinking(usage):
            thinking = ""
        cut_off = choice.get("finish_reason") == "length"
        # Whether the model or a parser left the content empty does not show.
        is_thought = bool(thinking) and not said.strip() and not cut_off
        reply = Reply(
            text=None if is_thought else _printable(said),
            no_answer="thinking_only" if is_thought else None,
            thinking=thinking if thinking is None else _printable(thinking),
            model=body["model"],
            latency_s=latency_s,
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            cut_off=cut_off,
            citations=[_cited(each) for each in body.get("citations") or []],
        )
        return Completion(separate_thinking(reply), tops=_tops(choice.get("logprobs")))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        seen = f"The endpoint's answer is no chat completion ({type(error).__name__}: {_short(error)})."
        return Completion(Reply(failed=seen))


def _cited(sent: dict[str, Any]) -> CitedSource:
    return CitedSource(
        index=sent["index"], source=sent["source"], title=sent["title"], cited=sent["cited"],
        also_in=sent.get("also_in", []), text=_printable(sent.get("text") or "") or None,
    )  # fmt: skip


def _printable(text: str) -> str:
    """Half of a surrogate pair is JSON, and no text that could be written to a file."""
    return text.encode(errors="replace").decode()


def _tops(logprobs: dict[str, Any] | None) -> list[tuple[str, float]] | None:
    """The likeliest first tokens with their log-probabilities, where they were asked for."""
    if not logprobs or not logprobs.get("content"):
        return None
    return [(each["token"], each["logprob"]) for each in logprobs["content"][0]["top_logprobs"]]


def _message(content: bytes) -> str:
    """OpenAI's `error.message`, or the beginning of whatever it is."""
    try:
        return _short(orjson.loads(content)["error"]["message"])
    except (LookupError, TypeError, ValueError):
        return _short(content.decode(errors="replace"))


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
