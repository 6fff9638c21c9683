"""Bodies of requests: what is taken out, and what is refused before anything else sees it."""

import json
from typing import Any

import pytest

from serving.errors import ApiError
from serving.request import last_question, parse_request

USER = {"role": "user", "content": "How many?"}


def parsed(**body: Any) -> Any:
    return parse_request(json.dumps({"model": "base", "messages": [USER]} | body).encode())


def test_retrieval_is_ours_and_the_rest_goes_on() -> None:
    request = parsed(retrieval={"collection": "docs", "top_k": 5, "return_messages": True}, temperature=0.5)
    assert (str(request.name), request.top_k, request.return_messages, request.stream) == ("base+docs", 5, True, False)
    assert request.body == {"model": "base", "messages": [USER], "temperature": 0.5}


def test_name_and_body_may_name_the_same_collection() -> None:
    assert parsed(model="base+docs", retrieval={"collection": "docs"}).name.collection == "docs"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": "No Such/Name"}, "model"),
        ({"retrieval": "docs"}, "retrieval"),
        ({"retrieval": {"colection": "docs"}}, "retrieval"),
        ({"retrieval": {"collection": "A b"}}, "retrieval.collection"),
        ({"retrieval": {"collection": ["docs"]}}, "retrieval.collection"),
        ({"model": "base+docs", "retrieval": {"collection": "other"}}, "retrieval.collection"),
        ({"retrieval": {"top_k": 3}}, "retrieval"),
        ({"model": "base+docs", "retrieval": {"top_k": 0}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"top_k": 101}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"top_k": "3"}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"top_k": True}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"return_messages": 1}}, "retrieval.return_messages"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_bad_parameters_are_400_and_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refused:
        parsed(**body)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert set(refused.value.body()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'"x"', b"7", b"null", b"\xff\xfe", b"[" * 100_000, b'{"model": "base", "x": "\\ud800"}',
     b'{"model": "base"} trailing'],
)  # fmt: skip
def test_what_is_no_json_object_is_400(raw: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        parse_request(raw)
    assert refused.value.status == 400


def test_whole_surrogate_pairs_are_text() -> None:
    raw = b'{"model": "base", "messages": [{"role": "user", "content": "\\ud83d\\ude00"}]}'
    assert last_question(parse_request(raw).body["messages"]) == "😀"


def test_the_last_user_message_is_the_question() -> None:
    turns = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "a"}, USER, {"role": "tool"}]
    assert last_question(turns) == "How many?"
    parts = [{"type": "text", "text": "How"}, {"type": "image_url"}, {"type": "text", "text": "many?"}]
    assert last_question([{"role": "user", "content": parts}]) == "How\nmany?"


@pytest.mark.parametrize(
    "messages",
    [None, [], "text", {}, [None], ["text"], [{"role": "system", "content": "x"}], [{"role": "user"}],
     [{"role": "user", "content": "  "}], [{"role": "user", "content": 7}], [{"role": "user", "content": [None, 3]}],
     [{"role": "user", "content": [{"type": "text", "text": None}]}]],
)  # fmt: skip
def test_no_question_no_retrieval(messages: Any) -> None:
    with pytest.raises(ApiError) as refused:
        last_question(messages)
    assert refused.value.status == 400
