"""A reply's thinking is kept apart from its answer here, once: whatever reads `Reply.text` reads the answer alone.

Thinking comes in tags of the text (questions/thinking.py), in a field of the message beside `content`, as parts of
`content`, or not at all: an endpoint may keep it to itself and count its tokens.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.questions.thinking import split_thinking
from evaluation.replies import CitedSource, Reply

# vLLM and OpenRouter; DeepSeek and others; LiteLLM; Ollama; OpenRouter's details.
_FIELDS = ("reasoning", "reasoning_content", "thinking_blocks", "thinking", "reasoning_details")
_PARTS = ("thinking", "reasoning", "reasoning_text", "reasoning.text", "redacted_thinking")


def read_thinking(message: Mapping[str, Any]) -> str | None:
    """The thinking that stands beside the content of a message or as parts in it; None without any."""
    thoughts = [said for said in (_text(message.get(field)) for field in _FIELDS) if said][:1]
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    thoughts += [_text(part) for part in parts if _is_thinking(part)]
    return "\n\n".join(filter(None, thoughts)) or ("" if thoughts else None)


def hides_thinking(usage: Mapping[str, Any]) -> bool:
    """Whether an endpoint counts tokens of thinking, which it may not show."""
    details = usage.get("completion_tokens_details")
    tokens = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return isinstance(tokens, int | float) and tokens > 0


def separate_thinking(reply: Reply) -> Reply:
    """The reply with its answer as `text` and its thinking beside it.

    A reply that was cut off before its answer began has none.
    """
    if reply.failed or reply.no_answer or reply.text is None:
        return reply
    thinking, answer = split_thinking(reply.text, ended=not reply.cut_off)
    if reply.thinking is not None and answer is not None:
        answer = answer.strip()  # a parser leaves the empty lines behind the thinking
    never_came = reply.cut_off and not (answer or "").strip()
    if thinking is None and (reply.choices is not None or (answer == reply.text and not never_came)):
        return without_empty_answer(reply)  # of a choice the first token alone was asked for, and measured
    changed: dict[str, Any] = {"text": None, "no_answer": "cut_off"} if never_came else {"text": answer}
    if thinking is not None:
        changed["thinking"] = "\n\n".join(filter(None, (reply.thinking, thinking)))
        changed["citations"] = [_cited_in(answer or "", citation) for citation in reply.citations]
    return without_empty_answer(reply.model_copy(update=changed))


def without_empty_answer(reply: Reply) -> Reply:
    """The reply of a model that thought and then said nothing: it has no answer, which is not a wrong answer."""
    if reply.failed or reply.no_answer or reply.choices is not None or reply.thinking is None or reply.text is None:
        return reply
    if reply.text.strip():
        return reply
    return reply.model_copy(update={"text": None, "no_answer": "cut_off" if reply.cut_off else "thinking_only"})


def without_unclosed_thinking(reply: Reply) -> Reply:
    """The reply of an arm that thinks, as far as it is an answer.

    Where the chat template opens the thinking, a reply that was cut off in it has no tag: it looks like an answer.
    """
    if reply.failed or reply.text is None or reply.thinking is not None or not reply.cut_off:
        return reply
    return reply.model_copy(update={"text": None, "thinking": reply.text, "no_answer": "cut_off"})


def _cited_in(answer: str, citation: CitedSource) -> CitedSource:
    """A mark in the thinking alone cites nothing."""
    is_cited = citation.cited and re.search(rf"\[{citation.index}\]", answer) is not None
    return citation if is_cited == citation.cited else citation.model_copy(update={"cited": is_cited})


def _is_thinking(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _PARTS


def _text(value: Any) -> str:
    return "".join(_texts(value))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a part, or in the parts in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for field in ("text", "thinking", "reasoning", "summary", "content"):
            if field in value:
                yield from _texts(value[field])
                return
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
