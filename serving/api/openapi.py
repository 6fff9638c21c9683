"""What the endpoint takes, for its OpenAPI document. The engine reads its part of a request itself and takes more."""

from typing import Annotated, Any, Literal

import jsonref  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field

from cluster.template_arguments import MAX_TEMPLATE_ARGUMENTS
from serving.api.requests import (  # fmt: skip
    MAX_QUERY_LENGTH,
    MAX_TOP_K,
    EmbeddingsRequest,
    RerankRequest,
    ScoreRequest,
    SearchRequest,
)

Number = Annotated[int, Field(ge=1)]


class Message(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    reasoning: str | None = Field(default=None, description="what the assistant thought")
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class Retrieval(BaseModel):
    """Ours: passages from a collection in front of the question."""

    collection: str | None = None
    top_k: int | None = Field(default=None, ge=1, le=MAX_TOP_K)
    filter: dict[str, Any] | None = None
    return_messages: bool = False
    return_passages: bool = False
    query: str | None = Field(
        default=None, max_length=MAX_QUERY_LENGTH, description="searched for in place of the question"
    )


class _Generation(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str = Field(description="base, base:adapter, base:adapter@7, base+collection or base:adapter+collection")
    max_tokens: Number | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool = False
    user: str | None = None


class ChatRequest(_Generation):
    messages: list[Message] = Field(min_length=1)
    retrieval: Retrieval | None = None
    tools: list[dict[str, Any]] | None = Field(
        default=None, description="needs `serving.tool_call_parser`; calls come back as `tool_calls`"
    )
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, bool | int | float | str | None] | None = Field(
        default=None, max_length=MAX_TEMPLATE_ARGUMENTS, description='such as {"enable_thinking": false}'
    )


class CompletionRequest(_Generation):
    prompt: str | list[str]


class TokenizeRequest(BaseModel):
    model: str
    prompt: str


class DetokenizeRequest(BaseModel):
    model: str
    tokens: list[Annotated[int, Field(ge=0)]]


class FeedbackRequest(BaseModel):
    id: str
    rating: Literal["up", "down"]
    comment: str = ""


REQUESTS: dict[str, type[BaseModel]] = {
    "chat": ChatRequest, "completions": CompletionRequest, "embeddings": EmbeddingsRequest, "search": SearchRequest,
    "rerank": RerankRequest, "score": ScoreRequest, "tokenize": TokenizeRequest, "detokenize": DetokenizeRequest,
    "feedback": FeedbackRequest,
}  # fmt: skip
_REFUSED = {
    400: "the request cannot be read", 401: "no key, or an unknown one", 403: "the key may not", 404: "no such model",
    408: "not in time", 409: "the adapter or collection does not fit", 429: "over a limit, or overloaded",
    503: "not ready",
}  # fmt: skip


def describe_api(kind: str) -> dict[str, Any]:
    """FastAPI's arguments of a route that reads its body itself."""
    schema = jsonref.replace_refs(REQUESTS[kind].model_json_schema(), proxies=False)
    schema.pop("$defs", None)
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {
        "openapi_extra": {"requestBody": body},
        "responses": {status: {"description": description} for status, description in _REFUSED.items()},
    }
