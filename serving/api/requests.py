"""Requests as they come in over HTTP, checked as far as the endpoint itself reads them. vLLM checks the rest."""

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from cluster.errors import TandemError
from cluster.template_arguments import MAX_TEMPLATE_ARGUMENTS, find_bad_argument
from retrieval.filters.filter_json import parse_filter
from retrieval.filters.filters import Filter
from retrieval.prompt import estimate_tokens
from serving.api.errors import ApiError
from serving.api.model_name import ModelName, is_collection

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def new_request_id() -> str:
    return f"req-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class IncomingRequest:
    """Body and Authorization header of a request, the address that it came from, and the id that it is logged by."""

    raw: bytes = field(repr=False)
    authorization: str | None = field(default=None, repr=False)
    peer: str = ""
    id: str = field(default_factory=new_request_id)
    traceparent: str | None = None
    """Of the caller's trace (w3.org/TR/trace-context)."""


def request_id(header: str | None) -> str:
    """The caller's own id where it is fit for a log, or a new one."""
    return header if header and _ID.fullmatch(header) else new_request_id()


MAX_TOP_K = 100
RETRIEVAL_KEYS = ("collection", "top_k", "filter", "return_messages", "return_passages", "query")
MAX_QUERY_LENGTH = 8192
MAX_ID_LENGTH, MAX_COMMENT_LENGTH = 128, 4000
CONTEXT_TOKENS = 64
"""Of earlier questions in a conversation, that go into a search beside the last one."""

Body = dict[str, Any]


@dataclass(frozen=True)
class GenerationRequest:
    """What is asked of whom. `body` is what goes on to the engine, less what only the endpoint knows."""

    name: ModelName
    body: Body
    stream: bool
    top_k: int | None = None
    where: Filter | None = None
    return_messages: bool = False
    return_passages: bool = False
    query: str | None = None
    """What is searched for in place of the conversation's last question."""


def parse_request(raw: bytes) -> GenerationRequest:
    """Raises ApiError 400 for what cannot be read; says nothing about whether the model exists."""
    body = parse_json_object(raw)
    check_template_arguments(body)
    retrieval = body.pop("retrieval", None) or {}
    name = parse_model_name(body.get("model"))
    if not isinstance(retrieval, dict) or set(retrieval) - set(RETRIEVAL_KEYS):
        raise _bad(f"`retrieval` takes an object with {', '.join(RETRIEVAL_KEYS)}.", "retrieval")
    name = _with_collection(name, retrieval.get("collection"))
    top_k = retrieval.get("top_k")
    if top_k is not None and (type(top_k) is not int or not 1 <= top_k <= MAX_TOP_K):
        raise _bad(f"`retrieval.top_k` takes a whole number from 1 to {MAX_TOP_K}.", "retrieval.top_k")
    where, query = _filter(retrieval.get("filter")), retrieval.get("query")
    if query is not None and (not isinstance(query, str) or not 0 < len(query.strip()) <= MAX_QUERY_LENGTH):
        raise _bad(f"`retrieval.query` takes a text of up to {MAX_QUERY_LENGTH} characters.", "retrieval.query")
    if (top_k is not None or where is not None or query is not None) and name.collection is None:
        raise _bad("`retrieval` needs a collection: base+collection, or `retrieval.collection`.", "retrieval")
    return GenerationRequest(
        name=name,
        body=body,
        stream=_flag(body.get("stream"), "stream"),
        top_k=top_k,
        where=where,
        return_messages=_flag(retrieval.get("return_messages"), "retrieval.return_messages"),
        return_passages=_flag(retrieval.get("return_passages"), "retrieval.return_passages"),
        query=query,
    )


def check_template_arguments(body: Body) -> None:
    """Check `chat_template_kwargs`, the arguments of a model's chat template, such as `{"enable_thinking": false}`.

    Raises ApiError 400 for a value that is no scalar, and for a name that would change the conversation, the tools or
    how both become tokens.
    """
    arguments = body.get("chat_template_kwargs")
    if arguments is None:
        return
    where = "chat_template_kwargs"
    if not isinstance(arguments, dict):
        accepted = f"an object with up to {MAX_TEMPLATE_ARGUMENTS} arguments of the chat template"
        raise _bad(f"`{where}` takes {accepted}.", where)
    if problem := find_bad_argument(arguments, f"`{where}`"):
        raise _bad(problem[1], problem[0])


def parse_rating(body: Body) -> tuple[str, str, str]:
    """Which answer a caller rates, `up` or `down`, and a comment. Raises ApiError 400."""
    answer_id, thumb, comment = body.get("id"), body.get("rating"), body.get("comment", "")
    if not isinstance(answer_id, str) or not 0 < len(answer_id) <= MAX_ID_LENGTH:
        raise _bad("`id` takes the id of an answer.", "id")
    if thumb not in ("up", "down"):
        raise _bad("`rating` takes up or down.", "rating")
    if not isinstance(comment, str) or len(comment) > MAX_COMMENT_LENGTH:
        raise _bad(f"`comment` takes a text of up to {MAX_COMMENT_LENGTH} characters.", "comment")
    return answer_id, thumb, comment


def search_query(messages: Any) -> str:
    """The text of the last user message, behind those before it in a conversation as far as they are short: what is
    asked next may only say "it". Raises ApiError 400 where there is none."""
    turns = messages if isinstance(messages, list) else []
    asked = [_text(turn.get("content")) for turn in turns if isinstance(turn, dict) and turn.get("role") == "user"]
    questions = [text for text in asked if text.strip()]
    if not questions or not asked[-1].strip():
        raise _bad("Retrieval needs `messages` with a user message that holds text.", "messages")
    *earlier, last = questions
    context: list[str] = []
    for question in reversed(earlier):
        if estimate_tokens("\n".join([question, *context])) > CONTEXT_TOKENS:
            break
        context.insert(0, question)
    return "\n".join([*context, last])


def parse_json_object(raw: bytes) -> Body:
    """Raises ApiError 400 where the bytes are none."""
    try:
        text = raw.decode()
        body = json.loads(text)
        if "\\ud" in text.lower():  # half a surrogate pair is JSON, but nothing that can be sent on
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _bad("The body is not valid JSON in UTF-8.", None) from error
    if not isinstance(body, dict):
        raise _bad("The body takes a JSON object.", None)
    return body


def parse_model_name(model: Any) -> ModelName:
    """Raises ApiError 400 where it cannot be read."""
    if not isinstance(model, str):
        raise _bad("`model` takes a string; GET /v1/models lists the names.", "model")
    try:
        return ModelName.parse(model)
    except TandemError as error:
        raise ApiError.of(error, 400, param="model") from error


def _with_collection(name: ModelName, collection: Any) -> ModelName:
    if collection is None or collection == name.collection:
        return name
    if not isinstance(collection, str) or not is_collection(collection):
        raise _bad("`retrieval.collection` takes the name of a collection, or of several: a+b.", "retrieval.collection")
    if name.collection is not None:
        raise _bad(f"`model` names the collection {name.collection}, `retrieval` another.", "retrieval.collection")
    return ModelName(name.base, name.adapter, name.version, collection)


def _filter(written: Any) -> Filter | None:
    try:
        return None if written is None else parse_filter(written)
    except TandemError as error:
        raise ApiError.of(error, 400, param="retrieval.filter") from error


def _flag(value: Any, param: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _bad(f"`{param}` takes true or false.", param)
    return bool(value)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))


def _bad(message: str, param: str | None) -> ApiError:
    return ApiError(400, message, param=param)


MAX_TEXTS = 2048
DEFAULT_RESULTS = 10
MAX_RESULTS = 50


def as_list(texts: Any) -> Any:
    """One text is a list of one."""
    return [texts] if isinstance(texts, str) else texts


Text = Annotated[str, StringConstraints(min_length=1)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS), BeforeValidator(as_list)]


class EmbeddingsRequest(BaseModel):
    model: Literal["embedding"]
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: Literal["query", "document"] = "document"
    """Ours: whether the texts are questions, for models that embed those with another prefix."""


class RankingOptions(BaseModel):
    score_threshold: float | None = None


class SearchRequest(BaseModel):
    query: Texts
    details: bool = False
    """Ours, for one query: the passages as the retriever gives them, whose rights they were found with, and a digest of
    the settings."""
    filters: Any = None
    max_num_results: int = Field(default=DEFAULT_RESULTS, ge=1, le=MAX_RESULTS)
    ranking_options: RankingOptions = RankingOptions()
    rewrite_query: Literal[False] = False

    @field_validator("details")
    @classmethod
    def _of_one_query(cls, details: bool, known: ValidationInfo) -> bool:
        if details and len(known.data.get("query", ())) > 1:
            raise ValueError("details are given for one query")
        return details


class RerankRequest(BaseModel):
    model: Literal["embedding", "reranker"] = "reranker"
    query: Text
    documents: Texts
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool = True


class ScoreRequest(BaseModel):
    model: Literal["embedding", "reranker"] = "reranker"
    text_1: Texts
    text_2: Texts
