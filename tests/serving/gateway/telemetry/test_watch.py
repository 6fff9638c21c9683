"""The access log and what is kept: what stands in them, and what never does."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from serving.access.keys import Keys
from serving.api.errors import ApiError
from serving.api.requests import IncomingRequest, request_id
from serving.gateway.gateway import Gateway
from tests.serving.gateway.test_gateway import FOUND, Handle, answered, settings_of

SECRET_WORDS = "my grandmother's recipe"
SHOWN = {"tools": [{"type": "function", "function": {"name": "look"}}], "chat_template_kwargs": {"style": "short"}}


def asked(tmp_path: Path, *, keep: bool = False, log_prompts: bool = False, rate: bool = False) -> str:
    """A question with a key, answered from documents; the key's secret."""
    _, secret = Keys(tmp_path / "keys").create("t", keep=keep)
    settings = settings_of(keys=tmp_path / "keys", logs=tmp_path / "logs", log_prompts=log_prompts)
    engine, retriever = Handle(answer=answered), Handle(search=lambda *_: FOUND)
    body = {"model": "base+docs", "messages": [{"role": "user", "content": SECRET_WORDS}], **SHOWN}

    async def ask() -> None:
        gateway = Gateway(settings, {"base": engine}, retriever)  # type: ignore[dict-item, arg-type]
        await gateway.answer(
            "chat", IncomingRequest(json.dumps(body).encode(), f"Bearer {secret}", "10.0.0.7", "req-1")
        )
        with pytest.raises(ApiError):
            await gateway.answer("chat", IncomingRequest(b"{", "Bearer nonsense"))
        if rate:
            rating = {"id": "c", "rating": "down", "comment": "wrong"}
            await gateway.rate(IncomingRequest(json.dumps(rating).encode(), f"Bearer {secret}"))

    asyncio.run(ask())
    return secret


def lines(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    (path,) = (tmp_path / "logs").glob(f"{name}-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_access_log_says_who_asked_what_model_and_never_what(tmp_path: Path) -> None:
    secret = asked(tmp_path)
    answer, refused = lines(tmp_path, "access")
    assert (answer["id"], answer["peer"], answer["kind"], answer["status"]) == ("req-1", "10.0.0.7", "chat", 200)
    assert (answer["model"], answer["collection"], answer["tokens"]) == ("base", "docs", 7)
    assert answer["key"] in secret and 0 <= answer["retrieval_s"] <= answer["seconds"]
    assert (refused["status"], refused["code"], refused["key"]) == (401, "invalid_api_key", None)
    everything = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    for private in (SECRET_WORDS, "It is 26", "The atomic number", secret, "nonsense"):
        assert private not in everything


def test_questions_are_logged_where_the_settings_say_so(tmp_path: Path) -> None:
    asked(tmp_path, log_prompts=True)
    answer, _ = lines(tmp_path, "access")
    assert answer["question"][0]["content"] == SECRET_WORDS and answer["answer"] == "It is 26 [1]."


def test_what_a_key_allows_is_kept_with_its_rating(tmp_path: Path) -> None:
    asked(tmp_path, keep=True, rate=True)
    answer, rating = lines(tmp_path, "kept")
    assert answer["question"][0]["content"] == SECRET_WORDS and answer["answer"] == "It is 26 [1]."
    assert (answer["id"], answer["sources"]) == ("c", ["iron.md#0"])
    assert {name: answer[name] for name in SHOWN} == SHOWN
    assert (rating["id"], rating["rating"], rating["comment"]) == ("c", "down", "wrong")


def test_nothing_is_kept_of_a_key_that_does_not_allow_it(tmp_path: Path) -> None:
    with pytest.raises(ApiError) as refused:
        asked(tmp_path, rate=True)
    assert refused.value.status == 403
    assert lines(tmp_path, "kept") == []


def test_an_id_from_outside_is_no_line_of_a_log() -> None:
    assert request_id("my-id.7") == "my-id.7"
    for strange in (None, "", "a\nb", "x" * 65, 'a"b'):
        assert request_id(strange).startswith("req-") and request_id(strange) != strange
