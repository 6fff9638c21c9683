"""Bodies of requests: what is taken out, and what is refused before anything else sees it."""

import inspect
import json
from typing import Any

import pytest

from cluster.template_arguments import TAKEN_ARGUMENTS
from retrieval.filters.filters import FieldComparison
from serving.api.errors import ApiError
from serving.api.requests import parse_request, search_query

USER = {"role": "user", "content": "How many?"}


def parsed(**body: Any) -> Any:
    return parse_request(json.dumps({"model": "base", "messages": [USER]} | body).encode())


def test_retrieval_is_ours_and_the_rest_goes_on() -> None:
    request = parsed(retrieval={"collection": "docs", "top_k": 5, "return_messages": True}, temperature=0.5)
    assert (str(request.name), request.top_k, request.return_messages, request.stream) == ("base+docs", 5, True, False)
    assert request.body == {"model": "base", "messages": [USER], "temperature": 0.5}


def test_name_and_body_may_name_the_same_collection() -> None:
    assert parsed(model="base+docs", retrieval={"collection": "docs"}).name.collection == "docs"
    assert parsed(retrieval={"collection": "docs+tickets"}).name == parsed(model="base+docs+tickets").name


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": "No Such/Name"}, "model"),
        ({"retrieval": "docs"}, "retrieval"),
        ({"retrieval": {"colection": "docs"}}, "retrieval"),
        ({"retrieval": {"collection": "A b"}}, "retrieval.collection"),
        ({"retrieval": {"collection": "docs+docs"}}, "retrieval.collection"),
        ({"retrieval": {"collection": "docs+"}}, "retrieval.collection"),
        ({"retrieval": {"collection": ["docs"]}}, "retrieval.collection"),
        ({"model": "base+docs", "retrieval": {"collection": "other"}}, "retrieval.collection"),
        ({"retrieval": {"top_k": 3}}, "retrieval"),
        ({"model": "base+docs", "retrieval": {"top_k": 0}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"top_k": 101}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"top_k": "3"}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"top_k": True}}, "retrieval.top_k"),
        ({"model": "base+docs", "retrieval": {"return_messages": 1}}, "retrieval.return_messages"),
        ({"stream": "yes"}, "stream"),
        ({"model": "base+docs", "retrieval": {"query": " "}}, "retrieval.query"),
        ({"model": "base+docs", "retrieval": {"query": ["x"]}}, "retrieval.query"),
        ({"model": "base+docs", "retrieval": {"query": "x" * 9000}}, "retrieval.query"),
        ({"retrieval": {"query": "x"}}, "retrieval"),
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
    assert search_query(parse_request(raw).body["messages"]) == "😀"


def test_the_last_user_message_is_the_question() -> None:
    assert search_query([{"role": "system", "content": "s"}, USER, {"role": "tool"}]) == "How many?"
    parts = [{"type": "text", "text": "How"}, {"type": "image_url"}, {"type": "text", "text": "many?"}]
    assert search_query([{"role": "user", "content": parts}]) == "How\nmany?"


def test_what_is_asked_next_is_searched_with_what_was_asked_before() -> None:
    turns = [user("What is the symbol of Iron?"), {"role": "assistant", "content": "Fe"}, user("And its number?")]
    assert search_query(turns) == "What is the symbol of Iron?\nAnd its number?"
    assert search_query([user("long " * 500), *turns]) == "What is the symbol of Iron?\nAnd its number?"
    assert search_query([user("Iron?"), user("long " * 500), user("How many?")]) == "How many?", "no gap in the context"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_a_filter_is_read_as_a_tree() -> None:
    written = {"type": "eq", "key": "year", "value": 2024}
    assert parsed(model="base+docs", retrieval={"filter": written}).where == FieldComparison(
        "metadata.year", "==", 2024
    )
    for wrong in ({"filter": "year == 2024"}, {"filter": {"type": "eq", "key": "tenant"}}):
        with pytest.raises(ApiError) as refused:
            parsed(model="base+docs", retrieval=wrong)
        assert (refused.value.status, refused.value.param) == (400, "retrieval.filter")
    with pytest.raises(ApiError, match="needs a collection"):
        parsed(retrieval={"filter": written})


@pytest.mark.parametrize(
    "messages",
    [None, [], "text", {}, [None], ["text"], [{"role": "system", "content": "x"}], [{"role": "user"}],
     [{"role": "user", "content": "  "}], [{"role": "user", "content": 7}], [{"role": "user", "content": [None, 3]}],
     [{"role": "user", "content": [{"type": "text", "text": None}]}]],
)  # fmt: skip
def test_no_question_no_retrieval(messages: Any) -> None:
    with pytest.raises(ApiError) as refused:
        search_query(messages)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "arguments",
    [None, {}, {"enable_thinking": False}, {"enable_thinking": True, "thinking_budget": 512, "reasoning_effort": "low"},
     {"thinking": None, "date": "2026-01-01", "temperature_hint": 0.5}],
)  # fmt: skip
def test_arguments_of_the_chat_template_go_on(arguments: Any) -> None:
    assert parsed(chat_template_kwargs=arguments).body["chat_template_kwargs"] == arguments


@pytest.mark.parametrize(
    "arguments",
    [
        "no", [], 7, True, {f"a{n}": n for n in range(17)}, {"a": "x" * 257}, {"a": [1]}, {"a": {"b": 1}}, {"": 1},
        {"a b": 1}, {"__class__": 1}, {"_a": 1}, {"ä": 1}, {"a" * 65: 1}, {"messages": "x"}, {"conversation": "x"},
        {"tools": None}, {"documents": "x"}, {"tokenize": False}, {"chat_template": "{{ 1 }}"}, {"max_length": 10**9},
        {"padding": "max_length"}, {"add_generation_prompt": False}, {"continue_final_message": True}, {"Tools": 1},
        {"raise_exception": "x"}, {"bos_token": "<|system|>"}, {"return_dict": True}, {"tokenizer_kwargs": "x"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_would_change_the_conversation_or_its_tokens_is_refused(arguments: Any) -> None:
    with pytest.raises(ApiError) as refused:
        parsed(chat_template_kwargs=arguments)
    assert refused.value.status == 400 and str(refused.value.param).startswith("chat_template_kwargs")


def test_every_parameter_of_the_tokenizer_is_among_those_that_are_refused() -> None:
    from transformers.tokenization_python import PythonBackend

    parameters = set(inspect.signature(PythonBackend.apply_chat_template).parameters) - {"self", "kwargs"}
    assert parameters <= TAKEN_ARGUMENTS


def test_what_is_searched_for_may_be_said_apart() -> None:
    request = parsed(model="base+docs", retrieval={"query": "How many?"})
    assert request.query == "How many?" and "retrieval" not in request.body
