"""The format of a prompt with retrieved passages, which has this one owner.

    system = [the caller's own system message, then an empty line]
             INSTRUCTION
             [1] TITLE
             TEXT
             [2] TITLE
             ...

The endpoint renders with it, the small base model was trained on it, and `PROMPT_HASH` changes when it does.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

INSTRUCTION = (
    "Answer from the passages. Cite the passage, like [1]. If they do not hold the answer, say that you do not know."
)
NO_PASSAGES = "No passages were found."


@dataclass(frozen=True)
class Passage:
    """A piece of a document. `text` comes without its heading, which is `title`."""

    title: str
    text: str


P = TypeVar("P", bound=Passage)


def render(messages: Sequence[Mapping[str, Any]], passages: Sequence[Passage]) -> list[dict[str, Any]]:
    """`messages` (OpenAI chat format) with the passages in a system message in front.

    A system message of the caller's that stands first keeps its words and the passages follow it. Other turns stay.
    """
    system = render_system(passages)
    if messages and messages[0].get("role") == "system":
        own, *turns = messages
        return [{**own, "content": _appended(own.get("content"), system)}, *map(dict, turns)]
    return [{"role": "system", "content": system}, *map(dict, messages)]


def render_system(passages: Sequence[Passage]) -> str:
    """The instruction and the numbered passages, or a line that says there are none."""
    blocks = [f"[{number}] {passage.title}\n{passage.text}" for number, passage in enumerate(passages, start=1)]
    return "\n\n".join([INSTRUCTION, *(blocks or [NO_PASSAGES])])


def estimate_tokens(text: str) -> int:
    """Tokens of `text`, from above: one for three bytes of UTF-8.

    Byte-pair vocabularies average about four bytes of English and three of Chinese a token.
    """
    return math.ceil(len(text.encode("utf-8", errors="replace")) / 3)


def fit(passages: Sequence[P], prompt_tokens: int, count_tokens: Callable[[str], int] = estimate_tokens) -> list[P]:
    """The passages, from the first on, whose rendering takes at most `prompt_tokens`.

    The first is always kept; where it alone is too long its text is cut at a word.
    """
    kept = list(passages)
    while len(kept) > 1 and count_tokens(render_system(kept)) > prompt_tokens:
        kept.pop()
    if kept and count_tokens(render_system(kept)) > prompt_tokens:
        return [_cut(kept[0], prompt_tokens, count_tokens)]
    return kept


def _cut(passage: P, prompt_tokens: int, count_tokens: Callable[[str], int]) -> P:
    """The longest run of whole words of `passage` that fits, found by bisection; never less than one word."""
    words = passage.text.split(" ")
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        shorter = replace(passage, text=" ".join(words[:middle]))
        if count_tokens(render_system([shorter])) <= prompt_tokens:
            low = middle
        else:
            high = middle - 1
    return replace(passage, text=" ".join(words[:low]))


def _appended(content: Any, system: str) -> Any:
    """`content` is a string or OpenAI's list of content parts."""
    if isinstance(content, list):
        return [*content, {"type": "text", "text": "\n\n" + system}]
    return f"{content}\n\n{system}" if content else system


def _prompt_hash() -> str:
    """SHA-256 of a fixed example's rendering: with two passages, with none, and behind a caller's system message."""
    passages = [Passage("Iron", "The atomic number of Iron is 26."), Passage("Gold", "The symbol of Gold is Au.")]
    question = {"role": "user", "content": "What is the atomic number of Iron?"}
    own = {"role": "system", "content": "Be brief."}
    rendered = [render([question], passages), render([question], []), render([own, question], passages)]
    return hashlib.sha256(json.dumps(rendered, sort_keys=True).encode()).hexdigest()


PROMPT_HASH = _prompt_hash()
