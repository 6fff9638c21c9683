"""Calls to real servers that are busy, fail, break off, refuse parameters and answer in their own ways."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from cluster.errors import TandemError
from evaluation.asking.transport import EndpointClient, apply_settings
from evaluation.config import RequestSettings, Retries
from tests.evaluation.hosted import BODY, Handler, Hosted, answer, ask, error, hang_up, serve

NOT_MAX_TOKENS = {
    "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
    "instead.",
    "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter",
}  # fmt: skip
NOT_TEMPERATURE = {
    "message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
    "supported.", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value",
}  # fmt: skip


def first_fail(number: int, failure: Callable[[], web.Response]) -> Handler:
    """A server whose first calls fail."""
    left = itertools.count()

    async def handle(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        return failure() if next(left) < number else answer()

    return handle


def always(response: Callable[[], web.StreamResponse]) -> Handler:
    async def handle(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        return response()

    return handle


# Tried again


@pytest.mark.parametrize(
    "status", [503, *(pytest.param(each, marks=pytest.mark.matrix) for each in (500, 502, 504, 529))]
)
def test_a_burst_of_failures_costs_no_answer(status: int) -> None:
    replies, hosted = ask(first_fail(31, lambda: error(status)), 60)
    assert [reply.reply.text for reply in replies] == ["26"] * 60
    assert len(hosted.bodies) == 91


@pytest.mark.parametrize(
    "headers",
    [
        lambda: {"Retry-After": "1"},
        lambda: {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)},
        lambda: {"retry-after-ms": "900"},
        lambda: {"x-ratelimit-reset-requests": "950ms", "x-ratelimit-remaining-requests": "0"},
    ],
)
def test_the_endpoint_says_when_to_come_back(headers: Callable[[], dict[str, str]]) -> None:
    began = time.monotonic()
    (reply,), _ = ask(first_fail(1, lambda: error(429, headers=headers())))
    took = time.monotonic() - began
    assert reply.reply.text == "26" and took > 0.8
    assert (reply.reply.latency_s or took) < took - 0.8, "of the try that was answered"


def test_a_limit_of_calls_a_second_slows_down_and_loses_nothing() -> None:
    """Twenty a second, without a word about when to come back."""
    window: list[float] = []

    async def limited(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        now = time.monotonic()
        window[:] = [moment for moment in window if now - moment < 1]
        if len(window) >= 20:
            return error(429, "Rate limit reached.", code="rate_limit_exceeded")
        window.append(now)
        return answer()

    replies, hosted = ask(limited, 80)
    assert all(reply.reply.text == "26" for reply in replies)
    assert len(hosted.bodies) < 160, "most calls are not made in vain"


def test_a_limit_of_calls_in_flight_is_found() -> None:
    async def two_at_once(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        if hosted.in_flight > 2:
            return error(429, headers={"retry-after-ms": "20"})
        await asyncio.sleep(0.01)
        return answer()

    replies, hosted = ask(two_at_once, 100)
    assert all(reply.reply.text == "26" for reply in replies) and len(hosted.bodies) < 200


def test_a_connection_that_breaks_is_made_again() -> None:
    async def breaking(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        return hang_up(hosted) if len(hosted.bodies) < 4 else answer()

    async def cut(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        if len(hosted.bodies) > 2:
            return answer()
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(hosted.requests[-1])
        await response.write(b'{"choices": [')
        return hang_up(hosted)

    for handler in (breaking, cut):
        replies, _ = ask(handler, 4, concurrency=2)
        assert [reply.reply.text for reply in replies] == ["26"] * 4


def test_a_call_without_a_response_is_tried_once_more() -> None:
    slow = itertools.count()

    async def late(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(2.5 if next(slow) == 0 else 0)
        return answer()

    (reply,), hosted = ask(late, timeout_s=1.5)
    assert reply.reply.text == "26" and len(hosted.bodies) == 2
    never, hosted = ask(always_late, timeout_s=0.3)
    assert never[0].reply.failed == "There was no answer within 0.3 s." and len(hosted.bodies) == 2


async def always_late(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(1.0)
    return answer()


@pytest.mark.parametrize(
    ("retries", "num_calls"), [({"max_tries": 1}, 1), ({"max_tries": 3}, 3), ({"max_wait_s": 0.0}, 1)]
)
def test_the_settings_bound_the_tries(retries: dict[str, float], num_calls: int) -> None:
    (reply,), hosted = ask(always(lambda: error(503, "Overloaded.")), **retries)
    assert len(hosted.bodies) == num_calls and "answered 503: Overloaded." in str(reply.reply.failed)


def test_a_wish_for_too_long_a_wait_is_said() -> None:
    (reply,), _ = ask(always(lambda: error(429, "Daily limit.", {"Retry-After": "86400"})), max_wait_s=0.5)
    assert str(reply.reply.failed).endswith("Daily limit. It asks to wait for 86,400 s.")


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (401, {"message": "Incorrect API key provided."}),
        (402, {"message": "Insufficient Balance"}),
        (403, {"message": "Forbidden"}),
        (404, {"message": "The model `m` does not exist", "code": "model_not_found"}),
        (429, {"message": "You exceeded your current quota, please check your plan.", "code": "insufficient_quota"}),
        (400, {"message": "Your credit balance is too low to access the API."}),
    ],
)
def test_what_no_further_call_would_change_is_asked_once(status: int, fields: dict[str, str]) -> None:
    (reply,), hosted = ask(always(lambda: error(status, **fields)))
    assert len(hosted.bodies) == 1 and reply.final
    assert f"answered {status}: {fields['message']}" in str(reply.reply.failed)


def test_a_request_that_alone_is_over_the_limit_is_not_tried_again() -> None:
    words = "Request too large for m on tokens per min (TPM): Limit 100, Requested 200."
    (reply,), hosted = ask(always(lambda: error(429, words, code="rate_limit_exceeded")))
    assert len(hosted.bodies) == 1 and not reply.final


def test_an_error_in_a_body_with_status_200_is_one() -> None:
    def sent() -> web.Response:
        return web.json_response({"error": {"code": 502, "message": "Provider returned error"}})

    replies, _ = ask(first_fail(2, sent), 3)
    assert [reply.reply.text for reply in replies] == ["26"] * 3
    (reply,), _ = ask(always(lambda: web.json_response({"error": "broken"})))
    assert "answered 400: broken" in str(reply.reply.failed)


# Parameters


async def like_gpt_5(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
    if "max_tokens" in body:
        return error(400, **NOT_MAX_TOKENS)
    if body.get("temperature", 1) != 1:
        return error(400, **NOT_TEMPERATURE)
    return answer()


def test_what_is_refused_is_found_at_the_first_call_and_recorded() -> None:
    replies, hosted = ask(like_gpt_5, 20, concurrency=1)
    assert all(reply.reply.text == "26" for reply in replies)
    assert all(
        reply.reply.adjusted == {"max_tokens": "max_completion_tokens", "temperature": None} for reply in replies
    )
    assert len(hosted.bodies) == 22 and hosted.bodies[-1].keys() == {"model", "messages", "max_completion_tokens"}
    assert hosted.bodies[-1]["max_completion_tokens"] == 64


def test_calls_that_were_made_together_learn_it_together() -> None:
    replies, hosted = ask(like_gpt_5, 40)
    assert all(reply.reply.text == "26" for reply in replies) and len(hosted.bodies) <= 40 + 2 * 16


def test_settings_spare_the_call_that_finds_it() -> None:
    settings = {"parameters": {"max_tokens": "max_completion_tokens", "temperature": None}}
    body = apply_settings(BODY, RequestSettings.model_validate(settings))
    (reply,), hosted = ask(like_gpt_5, body=body, settings=settings)
    assert reply.reply.text == "26" and len(hosted.bodies) == 1 and reply.reply.adjusted == {}


def test_what_the_user_asked_for_is_not_left_out() -> None:
    async def strict(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        return error(400, "Unknown parameter: 'seed'.") if "seed" in body else answer()

    (reply,), _ = ask(strict, body=BODY | {"seed": 1}, settings={"extra_body": {"seed": 1}})
    assert "Unknown parameter: 'seed'." in str(reply.reply.failed)
    (reply,), _ = ask(strict, body=BODY | {"seed": 1})
    assert reply.reply.text == "26"


def test_a_new_name_that_is_refused_too_is_left_out() -> None:
    async def strict(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        unknown = next((name for name in body if name.startswith("max")), None)
        return error(422, f"{unknown}: Extra inputs are not permitted") if unknown else answer()

    (reply,), hosted = ask(strict)
    assert reply.reply.adjusted == {"max_tokens": None} and len(hosted.bodies) == 3


def test_an_error_that_does_not_say_so_leaves_everything_in() -> None:
    (reply,), hosted = ask(always(lambda: error(400, "Invalid request: look at temperature.")))
    assert len(hosted.bodies) == 1 and hosted.bodies[0] == BODY
    assert str(reply.reply.failed).endswith(
        "look at temperature. Rename or leave out a parameter with `parameters` of the endpoint."
    )


# Addresses, headers, proxies


@pytest.mark.parametrize(
    ("path", "served", "asked"),
    [
        ("", "/v1/chat/completions", 1),
        ("/", "/v1/chat/completions", 1),
        ("", "/chat/completions", 2),
        ("/v1", "/v1/chat/completions", 1),
        ("/v1/", "/v1/chat/completions", 1),
        ("/v1/chat/completions", "/v1/chat/completions", 1),
        ("/v1beta/openai/", "/v1beta/openai/chat/completions", 1),
        ("/gateway", "/gateway/chat/completions", 1),
        ("/gateway/", "/gateway/v1/chat/completions", 2),
        ("/openai/deployments/gpt?api-version=2", "/openai/deployments/gpt/chat/completions?api-version=2", 1),
    ],
)  # fmt: skip
def test_the_url_is_taken_as_people_write_it(path: str, served: str, asked: int) -> None:
    async def at_its_place(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        return answer() if hosted.paths[-1] == served else web.Response(status=404, text="404 page not found")

    replies, hosted = ask(at_its_place, 3, concurrency=1, path=path)
    assert [reply.reply.text for reply in replies] == ["26"] * 3
    assert hosted.paths[asked - 1 :] == [served] * 3


def test_a_redirect_on_the_same_host_is_followed_and_another_is_said() -> None:
    async def moved(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        if hosted.paths[-1] != "/new/chat/completions":
            return web.Response(status=308, headers={"Location": "/new/chat/completions"})
        return answer()

    replies, hosted = ask(moved, 2, concurrency=1)
    assert [reply.reply.text for reply in replies] == ["26"] * 2 and len(hosted.paths) == 3
    elsewhere = {"Location": "https://elsewhere.example/v1/chat/completions?key=1"}
    (reply,), _ = ask(always(lambda: web.Response(status=307, headers=elsewhere)))
    assert str(reply.reply.failed).endswith(
        "has moved to https://elsewhere.example/v1/chat/completions. Set its `url` to that address."
    )


def test_keys_are_headers_and_are_shown_nowhere() -> None:
    settings = {"api_key": "secret-123\n", "headers": {"api-key": "azure-456", "x-team": "blue"}}

    async def echo(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        return error(401, f"Not known: {hosted.headers[-1]['Authorization']}, {hosted.headers[-1]['api-key']}")

    (reply,), hosted = ask(echo, settings=settings, path="/v1?api-version=1")
    assert hosted.headers[0]["Authorization"] == "Bearer secret-123" and hosted.headers[0]["x-team"] == "blue"
    assert "secret-123" not in str(reply) and "azure-456" not in str(reply) and "***" in str(reply)


@pytest.mark.parametrize("settings", [{"api_key": "two\nlines"}, {"headers": {"a b": "c"}}])
def test_a_header_that_cannot_be_sent_is_refused_in_words(settings: dict[str, Any]) -> None:
    with pytest.raises(TandemError, match="cannot be sent"):
        ask(always(answer), settings=settings)


def test_the_users_proxy_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[str | None, list[str], str | None]:
        async with serve(always(answer)) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            far = EndpointClient("http://models.invalid/v1", 5, 1)
            near = EndpointClient("http://127.0.0.1:9/v1", 5, 1)
            try:
                return (
                    (await far.complete(BODY)).reply.text,
                    proxy.paths,
                    (await near.complete(BODY)).reply.failed,
                )
            finally:
                await far.close()
                await near.close()

    text, paths, failed = asyncio.run(run())
    assert text == "26" and len(paths) == 1 and "could not be reached: " in str(failed)


def test_a_bundle_of_certificates_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")

    async def run() -> None:
        EndpointClient("https://models.invalid/v1", 5, 1)

    with pytest.raises(TandemError, match=r"SSL_CERT_FILE is /nowhere/ca\.pem"):
        asyncio.run(run())


def test_a_host_that_is_not_there_is_not_waited_for() -> None:
    async def run() -> tuple[float, str | None]:
        client = EndpointClient("http://127.0.0.1:9/v1", 5, 1, retries=Retries())
        began = time.monotonic()
        try:
            failed = (await client.complete(BODY)).reply.failed
            return time.monotonic() - began, failed
        finally:
            await client.close()

    took, failed = asyncio.run(run())
    assert took < 20 and "could not be reached" in str(failed)


# Bodies


def test_a_large_body_in_many_chunks_is_read_whole() -> None:
    text = "x" * (4 * 2**20)

    async def in_chunks(hosted: Hosted, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(hosted.requests[-1])
        content = answer(text).body
        assert isinstance(content, bytes)
        for start in range(0, len(content), 2**14):
            await response.write(content[start : start + 2**14])
        return response

    (reply,), _ = ask(in_chunks, timeout_s=60)
    assert reply.reply.text == text


def test_a_body_beyond_the_limit_is_said() -> None:
    (reply,), _ = ask(always(lambda: web.Response(body=b" " * (65 * 2**20))), timeout_s=30)
    assert str(reply.reply.failed).endswith("sent more than 64 MiB, which is no answer.")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    yield
