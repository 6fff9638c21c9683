"""A search engine that is asked at question time: `POST /{index}/_search` of Elasticsearch and OpenSearch.

    found = LiveEngine(config).search("How do I reset my password?", rights, where=None)

Checked against a server of its protocol in the tests, not against the products themselves.
"""

import base64
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from retrieval.config import LiveConfig
from retrieval.errors import RetrievalUnavailable
from retrieval.filters.filters import Filter
from retrieval.filters.rights import Rights
from retrieval.search.hits import LIVE_ID
from retrieval.search.live_query import PASSAGE_CHARACTERS, field_value, request_body, visible
from retrieval.search.retrievers import Candidate

KEY_VARIABLE = "SEARCH_API_KEY"
MAX_ANSWER_BYTES = 8_000_000
MAX_TITLE_CHARACTERS = 200
MAX_CONNECTIONS = 64


class LiveEngine:
    """One index of one engine. Thread-safe; every search ends within `config.timeout_s`."""

    def __init__(self, config: LiveConfig) -> None:
        self.config = config
        self._client = httpx.Client(
            base_url=config.url,
            headers=_authorization(os.environ.get(KEY_VARIABLE, "")),
            timeout=config.timeout_s,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            follow_redirects=False,
        )

    def search(self, question: str, rights: Rights, where: Filter | None) -> list[Candidate]:
        """The engine's best documents that the caller may see and the filter lets through, with its own scores.

        Raises:
            RetrievalUnavailable: it does not answer in time, refuses the key, or answers something else than hits.
            NotTranslatable: the filter names what its documents do not have.
            TandemError: the filter is malformed or too large.
        """
        body = request_body(self.config, question, rights, where)
        try:
            answer = self._answer(body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"does not answer ({type(error).__name__})"
            raise self._unavailable(reason, f"within {self.config.timeout_s:g} seconds") from error
        documents = self._documents(answer)
        allowed = [each for each in documents if visible(self.config, each["_source"], rights, where)]
        return [candidate for each in allowed if (candidate := _found(self.config, each)) is not None]

    def late(self) -> RetrievalUnavailable:
        """The error for a search that nobody waits for any more."""
        return self._unavailable("does not answer", f"within {self.config.timeout_s:g} seconds")

    def close(self) -> None:
        self._client.close()

    def _answer(self, body: Mapping[str, Any]) -> bytes:
        """The body of the answer. httpx has no limit for a whole request, nor for the size of an answer."""
        deadline = time.monotonic() + self.config.timeout_s
        path, received = f"/{quote(self.config.index, safe='*')}/_search", bytearray()
        with self._client.stream("POST", path, json=body) as response:
            if response.status_code != 200:
                raise self._refused(response.status_code)
            for part in response.iter_bytes():
                received += part
                if len(received) > MAX_ANSWER_BYTES:
                    raise self._unavailable(f"answers with more than {MAX_ANSWER_BYTES} bytes", "with less")
                if time.monotonic() > deadline:
                    raise self._unavailable("does not end its answer", f"within {self.config.timeout_s:g} seconds")
        return bytes(received)

    def _documents(self, answer: bytes) -> list[dict[str, Any]]:
        try:
            hits = json.loads(answer)["hits"]["hits"]
            whole = [each for each in hits if isinstance(each["_source"], dict) and isinstance(each["_id"], str)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._unavailable("answers something else than hits", "with `hits.hits` as JSON") from error
        return whole

    def _refused(self, status: int) -> RetrievalUnavailable:
        if status in (401, 403):
            return RetrievalUnavailable(
                f"The live search engine at {self.config.url} refuses the key (HTTP {status}).",
                f"The environment variable {KEY_VARIABLE} holds an API key, or user:password.",
                f"Set {KEY_VARIABLE} to one that may search {self.config.index}.",
            )
        return self._unavailable(f"answers HTTP {status} for the index {self.config.index}", "with HTTP 200")

    def _unavailable(self, seen: str, accepted: str) -> RetrievalUnavailable:
        return RetrievalUnavailable(
            f"The live search engine at {self.config.url} {seen}.",
            f"An Elasticsearch or OpenSearch that answers {accepted}.",
            "Check retrieval.live, or leave it out to search the index alone.",
        )


def _found(config: LiveConfig, hit: Mapping[str, Any]) -> Candidate | None:
    """None where a document has no text."""
    document = hit["_source"]
    text = next(_texts(hit, config.text_field), "").strip()
    if not text:
        return None
    name = f"{hit.get('_index', config.index)}/{hit['_id']}"
    source = _text(field_value(document, config.source_field)) if config.source_field else ""
    title = _text(field_value(document, config.title_field)) if config.title_field else ""
    title = " ".join(title.split())[:MAX_TITLE_CHARACTERS] or source or name
    score = hit.get("_score")
    return Candidate(
        id=f"{LIVE_ID}{name}",
        source=source or name,
        position=0,
        content=f"{title}\n{text[: 2 * PASSAGE_CHARACTERS]}",
        score=float(score) if isinstance(score, int | float) and math.isfinite(score) else 0.0,
    )


def _texts(hit: Mapping[str, Any], field: str) -> Iterator[str]:
    """The best part of the text, which the engine was asked for; else its beginning."""
    highlighted = hit.get("highlight")
    parts = highlighted.get(field) if isinstance(highlighted, dict) else None
    if isinstance(parts, list) and parts and isinstance(parts[0], str):
        yield parts[0]
    yield _text(field_value(hit["_source"], field))[:PASSAGE_CHARACTERS]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(each for each in value if isinstance(each, str))
    return value if isinstance(value, str) else ""


def _authorization(key: str) -> dict[str, str]:
    if not key:
        return {}
    if ":" in key:
        return {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"}
    return {"Authorization": f"ApiKey {key}"}
