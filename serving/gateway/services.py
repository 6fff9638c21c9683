"""What the endpoint answers without computing text: embeddings, search in a collection, rerank, score, tokens.

Shapes are OpenAI's for embeddings and vector stores, and vLLM's for the others, which OpenAI has not.
"""

import asyncio
import base64
import struct
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from cluster.errors import TandemError
from retrieval.filters.filter_json import parse_filter
from retrieval.filters.filters import Filter
from retrieval.filters.rights import Rights
from retrieval.store.collection import MAX_COLLECTIONS, SEPARATOR
from serving.access.admission import AccessRequest
from serving.access.token_usage import TokenUsage
from serving.api.errors import ApiError
from serving.api.model_name import is_collection
from serving.api.requests import EmbeddingsRequest, RerankRequest, ScoreRequest, SearchRequest
from serving.config import RESERVED_MODELS
from serving.retriever import Retrieval

EMBEDDING, RERANKER = RESERVED_MODELS


Body = dict[str, Any]
RequestBody = TypeVar("RequestBody", bound=BaseModel)


@dataclass(frozen=True)
class ServiceCall:
    """A request that was read, and what answers it."""

    wanted: AccessRequest
    run: Callable[[Rights], Awaitable[Body]]


class Services:
    """Reads requests and lets the retriever answer them."""

    def __init__(self, retriever: DeploymentHandle | None, timeout_s: float, search_settings: str = "") -> None:
        self._retriever, self._timeout_s, self._search_settings = retriever, timeout_s, search_settings

    def embeddings(self, body: Body) -> ServiceCall:
        """`POST /v1/embeddings`. Raises ApiError 400 or 404, as all do."""
        asked = self._read(EmbeddingsRequest, body)
        texts = asked.input
        token_usage = TokenUsage.of_texts(texts)

        async def run(_: Rights) -> Body:
            found = await self._ask("embed", texts, asked.input_type == "query")
            token_usage.reported = found.num_tokens
            if asked.dimensions not in (None, len(found.rows[0]) // 4):
                raise ApiError(400, f"The model gives {len(found.rows[0]) // 4} dimensions.", param="dimensions")
            data = [
                {"object": "embedding", "index": index, "embedding": _written(row, asked.encoding_format)}
                for index, row in enumerate(found.rows)
            ]
            return {"object": "list", "data": data, "model": asked.model, "usage": _usage(token_usage)}

        return ServiceCall(AccessRequest(asked.model, asked.model, None, token_usage), run)

    def search(self, collection: str, body: Body) -> ServiceCall:
        """`POST /v1/vector_stores/{collection}/search`."""
        asked = self._read(SearchRequest, body)
        if not is_collection(collection):
            if SEPARATOR in collection:
                raise ApiError(400, f"Up to {MAX_COLLECTIONS} different collections are searched together, as a+b.")
            raise ApiError(404, f"There is no collection {collection[:100]!r}.", code="collection_not_found")
        where, questions = _filter(asked.filters), asked.query

        async def run(rights: Rights) -> Body:
            found = await asyncio.gather(
                *(self.find(collection, question, asked.max_num_results, rights, where) for question in questions)
            )
            best = {
                hit.id: hit for each in found for hit in sorted(raise_for_status(each).hits, key=lambda hit: hit.score)
            }
            hits = sorted(best.values(), key=lambda hit: -hit.score)[: asked.max_num_results]
            least = asked.ranking_options.score_threshold
            data = [_result(hit) for hit in hits if least is None or hit.score >= least]
            page = {
                "object": "vector_store.search_results.page", "search_query": questions, "data": data,
                "has_more": False, "next_page": None,
            }  # fmt: skip
            return page | {"details": self._details(found[0], rights)} if asked.details else page

        wanted = AccessRequest(f"the collection {collection}", None, collection, TokenUsage.of_texts(questions))
        return ServiceCall(wanted, run)

    def rerank(self, body: Body) -> ServiceCall:
        """`POST /v1/rerank`."""
        asked = self._read(RerankRequest, body)
        token_usage = TokenUsage.of_texts([asked.query, *asked.documents])

        async def run(_: Rights) -> Body:
            scores = await self._scores([(asked.query, text) for text in asked.documents], asked.model, token_usage)
            order = sorted(range(len(scores)), key=lambda index: -scores[index])[: asked.top_n]
            results = [
                {"index": index, "relevance_score": scores[index]}
                | ({"document": {"text": asked.documents[index]}} if asked.return_documents else {})
                for index in order
            ]
            return {"id": _new("rerank"), "model": asked.model, "usage": _usage(token_usage), "results": results}

        return ServiceCall(AccessRequest(asked.model, asked.model, None, token_usage), run)

    def score(self, body: Body) -> ServiceCall:
        """`POST /v1/score`: one text with each of many, or as many with as many."""
        asked = self._read(ScoreRequest, body)
        left, right = asked.text_1, asked.text_2
        if len(left) not in (1, len(right)):
            raise ApiError(400, f"`text_1` has {len(left)} texts and `text_2` {len(right)}.", param="text_1")
        pairs = list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))
        token_usage = TokenUsage.of_texts([*left, *right])

        async def run(_: Rights) -> Body:
            scores = await self._scores(pairs, asked.model, token_usage)
            data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
            return {
                "id": _new("score"), "object": "list", "created": int(time.time()), "model": asked.model, "data": data,
                "usage": _usage(token_usage),
            }  # fmt: skip

        return ServiceCall(AccessRequest(asked.model, asked.model, None, token_usage), run)

    async def find(
        self, collection: str, question: str, top_k: int | None, rights: Rights, where: Filter | None = None
    ) -> Retrieval:
        """What the retriever found, or that it did not answer in time."""
        if self._retriever is None:
            return Retrieval(404, f"There is no collection {collection!r}: this endpoint serves without retrieval.")
        try:
            async with asyncio.timeout(self._timeout_s):
                retrieval: Retrieval = await self._retriever.search.remote(collection, question, top_k, rights, where)
                return retrieval
        except (TimeoutError, RayActorError, DeploymentUnavailableError):
            return Retrieval(503, "Retrieval gave no answer in time. Ask again, or ask without a collection.")

    def models(self) -> list[str]:
        """Names of what can be asked for here; whether there is a reranker is seen when it is asked."""
        return [] if self._retriever is None else [EMBEDDING]

    def _details(self, found: Retrieval, rights: Rights) -> Body:
        return {
            "settings": self._search_settings, "tenant": rights.tenant, "labels": sorted(rights.labels),
            "hits": [asdict(hit) for hit in found.hits], "timings": found.timings, "missing": found.missing,
        }  # fmt: skip

    async def _scores(self, pairs: list[tuple[str, str]], model: str, token_usage: TokenUsage) -> list[float]:
        scored = await self._ask("score", pairs, model == RERANKER)
        token_usage.reported = scored.num_tokens
        scores: list[float] = scored.scores
        return scores

    async def _ask(self, method: str, *arguments: Any) -> Any:
        assert self._retriever is not None
        result = await getattr(self._retriever, method).remote(*arguments)
        if result.status != 200:
            raise ApiError(result.status, result.reason, code="model_not_found" if result.status == 404 else None)
        return result

    def _read(self, kind: type[RequestBody], body: Body) -> RequestBody:
        if self._retriever is None:
            raise ApiError(404, "This endpoint serves without retrieval.", code="model_not_found")
        try:
            return kind.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part in body)
            if first["loc"] == ("model",) and isinstance(body.get("model"), str):
                raise ApiError(
                    404, f"That model is not served here: {first['msg']}.", param="model", code="model_not_found"
                ) from error
            raise ApiError(400, f"{where or first['loc'][0]}: {first['msg']}.", param=where or None) from error


def raise_for_status(retrieval: Retrieval) -> Retrieval:
    """The same. Raises ApiError where nothing could be searched."""
    if retrieval.status != 200:
        code = {404: "collection_not_found", 503: "retrieval_unavailable"}.get(retrieval.status)
        raise ApiError(retrieval.status, retrieval.reason, param="model", code=code)
    return retrieval


def _filter(written: Any) -> Filter | None:
    try:
        return None if written is None else parse_filter(written)
    except TandemError as error:
        raise ApiError.of(error, 400, param="filters") from error


def _result(hit: Any) -> Body:
    return {
        "file_id": hit.source, "filename": hit.source, "score": hit.score,
        "attributes": {"id": hit.id, "title": hit.title, "citation": hit.citation},
        "content": [{"type": "text", "text": hit.text}],
    }  # fmt: skip


def _written(row: bytes, encoding: str) -> list[float] | str:
    return base64.b64encode(row).decode() if encoding == "base64" else list(struct.unpack(f"<{len(row) // 4}f", row))


def _usage(token_usage: TokenUsage) -> Body:
    return {"prompt_tokens": token_usage.num_tokens, "total_tokens": token_usage.num_tokens}


def _new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"
