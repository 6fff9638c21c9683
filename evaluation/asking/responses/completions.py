"""The body of a chat completion as a Reply. Nothing of it is taken for granted.

What a model said is its answer, a refusal in the field `refusal` included. A reply without an answer (a filter withheld
it, a tool is called, it was cut off before it began) is recorded as such. What is no chat completion is a failed call.
"""

import math
from dataclasses import dataclass
from typing import Any

from evaluation.asking.responses.endpoint_errors import shorten
from evaluation.asking.responses.json_bodies import printable
from evaluation.asking.thinking import hides_thinking, read_thinking, separate_thinking
from evaluation.replies import CitedSource, NoAnswer, Reply

CUT_OFF = ("length", "max_tokens", "model_length", "max_output_tokens")
FILTERED = ("content_filter", "content_filtered", "safety", "recitation", "prohibited_content", "blocklist", "spii",
            "sensitive", "guardrail_intervened")  # fmt: skip
MAX_LOGPROB = 1e9
BROKEN = ("error", "network_error", "abort", "malformed_function_call")


class NoCompletion(ValueError):
    """The body is no chat completion; the text says why."""


@dataclass(frozen=True)
class Completion:
    """A reply, and what it says about further calls.

    `responded`: the endpoint responded at all. `final`: further calls to the model would fail alike. `status`: of an
    error. `tops`: the likeliest first tokens with their log-probabilities, where they were asked for.
    """

    reply: Reply
    responded: bool = True
    final: bool = False
    status: int | None = None
    tops: list[tuple[str, float]] | None = None


def read_completion(body: Any, latency_s: float, *, cites: bool = True) -> Completion:
    """The reply in a body that was parsed.

    Args:
        cites: whether its `citations` are those of Tandem's endpoint; others call other things so.
    """
    try:
        return _read(body, latency_s, cites)
    except NoCompletion as error:
        return Completion(Reply(failed=f"The endpoint's answer is no chat completion: {error}"))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        seen = f"The endpoint's answer is no chat completion ({type(error).__name__}: {shorten(error)})."
        return Completion(Reply(failed=seen))


def _read(body: Any, latency_s: float, cites: bool) -> Completion:
    if not isinstance(body, dict):
        raise NoCompletion(f"it is {_kind(body)} and no object.")
    choice = _first_choice(body)
    reason = str(choice.get("finish_reason") or "").casefold()
    if reason in BROKEN:
        raise NoCompletion(f"its `finish_reason` is {shorten(reason)}.")
    said = _Said(choice)
    no_answer = _no_answer(said, reason)
    if no_answer is None and said.text is None:
        raise NoCompletion("its message holds no text.")
    thinking = None if said.thinking is None else printable(said.thinking)
    usage: dict[str, Any] = body["usage"] if isinstance(body.get("usage"), dict) else {}
    model = body.get("model")
    reply = Reply(
        text=None if no_answer else said.text,
        model=printable(model) if isinstance(model, str) and model else None,
        latency_s=latency_s,
        prompt_tokens=_count(usage, "prompt_tokens", "input_tokens"),
        completion_tokens=_count(usage, "completion_tokens", "output_tokens"),
        cut_off=reason in CUT_OFF,
        no_answer=no_answer,
        declined=said.declined,
        thinking="" if thinking is None and hides_thinking(usage) else thinking,
        citations=[_cited(each) for each in body.get("citations") or []] if cites else [],
    )
    return Completion(separate_thinking(reply), tops=read_tops(choice.get("logprobs")))


def _first_choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    if isinstance(choices, list) and not choices and _is_filtered(body.get("prompt_filter_results")):
        return {"finish_reason": "content_filter", "message": {}}
    if not isinstance(choices, list) or not choices:
        raise NoCompletion("it has no `choices`." if choices is None else "its `choices` are empty.")
    first = next((each for each in choices if isinstance(each, dict) and each.get("index") == 0), choices[0])
    if not isinstance(first, dict):
        raise NoCompletion(f"its choice is {_kind(first)}.")
    return first


def _is_filtered(results: Any) -> bool:
    """Whether Azure's filter took something out of the question."""
    if isinstance(results, list):
        return any(map(_is_filtered, results))
    return isinstance(results, dict) and (results.get("filtered") is True or any(map(_is_filtered, results.values())))


class _Said:
    """What a choice holds: its text and its thinking (None without any), whether the text is a refusal, and whether
    a tool is called."""

    def __init__(self, choice: dict[str, Any]) -> None:
        message = choice.get("message")
        if message is None and isinstance(choice.get("text"), str):
            message = {"content": choice["text"]}
        if not isinstance(message, dict):
            raise NoCompletion(f"its message is {_kind(message)}.")
        text = text_of(message.get("content"))
        refusal = text_of(message.get("refusal")) or text_of(message.get("content"), "refusal")
        self.declined = bool(refusal) and not text
        self.calls_tool = bool(message.get("tool_calls") or message.get("function_call"))
        self.text = refusal if self.declined else text
        self.thinking = read_thinking(message)


def text_of(content: Any, kind: str = "text") -> str | None:
    """The text of a message's content, be it a text or a list of parts; None where it has none.

    Args:
        kind: which parts are read: `text` or `refusal`. Parts of another kind (thoughts, images) are passed over.
    """
    if content is None or (isinstance(content, str) and kind != "text"):
        return None
    if isinstance(content, str):
        return printable(content)
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list):
        raise NoCompletion(f"its content is {_kind(content)}.")
    texts = [text for part in parts if (text := _text_of_part(part, kind)) is not None]
    return printable("".join(texts)) if texts else None


def _text_of_part(part: Any, kind: str) -> str | None:
    if isinstance(part, str):
        return part if kind == "text" else None
    if not isinstance(part, dict):
        raise NoCompletion(f"a part of its content is {_kind(part)}.")
    if str(part.get("type", "text")).removeprefix("output_") != kind:
        return None
    text = part.get(kind)
    text = text.get("value") if isinstance(text, dict) else text
    if not isinstance(text, str):
        raise NoCompletion(f"a part of its content has no `{kind}`.")
    return text


def _no_answer(said: _Said, reason: str) -> NoAnswer | None:
    if reason in FILTERED:
        return "content_filter"
    if said.text and said.text.strip():
        return None
    if said.calls_tool:
        return "tool_call"
    if reason in CUT_OFF:
        return "cut_off"
    # Whether the model or a parser left the content empty does not show.
    return "thinking_only" if said.thinking else None


def _count(usage: dict[str, Any], *names: str) -> int | None:
    """A number of tokens, rounded; None where the endpoint does not say it."""
    value = next((usage[name] for name in names if usage.get(name) is not None), None)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return round(number) if math.isfinite(number) and 0 <= number < 1e12 else None


def _cited(sent: dict[str, Any]) -> CitedSource:
    return CitedSource(
        index=sent["index"], source=printable(sent["source"]), title=printable(sent["title"]), cited=sent["cited"],
        also_in=[printable(other) for other in sent.get("also_in", [])], text=printable(sent.get("text") or "") or None,
    )  # fmt: skip


def read_tops(logprobs: Any) -> list[tuple[str, float]] | None:
    """The likeliest first tokens with their log-probabilities; None where the endpoint sent none."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    tops = first.get("top_logprobs") if isinstance(first, dict) else None
    if not isinstance(tops, list):
        return None
    found: list[tuple[str, float]] = []
    for each in tops:
        token, value = (each.get("token"), each.get("logprob")) if isinstance(each, dict) else (None, None)
        if isinstance(token, str) and isinstance(value, int | float) and abs(value) < MAX_LOGPROB:
            found.append((token, float(value)))
    return found or None


def _kind(value: Any) -> str:
    names = {type(None): "null", dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return names.get(type(value), "a number")
