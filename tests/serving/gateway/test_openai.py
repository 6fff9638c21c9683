"""Every endpoint by the `openai` client's own calls, on the real app."""

import json
import math
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from serving.client import connect
from tests.serving.served_app import ADAPTER, COLLECTION, MODEL, Endpoint

pytestmark = pytest.mark.slow
QUESTION = "What is the atomic number of Iron?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
COLOURS = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}}, "required": ["colour"]}
TOOLS: Any = [{"type": "function", "function": {"name": "paint", "description": "Paints.", "parameters": COLOURS}}]


@pytest.fixture
def client(endpoint: Endpoint) -> OpenAI:
    return connect(endpoint.url, timeout_s=60)


@pytest.mark.parametrize("model", ["base", f"base:{ADAPTER}+{COLLECTION}"])
def test_structured_output_is_of_its_schema(client: OpenAI, model: str) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "colour", "schema": COLOURS, "strict": True}}
    answer = client.chat.completions.create(model=model, messages=MESSAGES, response_format=schema, max_tokens=60)
    assert json.loads(answer.choices[0].message.content or "")["colour"] in ("red", "green")


def no_white_space() -> dict[str, int]:
    """A bias against tokens of white space alone: the grammar of a tool's call allows any number of them, and a model
    that has learnt no tools writes nothing else."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    texts = {str(number): tokenizer.decode([number]) for number in range(len(tokenizer))}
    return {number: -100 for number, text in texts.items() if text and not text.strip()}


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_is_named_is_called_with_its_parameters(client: OpenAI, stream: bool) -> None:
    choice: Any = {"type": "function", "function": {"name": "paint"}}
    asked: Any = {"model": "base", "messages": MESSAGES, "tools": TOOLS, "tool_choice": choice, "max_tokens": 100}
    asked["logit_bias"] = no_white_space()
    if stream:
        deltas = [
            call.function
            for chunk in client.chat.completions.create(**asked, stream=True)
            for each in chunk.choices
            for call in each.delta.tool_calls or []
            if call.function
        ]
        name, arguments = deltas[0].name, "".join(delta.arguments or "" for delta in deltas)
    else:
        (call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls
        name, arguments = call.function.name, call.function.arguments
    assert name == "paint" and json.loads(arguments)["colour"] in ("red", "green")


def test_a_tools_answer_is_read(client: OpenAI) -> None:
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "paint", "arguments": '{"colour": "red"}'}}
    turns: Any = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    answer = client.chat.completions.create(model="base", messages=turns, tools=TOOLS, tool_choice="none", max_tokens=4)
    assert answer.usage and answer.usage.completion_tokens > 0


def test_log_probabilities(client: OpenAI) -> None:
    asked: Any = {"model": "base", "messages": MESSAGES, "max_tokens": 4, "temperature": 0}
    answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs and answer.choices[0].logprobs.content
    assert tokens
    for token in tokens:
        assert len(token.top_logprobs) >= 3
        assert token.logprob == max(each.logprob for each in token.top_logprobs)
        assert sum(math.exp(each.logprob) for each in token.top_logprobs) <= 1.001
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content


def test_several_choices_a_stop_and_a_seed(client: OpenAI) -> None:
    asked: Any = {"model": "base", "messages": MESSAGES, "max_tokens": 12, "temperature": 2.0}
    first, second = (client.chat.completions.create(**asked, n=3, seed=7) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2] and len(set(texts)) > 1
    assert texts == [choice.message.content for choice in second.choices]
    whole = client.chat.completions.create(**asked | {"temperature": 0}).choices[0].message.content or ""
    stop = whole.split()[1]
    stopped = client.chat.completions.create(**asked | {"temperature": 0}, stop=[stop]).choices[0]
    assert stopped.finish_reason == "stop" and stopped.message.content == whole[: whole.index(stop)]


def test_a_streams_usage_is_told_where_it_is_asked_for(client: OpenAI) -> None:
    asked: Any = {"model": f"base+{COLLECTION}", "messages": MESSAGES, "max_tokens": 6, "stream": True}
    *_, last = client.chat.completions.create(**asked, stream_options={"include_usage": True})
    assert last.usage and last.usage.completion_tokens <= 6 and last.choices == []
    assert next(one["source"] for one in (last.model_extra or {})["citations"]) == "iron.md"
    chunks = list(client.chat.completions.create(**asked))
    assert all(chunk.usage is None for chunk in chunks)
    assert (chunks[-1].model_extra or {})["citations"]


def test_completions_stream_and_echo_tokens(client: OpenAI) -> None:
    asked: Any = {"model": "base", "prompt": ["Iron is", "Gold is"], "max_tokens": 5, "temperature": 0}
    whole = client.completions.create(**asked)
    streamed = {0: "", 1: ""}
    for chunk in client.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert [choice.text for choice in whole.choices] == list(streamed.values())


def test_embeddings_as_the_client_asks_for_them(client: OpenAI) -> None:
    """It asks for bytes unless told otherwise, and makes numbers of them."""
    asked: Any = {"model": "embedding", "input": ["Iron is a metal.", "iron, a metal", "The library is closed."]}
    vectors = [one.embedding for one in client.embeddings.create(**asked).data]
    plain = [one.embedding for one in client.embeddings.create(**asked, encoding_format="float").data]
    assert vectors[0] == pytest.approx(plain[0])

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert cosine(vectors[0], vectors[0]) == pytest.approx(1, abs=1e-5)
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.3


def test_a_vector_store_is_searched(client: OpenAI) -> None:
    page = client.vector_stores.search(COLLECTION, query=QUESTION, max_num_results=2)
    assert next(one.filename for one in page.data) == "iron.md" and len(page.data) == 2
    assert "The atomic number of Iron is 26." in page.data[0].content[0].text
    only: Any = {"type": "eq", "key": "source", "value": "gold.md"}
    assert {one.filename for one in client.vector_stores.search(COLLECTION, query=QUESTION, filters=only)} == {
        "gold.md"
    }
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.search("nowhere", query=QUESTION)


def test_a_filter_holds_for_retrieval_in_an_answer(client: OpenAI) -> None:
    only = {"filter": {"type": "eq", "key": "source", "value": "gold.md"}}
    asked: Any = {"model": f"base+{COLLECTION}", "messages": MESSAGES, "max_tokens": 2}
    answer = client.chat.completions.create(**asked, extra_body={"retrieval": only})
    assert {one["source"] for one in (answer.model_extra or {})["citations"]} == {"gold.md"}


def test_what_is_asked_next_finds_what_was_asked_about(client: OpenAI) -> None:
    turns: Any = [
        {"role": "user", "content": "What is the atomic number of Zinc?"},
        {"role": "assistant", "content": "30"},
        {"role": "user", "content": "And what is it?"},
    ]
    answer = client.chat.completions.create(model=f"base+{COLLECTION}", messages=turns, max_tokens=2)
    assert (answer.model_extra or {})["citations"][0]["source"] == "zinc.md"


def test_texts_are_ranked(endpoint: Endpoint) -> None:
    texts = ["The library is closed.", "Iron is a chemical element."]
    ranked = post(endpoint, "/v1/rerank", model="embedding", query="What is iron?", documents=texts)
    assert [one["index"] for one in ranked.json()["results"]] == [1, 0]
    scored = post(endpoint, "/v1/score", model="embedding", text_1="What is iron?", text_2=texts).json()["data"]
    assert scored[1]["score"] == pytest.approx(ranked.json()["results"][0]["relevance_score"], abs=1e-6)
    assert post(endpoint, "/v1/rerank", query="What is iron?", documents=texts).status_code == 404


def test_tokens_there_and_back(endpoint: Endpoint, client: OpenAI) -> None:
    asked = post(endpoint, "/tokenize", model="base", messages=MESSAGES).json()
    assert "error" not in asked, asked
    usage = client.chat.completions.create(model="base", messages=MESSAGES, max_tokens=1).usage
    assert usage and asked["count"] == len(asked["tokens"]) == usage.prompt_tokens
    assert QUESTION in post(endpoint, "/detokenize", model="base", tokens=asked["tokens"]).json()["prompt"]
    plain = post(endpoint, "/tokenize", model=f"base:{ADAPTER}", prompt=QUESTION).json()
    assert 0 < plain["count"] < asked["count"]
    assert post(endpoint, "/tokenize", model="base").status_code == 400
    assert post(endpoint, "/tokenize", model="nobody", prompt="x").status_code == 404


def post(endpoint: Endpoint, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{endpoint.root}{path}", json=body, timeout=60)
