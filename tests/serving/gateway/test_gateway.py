"""What the gateway makes of what its engine and retriever say. Both are stand-ins; test_endpoint has the real ones."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from cluster.registry.versions import AdapterManifest
from retrieval.filters.rights import NOBODY, Rights
from retrieval.prompt import INSTRUCTION, estimate_tokens
from retrieval.search.hits import Hit
from serving.access.keys import Keys, Limits
from serving.access.limiter import Refusal
from serving.api.errors import ApiError
from serving.api.requests import IncomingRequest
from serving.gateway import gateway as gateway_module
from serving.gateway.gateway import Gateway
from serving.gateway.generation import template_defaults
from serving.gateway.settings import GatewaySettings
from serving.retriever import Retrieval

HITS = [Hit("Iron", "The atomic number of Iron is 26.", "a", "iron.md", 0, 0.9)]
FOUND = Retrieval(200, hits=HITS, timings={"took_ms": 3.0})
DOWN = Retrieval(503, "The store does not answer.")


class Handle:
    """Like Serve's handle: methods with `remote`; what they are asked is kept."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self.asked: list[tuple[Any, ...]] = []
        for name, method in methods.items():
            setattr(self, name, SimpleNamespace(remote=self._kept(method)))

    def _kept(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def remote(*arguments: Any) -> Any:
            self.asked.append(arguments)
            result = method(*arguments)
            return await result if asyncio.iscoroutine(result) else result

        return remote

    def options(self, **_: Any) -> "Handle":
        return self


def answered(kind: str, body: dict[str, Any], _: dict[str, str]) -> tuple[int, dict[str, Any]]:
    choices = [{"message": {"content": "It is 26 [1]."}}]
    return 200, {"id": "c", "model": body["model"], "choices": choices, "usage": {"total_tokens": 7}}


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


RAW = json.dumps({"model": "base", "messages": [{"role": "user", "content": "Iron?"}]}).encode()


def settings_of(**changed: Any) -> GatewaySettings:
    known: dict[str, Any] = {
        "bases": {"base": "d"}, "adapters": Path("/nowhere"), "max_lora_rank": 32, "request_timeout_s": 5.0,
        "answer_without": False, "prompt_tokens": 1024, "retrieval_timeout_s": 5.0, "max_requests": 8, "drain_s": 0.0,
    }  # fmt: skip
    return GatewaySettings(**known | changed)


def asked(
    engine: Handle,
    retriever: Handle | None = None,
    model: str = "base",
    timeout_s: float = 5.0,
    more: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The body of the answer."""
    known = settings_of(request_timeout_s=timeout_s, **settings)
    raw = json.dumps({"model": model, "messages": [{"role": "user", "content": "Iron?"}], **(more or {})}).encode()

    async def ask() -> dict[str, Any]:
        gateway = Gateway(known, {"base": engine}, retriever)  # type: ignore[dict-item, arg-type]
        response = await gateway.answer("chat", IncomingRequest(raw))
        return {"status": response.status_code, **json.loads(bytes(response.body))}

    return asyncio.run(ask())


def refusal(*arguments: Any, **settings: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        asked(*arguments, **settings)
    return refused.value


def test_the_engine_is_asked_what_was_asked() -> None:
    engine = Handle(answer=answered)
    assert asked(engine)["model"] == "base"
    assert engine.asked == [("chat", {"model": "base", "messages": [{"role": "user", "content": "Iron?"}]}, {})]


def test_passages_go_in_and_citations_come_out() -> None:
    engine, retriever = Handle(answer=answered), Handle(search=lambda *_: FOUND)
    body = asked(engine, retriever, "base+docs")
    assert retriever.asked == [("docs", "Iron?", None, NOBODY, None)]
    assert engine.asked[0][1]["messages"][0]["content"].startswith(INSTRUCTION)
    assert body["model"] == "base+docs"
    assert body["citations"] == [
        {
            "id": "a",
            "index": 1,
            "source": "iron.md",
            "title": "Iron",
            "score": 0.9,
            "cited": True,
            "span": [0, 0],
            "citation": "iron.md#0",
            "also_in": [],
        }
    ]
    assert body["retrieval"] == {"collection": "docs", "took_ms": 3.0}


def test_what_is_searched_for_may_be_less_than_what_is_asked() -> None:
    engine, retriever = Handle(answer=answered), Handle(search=lambda *_: FOUND)
    asked(engine, retriever, "base+docs", more={"retrieval": {"query": "What is iron?"}})
    assert retriever.asked == [("docs", "What is iron?", None, NOBODY, None)]
    assert engine.asked[0][1]["messages"][-1] == {"role": "user", "content": "Iron?"}


def test_arguments_of_the_chat_template_reach_the_engine() -> None:
    engine, arguments = Handle(answer=answered), {"chat_template_kwargs": {"enable_thinking": False}}
    asked(engine, more=arguments)
    assert engine.asked[0][1]["chat_template_kwargs"] == {"enable_thinking": False}


def test_the_settings_that_an_adapter_was_trained_with_are_its_defaults() -> None:
    manifest = AdapterManifest.model_construct(chat_template_kwargs={"enable_thinking": False, "style": "short"})
    assert template_defaults(manifest, {}) == {"chat_template_kwargs": {"enable_thinking": False, "style": "short"}}
    asks = {"chat_template_kwargs": {"enable_thinking": True}}
    assert template_defaults(manifest, asks) == {"chat_template_kwargs": {"enable_thinking": True, "style": "short"}}
    assert template_defaults(AdapterManifest.model_construct(), asks) == {}


def test_merged_passages_are_cited_by_their_span_and_a_missing_leg_is_said() -> None:
    merged = replace(HITS[0], position=2, last=4, also_in=("fe.md",))
    found = Retrieval(200, hits=[merged], missing={"live": "It does not answer."})
    body = asked(Handle(answer=answered), Handle(search=lambda *_: found), "base+docs")
    assert (body["citations"][0]["citation"], body["citations"][0]["also_in"]) == ("iron.md#2-4", ["fe.md"])
    assert body["retrieval"] == {"collection": "docs", "missing": {"live": "It does not answer."}}


def test_the_prompt_holds_no_more_of_merged_passages_than_its_budget() -> None:
    engine = Handle(answer=answered)
    hits = [replace(HITS[0], text="iron is hard " * 40, last=3), replace(HITS[0], source="gold.md", text="gold " * 400)]
    body = asked(engine, Handle(search=lambda *_: Retrieval(200, hits=hits)), "base+docs", prompt_tokens=300)
    system = engine.asked[0][1]["messages"][0]["content"]
    assert estimate_tokens(system) <= 300 and "gold" not in system
    assert [each["citation"] for each in body["citations"]] == ["iron.md#0-3"]


def test_a_store_that_is_down_is_503() -> None:
    refused = refusal(Handle(answer=answered), Handle(search=lambda *_: DOWN), "base+docs")
    assert (refused.status, refused.code) == (503, "retrieval_unavailable")


def test_a_retriever_that_hangs_or_dies_is_503() -> None:
    hanging = Handle(search=lambda *_: asyncio.sleep(60))
    assert refusal(Handle(answer=answered), hanging, "base+docs", retrieval_timeout_s=0.05).status == 503
    assert refusal(Handle(answer=answered), Handle(search=failing(RayActorError())), "base+docs").status == 503


def test_the_policy_may_be_to_answer_without_and_to_say_so() -> None:
    engine = Handle(answer=answered)
    body = asked(engine, Handle(search=lambda *_: DOWN), "base+docs", answer_without=True)
    assert body["retrieval"] == {"collection": "docs", "failed": "The store does not answer."}
    assert body["citations"] == []
    assert engine.asked[0][1]["messages"] == [{"role": "user", "content": "Iron?"}]


def test_a_collection_that_does_not_exist_is_404_whatever_the_policy() -> None:
    unknown = Handle(search=lambda *_: Retrieval(404, "no such collection"))
    assert refusal(Handle(answer=answered), unknown, "base+docs", answer_without=True).status == 404
    assert refusal(Handle(answer=answered), None, "base+docs").status == 404


def test_a_full_queue_is_429_with_the_time_to_wait() -> None:
    refused = refusal(Handle(answer=failing(BackPressureError(5, 5))))
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")


def test_an_engine_that_dies_is_503_and_one_that_is_slow_408() -> None:
    assert refusal(Handle(answer=failing(RayActorError()))).status == 503
    assert refusal(Handle(answer=lambda *_: asyncio.sleep(60)), timeout_s=0.05).status == 408


def test_what_the_engine_refuses_goes_on_as_it_is() -> None:
    error = {"error": {"message": "too long", "type": "t", "param": None, "code": None}}
    assert asked(Handle(answer=lambda *_: (400, error))) == {"status": 400, **error}


def test_an_unknown_base_never_reaches_an_engine() -> None:
    engine = Handle(answer=answered)
    assert refusal(engine, model="other").status == 404
    assert engine.asked == []


def test_health_is_503_while_an_engine_does_not_answer() -> None:
    settings = settings_of()

    def health(check: Callable[..., Any]) -> None:
        gateway = Gateway(settings, {"base": Handle(check_health=check)}, None)  # type: ignore[dict-item]
        asyncio.run(gateway.check_health())

    health(lambda: None)
    with pytest.raises(ApiError) as refused:
        health(failing(RayActorError()))
    assert refused.value.status == 503


def test_the_list_of_models_does_not_wait_for_an_engine_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_module, "ENGINES_TIMEOUT_S", 0.05)
    away = Handle(template_hash=lambda: asyncio.sleep(60, "t"))
    slow = Handle(template_hash=lambda: asyncio.sleep(0.1, "t"))

    def listed(engine: Handle, **settings: Any) -> list[dict[str, Any]]:
        gateway = Gateway(settings_of(**settings), {"base": engine}, None)  # type: ignore[dict-item]
        return asyncio.run(gateway.models())

    with pytest.raises(ApiError) as refused:
        listed(away)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
    assert [one["id"] for one in listed(slow, sleeps=True)] == ["base"], "an engine that may sleep is waited for"


def test_more_than_it_may_hold_is_refused_at_once_and_places_are_given_back() -> None:
    async def answer(*_: Any) -> Any:
        await asyncio.sleep(0.2)
        return answered("chat", {"model": "base"}, {})

    async def ask_all() -> list[int]:
        gateway = Gateway(settings_of(max_requests=3), {"base": Handle(answer=answer)}, None)  # type: ignore[dict-item]

        async def ask() -> int:
            try:
                return (await gateway.answer("chat", IncomingRequest(RAW))).status_code
            except ApiError as error:
                assert (error.code, error.headers["Retry-After"]) == ("overloaded", "1")
                return error.status

        first = await asyncio.gather(*(ask() for _ in range(8)))
        return [*first, await ask()]

    assert asyncio.run(ask_all()) == [200] * 3 + [429] * 5 + [200]


def test_one_that_drains_answers_what_it_has_and_takes_nothing_new() -> None:
    async def answer(*_: Any) -> Any:
        await asyncio.sleep(0.3)
        return answered("chat", {"model": "base"}, {})

    async def drained() -> None:
        gateway = Gateway(settings_of(drain_s=5.0), {"base": Handle(answer=answer)}, None)  # type: ignore[dict-item]
        began = asyncio.ensure_future(gateway.answer("chat", IncomingRequest(RAW)))
        await asyncio.sleep(0.05)
        draining = asyncio.ensure_future(gateway.drain())
        await asyncio.sleep(0.05)
        with pytest.raises(ApiError) as refused:
            await gateway.answer("chat", IncomingRequest(RAW))
        assert (refused.value.status, refused.value.code) == (503, "shutting_down")
        assert not draining.done()
        assert (await began).status_code == 200
        await asyncio.wait_for(draining, 1)

    asyncio.run(drained())


def test_tenants_share_no_cached_prefix(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    secrets = [keys.create("x", tenant=tenant)[1] for tenant in ("acme", "globex", "acme")] + [keys.create("x")[1]]
    engine = Handle(answer=answered)

    async def ask_all() -> None:
        gateway = Gateway(settings_of(keys=tmp_path), {"base": engine}, None)  # type: ignore[dict-item]
        for secret in secrets:
            await gateway.answer("chat", IncomingRequest(RAW, f"Bearer {secret}"))

    asyncio.run(ask_all())
    salts = [body.get("cache_salt") for _, body, _ in engine.asked]
    assert salts[0] == salts[2] and len(set(salts)) == 3 and salts[3] is None


def test_a_key_searches_with_its_own_rights(tmp_path: Path) -> None:
    _, secret = Keys(tmp_path).create("x", tenant="acme", labels=("hr",), collections=("docs",))
    retriever = Handle(search=lambda *_: FOUND)

    async def ask(model: str) -> None:
        gateway = Gateway(settings_of(keys=tmp_path), {"base": Handle(answer=answered)}, retriever)  # type: ignore
        body = {"model": model, "messages": [{"role": "user", "content": "Iron?"}], "tenant": "globex"}
        await gateway.answer("chat", IncomingRequest(json.dumps(body).encode(), f"Bearer {secret}"))

    asyncio.run(ask("base+docs"))
    assert retriever.asked == [("docs", "Iron?", None, Rights("acme", frozenset({"hr"})), None)]
    with pytest.raises(ApiError) as refused:
        asyncio.run(ask("base+other"))
    assert refused.value.status == 403
    assert len(retriever.asked) == 1


@pytest.mark.parametrize(("num_engines", "status"), [(1, 503), (2, 200)])
def test_an_answer_whose_engine_dies_is_asked_of_another_once(num_engines: int, status: int) -> None:
    asked_so_far: list[str] = []

    def answer(kind: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
        asked_so_far.append(kind)
        if len(asked_so_far) == 1:
            raise RayActorError()
        return answered(kind, body, headers)

    if status == 200:
        assert asked(Handle(answer=answer), num_engines=num_engines)["status"] == 200
        with pytest.raises(ApiError):
            asked(Handle(answer=failing(RayActorError())), num_engines=num_engines)
    else:
        assert refusal(Handle(answer=answer), num_engines=num_engines).status == 503
        assert len(asked_so_far) == 1


@pytest.mark.parametrize(("limit", "num_asked"), [("requests_per_minute", 1), ("concurrency", 3)])
def test_whoever_has_sent_too_many_is_refused_without_asking_again(tmp_path: Path, limit: str, num_asked: int) -> None:
    _, secret = Keys(tmp_path).create("x", limits=Limits(requests_per_minute=1, concurrency=1))
    limiter = Handle(admit=lambda *_: Refusal("This key may not", 30, limit))

    async def ask_thrice() -> list[str]:
        gateway = Gateway(settings_of(keys=tmp_path), {}, None, limiter)  # type: ignore[arg-type]
        waits = []
        for _ in range(3):
            with pytest.raises(ApiError) as refused:
                await gateway.answer("chat", IncomingRequest(RAW, f"Bearer {secret}"))
            assert refused.value.status == 429
            waits.append(refused.value.headers["Retry-After"])
        return waits

    waits = asyncio.run(ask_thrice())
    assert len(limiter.asked) == num_asked
    assert all(28 <= int(wait) <= 30 for wait in waits)
