"""A small client of the endpoint, on top of the `openai` package.

client = connect("http://127.0.0.1:8000/v1")
print(ask(client, "base+handbook", "How many days of leave do I have?").text)
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI
    from openai.types.chat import ChatCompletion

Message = dict[str, Any]


@dataclass(frozen=True)
class Citation:
    """One retrieved passage; `index` is the [i] in the text, `cited` whether the text holds that mark."""

    id: str
    index: int
    source: str
    title: str
    score: float
    cited: bool
    citation: str = ""
    """Names the passage in its document: `<source>#<position>`."""
    also_in: list[str] = field(default_factory=list)
    """Other sources that say the same."""
    span: list[int] = field(default_factory=list)
    """Numbers of the first and the last chunk of its document."""
    text: str | None = None
    """The passage, where it was asked for (`retrieval.return_passages`)."""

    @classmethod
    def of(cls, sent: dict[str, Any]) -> "Citation":
        """Without what a newer endpoint may add."""
        return cls(**{name: value for name, value in sent.items() if name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Answer:
    """One answer. `model` is pinned, `messages` is what the model really read (where it was asked for)."""

    text: str
    model: str
    latency_s: float
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    citations: list[Citation] = field(default_factory=list)
    retrieval: dict[str, Any] | None = None
    messages: list[Message] | None = None


class AskFailed(TandemError):
    """The endpoint gave no answer. `status` is the HTTP status, None where there was no response at all."""

    def __init__(self, seen: str, accepted: str, remedy: str, *, status: int | None = None) -> None:
        super().__init__(seen, accepted, remedy)
        self.status = status


def connect(url: str, *, api_key: str | None = None, timeout_s: float = 120.0) -> "OpenAI":
    """An `openai` client for an endpoint's URL (with /v1). It does not retry: a failure is reported as one."""
    from openai import OpenAI

    return OpenAI(base_url=url, api_key=api_key or "none", timeout=timeout_s, max_retries=0)


def connect_async(url: str, *, api_key: str | None = None, timeout_s: float = 120.0) -> "AsyncOpenAI":
    """The same for asyncio; close it with `await client.close()`."""
    from openai import AsyncOpenAI

    return AsyncOpenAI(base_url=url, api_key=api_key or "none", timeout=timeout_s, max_retries=0)


def list_models(client: "OpenAI") -> list[str]:
    """Names that the endpoint answers to. Raises AskFailed."""
    from openai import OpenAIError

    try:
        return [model.id for model in client.models.list()]
    except OpenAIError as error:
        raise failed(error, str(client.base_url)) from error


def ask(
    client: "OpenAI",
    model: str,
    question: str | Sequence[Message],
    *,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_k: int | None = None,
    return_messages: bool = False,
    **parameters: Any,
) -> Answer:
    """One question (or a conversation of messages) to one model name. Raises AskFailed."""
    from openai import OpenAIError

    request = _request(model, question, temperature, max_tokens, top_k, return_messages, parameters)
    started = time.perf_counter()
    try:
        completion = client.chat.completions.create(**request)
    except OpenAIError as error:
        raise failed(error, str(client.base_url)) from error
    return _answer(completion, time.perf_counter() - started)


async def ask_async(
    client: "AsyncOpenAI",
    model: str,
    question: str | Sequence[Message],
    *,
    temperature: float = 0.0,
    max_tokens: int = 256,
    top_k: int | None = None,
    return_messages: bool = False,
    **parameters: Any,
) -> Answer:
    """`ask` for asyncio."""
    from openai import OpenAIError

    request = _request(model, question, temperature, max_tokens, top_k, return_messages, parameters)
    started = time.perf_counter()
    try:
        completion = await client.chat.completions.create(**request)
    except OpenAIError as error:
        raise failed(error, str(client.base_url)) from error
    return _answer(completion, time.perf_counter() - started)


def _request(
    model: str,
    question: str | Sequence[Message],
    temperature: float,
    max_tokens: int,
    top_k: int | None,
    return_messages: bool,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
    retrieval: dict[str, Any] = {"top_k": top_k} if top_k is not None else {}
    if return_messages:
        retrieval["return_messages"] = True
    request = {"model": model, "messages": messages, "temperature": temperature, "max_tokens": max_tokens}
    return request | ({"extra_body": {"retrieval": retrieval}} if retrieval else {}) | parameters


def _answer(completion: "ChatCompletion", latency_s: float) -> Answer:
    extra = completion.model_extra or {}
    choice, usage = completion.choices[0], completion.usage
    return Answer(
        text=choice.message.content or "",
        model=completion.model,
        latency_s=latency_s,
        finish_reason=choice.finish_reason,
        prompt_tokens=usage.prompt_tokens if usage else 0,
        completion_tokens=usage.completion_tokens if usage else 0,
        citations=[Citation.of(citation) for citation in extra.get("citations") or []],
        retrieval=extra.get("retrieval"),
        messages=extra.get("messages"),
    )


def failed(error: Exception, url: str) -> AskFailed:
    """What the `openai` package raised, in our words."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APIStatusError):
        body = error.body if isinstance(error.body, dict) else {}
        seen = str(body.get("message") or error.message)
        return AskFailed(
            f"The endpoint {url} answered {error.status_code}: {seen}",
            "Accepted is a status below 400.",
            "Correct the request, or ask again later where the status is 429 or 503.",
            status=error.status_code,
        )
    if isinstance(error, APITimeoutError):
        seen = f"The endpoint {url} gave no answer in time."
    elif isinstance(error, APIConnectionError):
        seen = f"The endpoint {url} could not be reached: {error.__cause__ or error}."
    else:
        seen = f"The endpoint {url} sent what the openai client could not read: {error}."
    return AskFailed(seen, "Accepted is an answer of an OpenAI-compatible endpoint.", "Start it with `tandem serve`.")
