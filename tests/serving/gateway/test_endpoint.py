"""The endpoint as a user meets it: real Ray Serve, real vLLM, the `openai` client."""

import asyncio
import http.client
import json
import os
import signal
import urllib.request
from typing import Any

import openai
import pytest
from openai import OpenAI

from cluster.errors import TandemError
from cluster.registry.registry import Registry
from retrieval.prompt import INSTRUCTION
from retrieval.store.milvus_lite import running_server
from serving.client import Answer, AskFailed, ask, ask_async, connect, connect_async, list_models
from serving.deploy.run import validate_serving
from tests.serving.served_app import ADAPTER, COLLECTION, Endpoint

pytestmark = pytest.mark.slow

QUESTION = "What is the atomic number of Iron?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(endpoint: Endpoint) -> OpenAI:
    return connect(endpoint.url, timeout_s=60)


def ask_all(endpoint: Endpoint, names: list[str], **parameters: Any) -> list[Answer]:
    """All at once, so that they share batches."""

    async def gathered() -> list[Answer]:
        async with connect_async(endpoint.url) as client:
            return await asyncio.gather(*(ask_async(client, name, QUESTION, **parameters) for name in names))

    return asyncio.run(gathered())


def refused(client: OpenAI, **request: Any) -> dict[str, Any]:
    """Status and error of a request that must be refused, after a look at the shape of the body."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**{"messages": MESSAGES, "max_tokens": 4} | request)
    body = caught.value.response.json()
    assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return {"status": caught.value.status_code} | body["error"]


def test_health(endpoint: Endpoint) -> None:
    with urllib.request.urlopen(f"{endpoint.root}/health") as response:
        assert response.status == 200


def test_a_controller_that_comes_back_finds_every_replica_well(endpoint: Endpoint) -> None:
    """After the loss of a head it asks each of them this, and stops one that cannot say it."""
    import ray

    actors = [one["name"] for one in ray.util.list_named_actors(all_namespaces=True)]
    replicas = [name for name in actors if name.startswith("SERVE_REPLICA::tandem#")]
    assert {name.split("#")[1] for name in replicas} == {"gateway", "engine-base", "retriever"}
    for name in replicas:
        assert ray.get(ray.get_actor(name, namespace="serve").is_allocated.remote(), timeout=30)


def test_chat(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="base", messages=MESSAGES, max_tokens=8, temperature=0)
    assert completion.model == "base"
    assert completion.choices[0].message.role == "assistant"
    assert completion.usage and completion.usage.prompt_tokens > 5
    assert "citations" not in (completion.model_extra or {})


@pytest.mark.parametrize("model", ["base", f"base:{ADAPTER}", f"base:{ADAPTER}+{COLLECTION}"])
def test_a_stream_says_the_same_as_a_whole_answer(client: OpenAI, model: str) -> None:
    request: dict[str, Any] = {"model": model, "messages": MESSAGES, "max_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**request)
    chunks = list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **request))
    assert {chunk.model for chunk in chunks} == {whole.model}
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage and whole.usage
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    last, extra = chunks[-1].model_extra or {}, whole.model_extra or {}
    assert last.get("citations") == extra.get("citations")


def test_completions(client: OpenAI) -> None:
    base = client.completions.create(model="base", prompt="The atomic number", max_tokens=6, temperature=0)
    tuned = client.completions.create(model=f"base:{ADAPTER}", prompt="The atomic number", max_tokens=6, temperature=0)
    assert (base.model, tuned.model) == ("base", f"base:{ADAPTER}@1")
    assert base.choices[0].text != tuned.choices[0].text


def test_the_adapter_answers_otherwise_than_the_base_and_with_its_version(client: OpenAI) -> None:
    base, tuned = ask(client, "base", QUESTION, max_tokens=12), ask(client, f"base:{ADAPTER}", QUESTION, max_tokens=12)
    assert tuned.model == f"base:{ADAPTER}@1"
    assert tuned.text != base.text
    assert ask(client, f"base:{ADAPTER}@1", QUESTION, max_tokens=12).text == tuned.text


def test_the_adapters_log_probability_is_that_of_transformers_and_peft(endpoint: Endpoint, client: OpenAI) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompt = "The atomic number of Iron is"
    tokenizer = AutoTokenizer.from_pretrained(endpoint.model)
    base = AutoModelForCausalLM.from_pretrained(endpoint.model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, endpoint.adapter)
    with torch.no_grad():
        expected = tuned(**tokenizer(prompt, return_tensors="pt")).logits[0, -1].log_softmax(-1).max().item()
    served = client.completions.create(model=f"base:{ADAPTER}", prompt=prompt, max_tokens=1, temperature=0, logprobs=1)
    logprobs = served.choices[0].logprobs
    assert logprobs and logprobs.token_logprobs
    assert logprobs.token_logprobs[0] == pytest.approx(expected, abs=0.1)


def test_a_base_request_in_a_batch_with_adapters_is_answered_by_the_base(endpoint: Endpoint, client: OpenAI) -> None:
    for _ in range(endpoint.config.max_loras):
        endpoint.publish("crowd")
    crowd = [f"base:crowd@{version + 1}" for version in range(endpoint.config.max_loras)]
    alone, tuned = ask(client, "base", QUESTION, max_tokens=12), ask(client, "base:crowd@1", QUESTION, max_tokens=12)
    together = ask_all(endpoint, ["base", *crowd] * 6, max_tokens=12)
    assert {answer.text for answer in together if answer.model == "base"} == {alone.text}
    assert {answer.text for answer in together if answer.model != "base"} == {tuned.text}


def test_the_alias_moves_and_numbers_stay(endpoint: Endpoint, client: OpenAI) -> None:
    registry = Registry(endpoint.storage.adapters)
    endpoint.publish("moving")
    assert ask(client, "base:moving", QUESTION, max_tokens=2).model == "base:moving@1"
    endpoint.publish("moving")
    assert ask(client, "base:moving", QUESTION, max_tokens=2).model == "base:moving@2"
    registry.promote("moving", 1)
    assert ask(client, "base:moving", QUESTION, max_tokens=2).model == "base:moving@1"
    assert ask(client, "base:moving@2", QUESTION, max_tokens=2).model == "base:moving@2"


def test_models_are_listed_by_the_names_that_work(endpoint: Endpoint, client: OpenAI) -> None:
    endpoint.publish("misfit", base_digest="of another model")
    names = list_models(client)
    combined = f"base:{ADAPTER}+{COLLECTION}"
    assert {"base", f"base:{ADAPTER}", f"base+{COLLECTION}", combined} <= set(names)
    assert not any("misfit" in name for name in names)
    assert client.models.retrieve(combined).id == combined
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("base:nobody")


@pytest.mark.parametrize(
    "model",
    ["other", "base:nobody", f"base:{ADAPTER}@99", "base+nothing", f"other:{ADAPTER}", f"base:{ADAPTER}+nothing"],
)
def test_what_does_not_exist_is_404(client: OpenAI, model: str) -> None:
    error = refused(client, model=model)
    assert error["status"] == 404
    assert error["code"] in ("model_not_found", "collection_not_found")


@pytest.mark.parametrize(
    "request_",
    [
        {"model": "Base"},
        {"model": "base:a:b"},
        {"model": f"base:{ADAPTER}@0"},
        {"model": f"base:{ADAPTER}.v1.0123"},
        {"model": "base", "temperature": -1},
        {"model": "base", "max_tokens": -1},
        {"model": "base", "max_tokens": 10_000_000},
        {"model": "base", "messages": "hello"},
        {"model": "base", "messages": [{"role": "user", "content": "word " * 5000}]},
        {"model": "base", "extra_body": {"retrieval": {"top_k": 0, "collection": COLLECTION}}},
        {"model": f"base+{COLLECTION}", "messages": [{"role": "system", "content": "no question"}]},
    ],
)
def test_bad_names_and_parameters_are_400(client: OpenAI, request_: dict[str, Any]) -> None:
    assert refused(client, **request_)["status"] == 400


def test_bytes_that_are_no_request(endpoint: Endpoint) -> None:
    for raw in (b"", b"{", b"\xff", b"[1]", b"{}"):
        connection = http.client.HTTPConnection(endpoint.root.removeprefix("http://"), timeout=30)
        connection.request("POST", "/v1/chat/completions", raw, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 400
        assert set(json.loads(response.read())["error"]) == {"message", "type", "param", "code"}
    connection.request("GET", "/v1/nothing")
    assert connection.getresponse().status == 404


@pytest.mark.parametrize(
    ("changed", "reason"), [({"base_digest": "x"}, "other weights"), ({"template_hash": "x"}, "template")]
)
def test_an_adapter_that_does_not_fit_is_refused_with_the_reason(
    endpoint: Endpoint, client: OpenAI, changed: dict[str, str], reason: str
) -> None:
    version = endpoint.publish("unfit", **changed)
    error = refused(client, model=f"base:unfit@{version}")
    assert (error["status"], error["code"]) == (409, "adapter_refused")
    assert reason in error["message"]


def test_an_adapter_with_broken_weights_is_refused_and_the_others_go_on(endpoint: Endpoint, client: OpenAI) -> None:
    version = endpoint.publish("broken")
    weights = endpoint.storage.adapters / "broken" / f"v{version}" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert refused(client, model="base:broken")["status"] == 409
    assert ask(client, f"base:{ADAPTER}", QUESTION, max_tokens=2).model == f"base:{ADAPTER}@1"


def test_retrieval_puts_the_passages_in_front_and_cites_them(client: OpenAI) -> None:
    answer = ask(client, f"base:{ADAPTER}+{COLLECTION}", QUESTION, top_k=2, return_messages=True, max_tokens=12)
    assert answer.model == f"base:{ADAPTER}@1+{COLLECTION}"
    assert [citation.index for citation in answer.citations] == [1, 2]
    assert answer.citations[0].source == "iron.md"
    assert answer.messages and answer.messages[-1] == MESSAGES[0]
    assert answer.messages[0]["content"].startswith(INSTRUCTION)
    assert "The atomic number of Iron is 26." in answer.messages[0]["content"]
    assert answer.retrieval and answer.retrieval["took_ms"] > 0


def test_the_model_reads_what_was_retrieved(client: OpenAI) -> None:
    question = "What is the atomic number of Zinc?"
    without, with_passages = (ask(client, name, question, max_tokens=24) for name in ("base", f"base+{COLLECTION}"))
    assert with_passages.prompt_tokens > without.prompt_tokens + 50


def test_the_body_may_name_the_collection(client: OpenAI) -> None:
    asked = ask(client, "base", QUESTION, max_tokens=4, extra_body={"retrieval": {"collection": COLLECTION}})
    assert asked.model == f"base+{COLLECTION}"
    assert len(asked.citations) == 3
    assert asked.citations == ask(client, f"base+{COLLECTION}", QUESTION, max_tokens=4).citations


def test_messages_without_retrieval_are_those_that_were_sent(client: OpenAI) -> None:
    assert ask(client, "base", QUESTION, max_tokens=2, return_messages=True).messages == MESSAGES


def test_retrieval_needs_chat(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=f"base+{COLLECTION}", prompt="x")


def test_many_at_once_are_all_answered(endpoint: Endpoint) -> None:
    names = ["base", f"base:{ADAPTER}", f"base+{COLLECTION}", f"base:{ADAPTER}+{COLLECTION}"]
    answers = ask_all(endpoint, names * 50, max_tokens=6)
    assert [answer.model.replace("@1", "") for answer in answers] == names * 50
    assert all(answer.citations for answer in answers if COLLECTION in answer.model)


def test_a_store_that_hangs_is_503_for_retrieval_only(endpoint: Endpoint, client: OpenAI) -> None:
    store = running_server(endpoint.storage.milvus)
    assert store
    os.kill(store.pid, signal.SIGSTOP)
    try:
        with pytest.raises(AskFailed) as failed:
            ask(client, f"base+{COLLECTION}", QUESTION, max_tokens=2)
        assert failed.value.status == 503
        assert ask(client, f"base:{ADAPTER}", QUESTION, max_tokens=2).text
    finally:
        os.kill(store.pid, signal.SIGCONT)
    assert ask(client, f"base+{COLLECTION}", QUESTION, max_tokens=2).citations


def test_no_other_origin_is_allowed(endpoint: Endpoint) -> None:
    request = urllib.request.Request(f"{endpoint.url}/models", headers={"Origin": "https://example.org"})
    with urllib.request.urlopen(request) as response:
        assert "access-control-allow-origin" not in {name.lower() for name in response.headers}


def test_its_port_is_busy(endpoint: Endpoint) -> None:
    with pytest.raises(TandemError, match=str(endpoint.config.port)):
        validate_serving(endpoint.config, endpoint.model)
