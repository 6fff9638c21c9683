"""What needs no text computed: shapes, rights, refusals. The retriever is a stand-in; test_openai has the real one."""

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from retrieval.filters.filters import FieldComparison
from retrieval.filters.rights import NOBODY, Rights
from retrieval.search.hits import Hit
from serving.access.keys import Keys
from serving.api.errors import ApiError
from serving.api.requests import IncomingRequest
from serving.gateway.gateway import Gateway
from serving.retriever import Retrieval, ScoredTexts, Vectors
from tests.serving.gateway.test_gateway import Handle, settings_of

ROW = struct.pack("<2f", 0.6, 0.8)
HITS = {
    "a": Hit("Iron", "Iron is 26.", "a", "iron.md", 0, 0.5),
    "b": Hit("Gold", "Gold is 79.", "b", "gold.md", 2, 0.9),
}


def answered(
    method: str, body: dict[str, Any], retriever: Handle | None, path: str | None = None, **known: Any
) -> dict[str, Any]:
    """What a gateway says to a request."""

    async def ask() -> dict[str, Any]:
        gateway = Gateway(settings_of(**known.get("settings", {})), {}, retriever)  # type: ignore[arg-type]
        read: Any = partial(gateway.services.search, path) if path else getattr(gateway.services, method)
        response = await gateway.call(
            method, read, IncomingRequest(json.dumps(body).encode(), known.get("authorization"))
        )
        found: dict[str, Any] = json.loads(bytes(response.body))
        return found

    return asyncio.run(ask())


def refusal(*arguments: Any, **known: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        answered(*arguments, **known)
    return refused.value


def embedding(**found: Any) -> Handle:
    return Handle(embed=lambda texts, _: Vectors(200, rows=[ROW] * len(texts), num_tokens=7, **found))


def test_vectors_come_as_numbers_or_as_bytes() -> None:
    body = answered("embeddings", {"model": "embedding", "input": ["x", "y"]}, embedding())
    assert [one["index"] for one in body["data"]] == [0, 1]
    assert body["data"][1]["embedding"] == pytest.approx([0.6, 0.8])
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    body = answered("embeddings", {"model": "embedding", "input": "x", "encoding_format": "base64"}, embedding())
    assert base64.b64decode(body["data"][0]["embedding"]) == ROW


def test_questions_may_be_embedded_as_questions() -> None:
    retriever = embedding()
    answered("embeddings", {"model": "embedding", "input": "x", "input_type": "query"}, retriever)
    answered("embeddings", {"model": "embedding", "input": "x"}, retriever)
    assert retriever.asked == [(["x"], True), (["x"], False)]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "embedding"}, 400, None),
        ({"model": "embedding", "input": []}, 400, "input"),
        ({"model": "embedding", "input": [""]}, 400, "input.0"),
        ({"model": "embedding", "input": [1, 2]}, 400, "input.0"),
        ({"model": "embedding", "input": ["x"] * 2049}, 400, "input"),
        ({"model": "embedding", "input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"model": "embedding", "input": "x", "dimensions": 3}, 400, "dimensions"),
        ({"model": "base", "input": "x"}, 404, "model"),
        ({"model": 7, "input": "x"}, 400, "model"),
    ],
)
def test_what_cannot_be_embedded(body: dict[str, Any], status: int, param: str | None) -> None:
    refused = refusal("embeddings", body, embedding())
    assert (refused.status, refused.param) == (status, param), refused.message


def test_several_queries_give_each_passage_once_the_best_first() -> None:
    found = {"Iron?": [HITS["a"]], "Metals?": [HITS["b"], HITS["a"]]}
    retriever = Handle(search=lambda _, question, *__: Retrieval(200, hits=found[question]))
    body = answered("search", {"query": ["Iron?", "Metals?"]}, retriever, "docs")
    assert [(one["file_id"], one["score"]) for one in body["data"]] == [("gold.md", 0.9), ("iron.md", 0.5)]
    assert body["data"][1]["content"] == [{"type": "text", "text": "Iron is 26."}]
    assert body["data"][1]["attributes"]["citation"] == "iron.md#0"
    limited = {"query": ["Iron?", "Metals?"], "ranking_options": {"score_threshold": 0.6}}
    assert [one["file_id"] for one in answered("search", limited, retriever, "docs")["data"]] == ["gold.md"]
    one = answered("search", {"query": ["Iron?", "Metals?"], "max_num_results": 1}, retriever, "docs")
    assert [each["file_id"] for each in one["data"]] == ["gold.md"]


def test_a_search_carries_the_filter_and_the_callers_rights(tmp_path: Path) -> None:
    retriever = Handle(search=lambda *_: Retrieval(200))
    written = {"type": "eq", "key": "year", "value": 2024}
    _, secret = Keys(tmp_path).create("t", tenant="acme", labels=("hr",))
    answered(
        "search", {"query": "x", "filters": written}, retriever, "docs", settings={"keys": tmp_path},
        authorization=f"Bearer {secret}",
    )  # fmt: skip
    answered("search", {"query": "x"}, retriever, "docs")
    where = FieldComparison("metadata.year", "==", 2024)
    assert retriever.asked == [
        ("docs", "x", 10, Rights("acme", frozenset({"hr"})), where),
        ("docs", "x", 10, NOBODY, None),
    ]


def test_details_are_those_of_the_retriever_and_say_whose_rights_they_were_found_with(tmp_path: Path) -> None:
    timings, missing = {"took_ms": 3.0, "embed_ms": 1.0}, {"live": "It does not answer."}
    retriever = Handle(search=lambda *_: Retrieval(200, hits=list(HITS.values()), timings=timings, missing=missing))
    _, secret = Keys(tmp_path).create("t", tenant="acme", labels=("hr", "a"))
    page = answered(
        "search", {"query": "x", "details": True}, retriever, "docs", authorization=f"Bearer {secret}",
        settings={"keys": tmp_path, "search_settings": "digest"},
    )  # fmt: skip
    details = page["details"]
    assert [hit["id"] for hit in details["hits"]] == ["a", "b"], "in their own order"
    assert details["hits"][0] == json.loads(json.dumps(asdict(HITS["a"])))
    assert (details["settings"], details["tenant"], details["labels"]) == ("digest", "acme", ["a", "hr"])
    assert (details["timings"], details["missing"]) == (timings, missing)
    assert "details" not in answered("search", {"query": "x"}, retriever, "docs")
    assert refusal("search", {"query": ["x", "y"], "details": True}, retriever, "docs").status == 400


@pytest.mark.parametrize(
    ("allowed", "method", "body", "path"),
    [
        ({"collections": ("other",)}, "search", {"query": "x"}, "docs"),
        ({"models": ("base",)}, "embeddings", {"model": "embedding", "input": "x"}, None),
        ({"models": ("base",)}, "rerank", {"query": "x", "documents": ["y"]}, None),
    ],
)
def test_a_key_reaches_only_what_it_names(
    tmp_path: Path, allowed: dict[str, Any], method: str, body: dict[str, Any], path: str | None
) -> None:
    _, secret = Keys(tmp_path).create("t", **allowed)
    known = {"settings": {"keys": tmp_path}, "authorization": f"Bearer {secret}"}
    retriever = Handle()
    assert refusal(method, body, retriever, path, **known).status == 403
    assert refusal(method, body, retriever, path, settings={"keys": tmp_path}).status == 401


def test_several_collections_are_searched_together_with_the_right_to_each(tmp_path: Path) -> None:
    retriever = Handle(search=lambda *_: Retrieval(200))
    answered("search", {"query": "x"}, retriever, "docs+tickets")
    assert retriever.asked == [("docs+tickets", "x", 10, NOBODY, None)]
    for name in ("docs+docs", "docs+", "+".join(f"c{number}" for number in range(9))):
        assert refusal("search", {"query": "x"}, retriever, name).status == 400
    for name in ("文档", "Docs", "docs\n", "../docs", "x" * 100_000):
        refused = refusal("search", {"query": "x"}, retriever, name)
        assert (refused.status, refused.code) == (404, "collection_not_found") and len(refused.message) < 300
    assert len(retriever.asked) == 1
    _, secret = Keys(tmp_path).create("t", collections=("docs",))
    known = {"settings": {"keys": tmp_path}, "authorization": f"Bearer {secret}"}
    assert refusal("search", {"query": "x"}, retriever, "docs+tickets", **known).status == 403


@pytest.mark.parametrize(("status", "code"), [(404, "collection_not_found"), (503, "retrieval_unavailable")])
def test_what_cannot_be_searched(status: int, code: str) -> None:
    refused = refusal("search", {"query": "x"}, Handle(search=lambda *_: Retrieval(status, "Why.")), "docs")
    assert (refused.status, refused.code, refused.message) == (status, code, "Why.")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"query": ""}, "query.0"),
        ({"query": "x", "max_num_results": 51}, "max_num_results"),
        ({"query": "x", "filters": "year == 1"}, "filters"),
        ({"query": "x", "rewrite_query": True}, "rewrite_query"),
    ],
)
def test_searches_that_cannot_be_read(body: dict[str, Any], param: str | None) -> None:
    refused = refusal("search", body, Handle(), "docs")
    assert (refused.status, refused.param) == (400, param)


def scoring(*scores: float) -> Handle:
    return Handle(score=lambda *_: ScoredTexts(200, scores=list(scores), num_tokens=9))


def test_documents_are_ordered_by_their_scores() -> None:
    retriever = scoring(0.1, 0.9, 0.5)
    body = answered("rerank", {"query": "q", "documents": ["x", "y", "z"], "top_n": 2}, retriever)
    assert [(one["index"], one["relevance_score"], one["document"]["text"]) for one in body["results"]] == [
        (1, 0.9, "y"), (2, 0.5, "z"),
    ]  # fmt: skip
    assert retriever.asked == [([("q", "x"), ("q", "y"), ("q", "z")], True)]
    assert body["usage"]["total_tokens"] == 9


def test_texts_are_scored_one_with_many_or_each_with_its_own() -> None:
    retriever = scoring(0.1, 0.2)
    body = answered("score", {"model": "embedding", "text_1": "q", "text_2": ["x", "y"]}, retriever)
    assert [(one["index"], one["score"]) for one in body["data"]] == [(0, 0.1), (1, 0.2)]
    answered("score", {"text_1": ["p", "q"], "text_2": ["x", "y"]}, retriever)
    assert retriever.asked == [([("q", "x"), ("q", "y")], False), ([("p", "x"), ("q", "y")], True)]
    assert refusal("score", {"text_1": ["p", "q"], "text_2": ["x"]}, retriever).status == 400


def test_without_a_reranker_it_is_said() -> None:
    missing = Handle(score=lambda *_: ScoredTexts(404, "No reranker is served."))
    refused = refusal("rerank", {"query": "q", "documents": ["x"]}, missing)
    assert (refused.status, refused.message) == (404, "No reranker is served.")


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [("embeddings", None, {"model": "embedding", "input": "x"}), ("search", "docs", {"query": "x"})],
)
def test_an_endpoint_without_retrieval(method: str, path: str | None, call: dict[str, Any]) -> None:
    assert refusal(method, call, None, path).status == 404


def test_a_retriever_that_hangs() -> None:
    async def hang(*_: Any) -> Vectors:
        await asyncio.sleep(10)
        raise AssertionError

    hanging: Callable[..., Any] = hang
    body = {"model": "embedding", "input": "x"}
    assert refusal("embeddings", body, Handle(embed=hanging), settings={"request_timeout_s": 0.1}).status == 408
