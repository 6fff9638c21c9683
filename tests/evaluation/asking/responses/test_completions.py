"""Bodies as endpoints send them: each is read, or counted for what it is."""

import json
import random
from typing import Any

import pytest

from evaluation.asking.responses.completions import Completion, read_completion
from evaluation.asking.responses.endpoint_errors import error_in, status_in
from evaluation.asking.responses.json_bodies import parse_body
from evaluation.asking.responses.refused_parameters import find_refused_parameters
from evaluation.grading.grading import grade_reply
from evaluation.questions.question import Question
from evaluation.replies import Reply


def body(message: Any, reason: str | None = "stop", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": reason}], **fields}


def read(content: Any) -> Completion:
    return read_completion(parse_body(content if isinstance(content, bytes) else json.dumps(content).encode()), 0.5)


def said(content: Any, reason: str = "stop", **message: Any) -> Reply:
    return read(body({"role": "assistant", "content": content, **message}, reason)).reply


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("26", "26"),
        ("", ""),
        ([{"type": "text", "text": "It is "}, {"type": "text", "text": "26"}], "It is 26"),
        ([{"type": "output_text", "text": "26", "annotations": []}], "26"),
        ([{"type": "text", "text": {"value": "26"}}], "26"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "7?"}]}, {"type": "text", "text": "26"}], "26"),
        (["2", "6"], "26"),
        ([{"text": "26"}], "26"),
        ({"type": "text", "text": "26"}, "26"),
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
    ],
)
def test_content_is_read_in_every_form(content: Any, text: str) -> None:
    reply = said(content)
    assert (reply.text, reply.failed, reply.no_answer, reply.declined) == (text, None, None, False)


@pytest.mark.parametrize(
    ("message", "reason", "no_answer"),
    [
        ({"content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}, "tool_calls", "tool_call"),
        ({"content": "", "function_call": {"name": "f"}}, "function_call", "tool_call"),
        ({"content": []  , "tool_calls": [{}]}, "stop", "tool_call"),
        ({"content": None}, "content_filter", "content_filter"),
        ({"content": "The answer is"}, "content_filter", "content_filter"),
        ({}, "SAFETY", "content_filter"),
        ({"content": None}, "length", "cut_off"),
        ({"content": ""}, "MAX_TOKENS", "cut_off"),
    ],
)  # fmt: skip
def test_a_reply_without_an_answer_is_counted_for_what_it_is(message: Any, reason: str, no_answer: str) -> None:
    reply = read(body(message, reason)).reply
    assert (reply.no_answer, reply.text, reply.failed) == (no_answer, None, None)
    graded = grade_reply(Question(id="q", slice="s", question="What?", answers=("26",)), reply, retrieves=False)
    assert graded.grade is None and graded.missing


def test_a_tool_call_beside_an_answer_leaves_the_answer() -> None:
    assert said("26", "tool_calls", tool_calls=[{}]).text == "26"
    assert (said("It is", "length").text, said("It is", "length").cut_off) == ("It is", True)


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "refusal": "That is nothing I can help with."},
        {"content": "", "refusal": "That is nothing I can help with."},
        {"content": [{"type": "refusal", "refusal": "That is nothing I can help with."}]},
    ],
)
def test_a_refusal_is_the_answer_and_counts_as_one(message: Any) -> None:
    reply = read(body(message)).reply
    assert (reply.text, reply.declined) == ("That is nothing I can help with.", True)
    known, unknown = (
        Question(id="q", slice="s", question="Who is it?", answers=("help",) * answerable, answerable=answerable)
        for answerable in (True, False)
    )
    right = [grade_reply(question, reply, retrieves=False).grade for question in (known, unknown)]
    assert [(grade.correct, grade.refused) for grade in right if grade] == [(False, True), (True, True)]


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 3}, (9, 3)),
        ({"prompt_tokens": 9.6, "completion_tokens": "3"}, (10, 3)),
        ({"prompt_tokens": "9.0", "completion_tokens": None}, (9, None)),
        ({"input_tokens": 9, "output_tokens": 3}, (9, 3)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (None, None)),
        ({"prompt_tokens": "many", "completion_tokens": [3]}, (None, None)),
        ({"prompt_tokens": 1e300, "completion_tokens": {}}, (None, None)),
        (None, (None, None)),
        ([1], (None, None)),
        ("9", (None, None)),
    ],
)
def test_usage_is_read_or_unknown(usage: Any, tokens: tuple[int | None, int | None]) -> None:
    reply = read(body({"content": "26"}, usage=usage)).reply
    assert (reply.prompt_tokens, reply.completion_tokens) == tokens and reply.text == "26"


@pytest.mark.parametrize("model", [None, 7, "", ["m"]])
def test_an_answer_without_the_models_name_is_an_answer(model: Any) -> None:
    reply = read(body({"content": "26"}) | {"model": model}).reply
    assert (reply.text, reply.model) == ("26", None)
    without = body({"content": "26"})
    del without["model"]
    assert read(without).reply.text == "26"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1], "it is a list"), ({}, "has no `choices`"), ({"choices": []}, "`choices` are empty"),
        ({"choices": [7]}, "choice is a number"), ({"choices": [{}]}, "message is null"),
        (body("26"), "message is a text"), (body({"content": 26}), "content is a number"),
        (body({"content": [26]}), "a part of its content is a number"), (body({"content": None}), "holds no text"),
        (body({}), "holds no text"), (body({"content": [{"type": "image_url"}]}), "holds no text"),
        (body({"content": "2"}, "error"), "`finish_reason` is error"),
    ],
)  # fmt: skip
def test_what_is_no_completion_is_a_failed_call_with_its_reason(content: Any, reason: str) -> None:
    reply = read(content).reply
    assert reply.text is None and reason in str(reply.failed)


def test_of_several_choices_the_first_by_its_index_is_read() -> None:
    """`extra_body: {n: 2}` gets two, in the order in which they ended."""
    choices = [{"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in (1, 0)]
    assert read({"model": "m", "choices": choices}).reply.text == "0"
    assert (
        read({"model": "m", "choices": [{"message": {"content": "7"}}, {"message": {"content": "8"}}]}).reply.text
        == "7"
    )


def test_a_question_that_azure_filtered_is_no_failure() -> None:
    results = [{"prompt_index": 0, "content_filter_results": {"violence": {"filtered": True}}}]
    assert read({"choices": [], "prompt_filter_results": results}).reply.no_answer == "content_filter"


def test_json_that_is_not_quite_json_is_read() -> None:
    half = b'{"choices": [{"message": {"content": "26 \\ud83d"}}], "usage": {"cost": NaN}}'
    assert read(half).reply.text == "26 ?"
    assert read("\ufeff".encode() + json.dumps(body({"content": "26"})).encode()).reply.text == "26"
    assert read(b'{"choices": [{"message": {"content": "caf\xe9"}}]}').reply.text == "caf\ufffd"
    with pytest.raises(ValueError, match="nested too deeply"):
        read(b"[" * 200_000)


# Streams that nobody asked for


def stream(*events: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * done
    return ("".join(lines)).encode()


def piece(reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}


def test_a_stream_is_put_together() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    events = (piece(role="assistant"), piece(content="It is "), piece(content="26"), piece("stop"), usage)
    for content in (
        stream(*events),
        stream(*events).replace(b"\n", b"\r\n"),
        b": ping\n\n" + stream(*events, done=False),
    ):
        reply = read(content).reply
        assert (reply.text, reply.model, reply.prompt_tokens) == ("It is 26", "m", 9)


def test_a_stream_has_refusals_tools_and_ends_too() -> None:
    assert read(stream(piece(refusal="I will "), piece("stop", refusal="not."))).reply.declined
    assert read(stream(piece("tool_calls", tool_calls=[{"index": 0}]))).reply.no_answer == "tool_call"
    assert read(stream(piece(content="It"), piece("length"))).reply.cut_off
    assert read(stream(body({"content": "26"}))).reply.text == "26"
    with pytest.raises(ValueError, match="ended before the answer did"):
        read(stream(piece(content="It is "), done=False))


def test_a_long_stream_is_put_together_in_linear_time() -> None:
    assert read(stream(*[piece(content="x")] * 20_000)).reply.text == "x" * 20_000


def test_log_probabilities_in_another_shape_are_none() -> None:
    def tops(logprobs: Any) -> Any:
        sent = body({"content": "A"})
        sent["choices"][0]["logprobs"] = logprobs
        return read(sent).tops

    assert tops({"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": -0.1}]}]}) == [("A", -0.1)]
    assert all(tops(each) is None for each in (None, {}, [], {"content": []}, {"content": [{}]}, {"tokens": ["A"]}))
    assert tops({"content": [{"top_logprobs": [{"token": "A"}, {"token": 1, "logprob": 0}]}]}) is None


def test_citations_of_others_are_not_taken_for_tandems() -> None:
    sent = body({"content": "26"}, citations=["https://example.org"])
    assert read_completion(sent, 0.5, cites=False).reply.text == "26"
    assert read_completion(sent, 0.5).reply.failed


ODD: list[Any] = [
    None, 0, -1, 2.5, float("nan"), True, "", "x", "\ud83d", "[1]", "{", [], {}, [[]], [None], {"text": "x"},
    {"type": "text", "text": None}, 10**400, "9" * 5000, {"error": 1}, {"code": "429"},
]  # fmt: skip
NAMES = ("choices", "message", "content", "refusal", "tool_calls", "finish_reason", "usage", "prompt_tokens", "model",
         "logprobs", "top_logprobs", "index", "error", "code", "param", "detail", "loc", "msg", "text")  # fmt: skip


def test_no_body_breaks_the_reader() -> None:
    """Whatever JSON comes, as a body or as a stream: a reply that can be kept, or a ValueError."""
    draw = random.Random(1)

    def value(depth: int) -> Any:
        if depth > 4 or draw.random() < 0.35:
            return draw.choice(ODD)
        if draw.random() < 0.6:
            return {draw.choice(NAMES): value(depth + 1) for _ in range(draw.randint(0, 5))}
        return [value(depth + 1) for _ in range(draw.randint(0, 3))]

    for number in range(2000):
        choice = {
            "message": {"content": value(2), "refusal": value(4)},
            "finish_reason": value(5),
            "logprobs": value(1),
        }
        sent = json.dumps(value(0) if number % 2 else {"choices": [choice], "usage": value(3), "model": value(5)})
        try:
            found = parse_body((f"data: {sent}\n\ndata: [DONE]\n\n" if number % 5 == 0 else sent).encode())
        except ValueError:
            continue
        error = error_in(status_in(found) or 400, found)
        assert find_refused_parameters(error, ("temperature",)) in ({}, {"temperature": None})
        read_completion(found, 0.5).reply.model_dump_json()
        error.message.encode()
