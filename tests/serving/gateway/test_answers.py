"""What is added to an engine's answer: the pinned name, and citations by the marks in the text."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from serving.access.token_usage import TokenUsage
from serving.gateway.stream import citations, relay_stream


@dataclass(frozen=True)
class Found:
    id: str
    source: str = "a.md"
    title: str = "A"
    text: str = "Iron is 26."
    score: float = 0.5
    citation: str = "a.md#0"
    also_in: tuple[str, ...] = ()
    position: int = 0
    last_position: int = 0


def cited(text: str, num_hits: int = 3) -> list[int]:
    found = citations([Found(str(n)) for n in range(num_hits)], text)
    assert [one["index"] for one in found] == list(range(1, num_hits + 1))
    return [one["index"] for one in found if one["cited"]]


def test_marks_in_the_text_are_citations() -> None:
    assert cited("It is 26 [1].") == [1]
    assert cited("Both [3][2] say so [2].") == [2, 3]
    assert cited("Nothing.") == []
    assert cited("[4] [0] [x] [ 1 ] [1 [12345] (1)") == []
    assert citations([], "[1]") == []


def chunk(text: str = "", finish: str | None = None, **more: Any) -> str:
    body = {"id": "c", "model": "a.v7.0123", "choices": [{"index": 0, "delta": {"content": text}}], **more}
    body["choices"][0]["finish_reason"] = finish
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"


@dataclass
class Answering:
    """As the gateway knows an answer that comes."""

    hides_usage: bool = False
    token_usage: TokenUsage = field(default_factory=lambda: TokenUsage(prompt=5, reserved=50))
    body: dict[str, Any] = field(default_factory=lambda: {"model": "a.v7.0123"})
    public_name: str = "base:a@7"

    def began(self, answer_id: str) -> None:
        assert answer_id == "c"

    def fields(self, text: str) -> dict[str, Any]:
        return {"text": text}


def relayed(*batches: str, answering: Answering | None = None) -> list[str]:
    async def events() -> AsyncGenerator[str]:
        for batch in batches:
            yield batch

    async def collect() -> list[str]:
        stream = relay_stream(events(), answering or Answering())
        sent = "".join([events async for events in stream])
        return [f"{event}\n\n" for event in sent.split("\n\n") if event]

    return asyncio.run(collect())


def last_chunk(events: list[str]) -> Any:
    assert events[-1] == "data: [DONE]\n\n"
    return json.loads(events[-2].removeprefix("data: "))


def test_every_chunk_has_the_public_name_and_the_last_one_the_extras() -> None:
    events = relayed(chunk(), chunk('say "model":"a.v7.0123" '), chunk("x", "stop"), "data: [DONE]\n\n")
    assert len(events) == 4
    bodies = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert [body["model"] for body in bodies] == ["base:a@7"] * 3
    assert [("text" in body) for body in bodies] == [False, False, True]
    assert bodies[-1]["text"] == 'say "model":"a.v7.0123" x'


def test_tokens_do_not_wait_for_the_next_one() -> None:
    async def first_token() -> str:
        async def events() -> AsyncGenerator[str]:
            yield chunk("one")
            await asyncio.sleep(3600)

        return await asyncio.wait_for(anext(relay_stream(events(), Answering())), 1)

    assert "one" in asyncio.run(first_token())


def test_a_usage_chunk_after_the_end_of_the_text_is_the_last() -> None:
    usage = 'data: {"id":"c","model":"a.v7.0123","choices":[],"usage":{"total_tokens":3}}\n\n'
    events = relayed(chunk("x", "stop") + usage, "data: [DONE]\n\n")
    assert last_chunk(events)["usage"] == {"total_tokens": 3}
    assert last_chunk(events)["text"] == "x"
    assert "text" not in json.loads(events[0].removeprefix("data: "))


def test_two_choices_end_once() -> None:
    events = relayed(chunk("x", "stop"), chunk("y"), chunk("z", "length"), "data: [DONE]\n\n")
    assert last_chunk(events)["text"] == "xyz"
    assert sum('"text"' in event for event in events) == 1


def test_a_stream_that_breaks_off_still_gives_what_it_had() -> None:
    assert json.loads(relayed(chunk("x", "stop"))[-1].removeprefix("data: "))["text"] == "x"


def test_an_error_in_the_middle_is_passed_on() -> None:
    events = relayed(chunk("x"), 'data: {"error":{"message":"engine"}}\n\n', "data: [DONE]\n\n")
    assert "engine" in events[1]


USAGE = 'data: {"id":"c","model":"a.v7.0123","choices":[],"usage":{"total_tokens":9}}\n\n'


def test_usage_that_the_caller_did_not_ask_for_is_counted_and_not_sent() -> None:
    answering = Answering(hides_usage=True)
    events = relayed(chunk("x"), chunk("y", "stop"), USAGE, "data: [DONE]\n\n", answering=answering)
    assert answering.token_usage.num_tokens == 9
    assert not any("usage" in event for event in events)
    assert last_chunk(events)["text"] == "xy"


def test_an_answer_that_is_cut_counts_what_came() -> None:
    answering = Answering()
    relayed(chunk("x"), chunk("y"), answering=answering)
    assert answering.token_usage.num_tokens == 5 + 2
    answering.token_usage.generated = 100
    assert answering.token_usage.num_tokens == 50, "never more than was reserved"


def test_thinking_that_a_parser_took_out_counts_as_tokens_that_came_and_is_no_text() -> None:
    thinking, answering = chunk().replace('"content":""', '"reasoning":"So it is"'), Answering()
    events = relayed(thinking, thinking, chunk("26"), chunk(finish="stop"), "data: [DONE]\n\n", answering=answering)
    assert answering.token_usage.generated == 3 and answering.token_usage.first_at is not None
    assert last_chunk(events)["text"] == "26"
