"""What a model thinks aloud, and what it answers.

split_thinking("<think>Is it Lyon? No.</think>Paris")  # ("Is it Lyon? No.", "Paris")
split_thinking("<think>The capital is", ended=False)  # ("The capital is", None): the answer never came

Thinking stands in a block in front of the answer: in tags (`<think>`, `[THINK]`, `◁think▷`, `<|START_THINKING|>` ...),
in a channel of OpenAI's Harmony format, or before a closing tag alone, where the chat template puts the opening tag
into the prompt. A block may hold tags itself, and several blocks may follow each other.

An answer can be about such tags. A tag in code or in quotation marks is text. So is an opening tag behind the beginning
of the answer, unless it begins the second line, behind a line that does not end in a colon, or the reply began with
thinking. So is a closing tag alone in the midst of a sentence.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

_NAMES = (
    "think|thinking|thoughts?|reasoning|rationale|reflection|analysis|scratchpad|antthinking|seed:think|cot|"
    "chain[_-]of[_-]thought|inner[_-](?:thoughts?|monologue)"
)
# Opening and closing tag of each way of marking thinking.
_TAGS = (
    (rf"<\|?\s*(?:{_NAMES})(?:\s[^<>]{{0,80}})?\|?>", rf"<\|?\s*/\s*(?:{_NAMES})\s*\|?>"),
    (r"\[(?:THINK|REASONING)\]", r"\[/(?:THINK|REASONING)\]"),
    (r"◁think(?:ing)?▷", r"◁/think(?:ing)?▷"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (r"<\|channel>thought\b", r"<channel\|>"),
    (r"<unused94>\s*thought\b", r"<unused95>"),
    (r'<details type="reasoning"[^<>]{0,200}>', r"</details>"),
    (r"Here(?:'s| is) my thought process:", r"Here(?:'s| is) my response:"),
)
# The last two mean other things too: without the beginning they close nothing.
_LONE_CLOSINGS = range(len(_TAGS) - 2)
_MARKS = tuple(
    (re.compile(pattern, re.IGNORECASE), way, step)
    for way, (opening, closing) in enumerate(_TAGS)
    for pattern, step in ((opening, 1), (closing, -1))
)
# What says that an answer is one, and nothing else.
_ANSWER_MARKS = re.compile(
    r"<\|(?:START|END)_(?:RESPONSE|TEXT)\|>|<\|(?:begin|end)_of_(?:solution|box)\|>", re.IGNORECASE
)
# What may stand before thinking and is no word of an answer: white space, a byte order mark, and marks of a template.
_NOTHING = re.compile(r"(?:[\s\ufeff\u200b-\u200f]|<s>|<\|[\w/]{1,30}\|>|(?<=\|>)assistant\b)*")
_CUT_TAG = re.compile(r"\s*(?:<\|?|\[|◁)[\w:|]{0,20}")
_ANSWER = re.compile(r"<(?:answer|response)>", re.IGNORECASE)
_WRAPPED = re.compile(r"\s*<(answer|response)>(.*)</\1>\s*", re.IGNORECASE | re.DOTALL)
_CODE = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]+`|``[^\n]+?``", re.DOTALL)
_QUOTES = tuple("\"'“”‘’«»„‹›「」『』")
_SENTENCE_END = re.compile(r"[.!?。！？…:;][\"')\]”’»*_]*\s*\Z")
_NEAR = 80
"""Characters before a tag that say whether it stands in a sentence."""

_HARMONY = re.compile(r"\s*(?:<\|start\|>\s*assistant\s*)?<\|channel\|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
# The same where an endpoint leaves special tokens out: `analysisThe user asks ...assistantfinalParis`.
_BARE_HARMONY = re.compile(r"\s*analysis(?=[A-Z\"'“])")
_BARE_CHANNEL = re.compile(r"assistant\s*(analysis|commentary|final)")


class Split(NamedTuple):
    """What was thought, None where nothing was; and the answer, None where it never came."""

    thinking: str | None
    answer: str | None


class _Mark(NamedTuple):
    """A tag: where it begins and ends, which way of marking it belongs to, and 1 where it opens or -1."""

    start: int
    end: int
    way: int
    step: int


def split_thinking(text: str, ended: bool = True) -> Split:
    """The thinking and the answer of a reply. A reply without thinking is its answer, as it stands.

    Args:
        ended: whether the model ended the reply; where it was cut off in its thinking there is no answer. A model
            that ends its reply in its thinking has answered nothing: its text behind it is empty.
    """
    if _HARMONY.match(text):
        return _of_channels(_channels(text), ended)
    if _BARE_HARMONY.match(text):
        return _of_channels(_bare_channels(text), ended)
    marks = sorted(_Mark(*found.span(), way, step) for pattern, way, step in _MARKS for found in pattern.finditer(text))
    if not ended and _CUT_TAG.fullmatch(text):
        return Split("", None)
    if not marks or (ended and len(marks) == 1 and text.strip() == text[marks[0].start : marks[0].end]):
        return Split(None, text)  # a reply of a tag alone is about the tag
    return _of_tags(text, marks, ended)


def may_think(chat_template: str) -> bool:
    """Whether a chat template has a word for thinking."""
    return re.search(r"think|reasoning|thought|<\|channel", chat_template, re.IGNORECASE) is not None


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends within thinking: a reply then begins there, without an opening tag."""
    prompt = prompt.rstrip()
    found = [mark for pattern, _, step in _MARKS if step > 0 for mark in pattern.finditer(prompt)]
    return any(mark.end() == len(prompt) for mark in found)


def _of_tags(text: str, marks: Sequence[_Mark], ended: bool) -> Split:
    thoughts: list[str] = []
    said: list[str] = []
    place, is_open = 0, False
    code = [found.span() for found in _CODE.finditer(text)]
    while not is_open and (block := _next_block(text, marks, place, bool(said), code, bool(thoughts))) is not None:
        start, inner_start, inner_end, end, is_open = block
        if not _NOTHING.fullmatch(text, place, start):
            said.append(text[place:start])
        thoughts.append(text[inner_start:inner_end].strip())
        place = end
    if not thoughts:
        return Split(None, text)
    thinking = "\n\n".join(filter(None, thoughts))
    answer = _ANSWER_MARKS.sub("", "\n".join([*map(str.strip, said), text[place:]]))
    wrapped = _WRAPPED.fullmatch(answer)
    answer = (wrapped[2] if wrapped else answer).strip()
    if not ended and (is_open or not answer):
        return Split(thinking, None)
    return Split(thinking or ("" if is_open else None), answer)


def _next_block(
    text: str, marks: Sequence[_Mark], place: int, has_said: bool, code: Sequence[tuple[int, int]], has_thought: bool
) -> tuple[int, int, int, int, bool] | None:
    """Where the next block begins, what is in it begins and ends, the block ends, and whether the text ends before it;
    None where there is none left.

    Args:
        place: where the text begins that is not yet split; `has_said`: whether words of an answer stand before it.
    """
    left = marks[bisect_left(marks, (place,)) :]
    for number, mark in enumerate(left):
        if mark.step < 0 or not _opens(text, mark, place, has_said, code, has_thought):
            continue
        closing = _closing(left[number + 1 :], mark.way, text, code)
        if closing is not None:
            return mark.start, mark.end, closing.start, closing.end, False
        answer = _ANSWER.search(text, mark.end)
        end = answer.start() if answer else len(text)
        return mark.start, mark.end, end, end, answer is None
    lone = list(takewhile(lambda mark: mark.step < 0, left))
    if place == 0 and lone and _is_json(text):
        return None
    for mark in reversed(lone):
        if mark.way in _LONE_CLOSINGS and not _is_quoted(mark, text, code) and not _is_mentioned(text, place, mark):
            return place, place, mark.start, mark.end, False
    return None


def _opens(
    text: str, mark: _Mark, place: int, has_said: bool, code: Sequence[tuple[int, int]], has_thought: bool
) -> bool:
    """Whether a tag opens a block, and is not mentioned in an answer."""
    if not has_said and _NOTHING.fullmatch(text, place, mark.start):
        return True
    if _is_quoted(mark, text, code):
        return False
    near = text[max(0, mark.start - _NEAR) : mark.start]
    if has_thought:
        return not near.endswith((" ", "\t")) or _SENTENCE_END.search(near) is not None
    preamble = text[: mark.start].strip()
    return near.rstrip(" \t").endswith("\n") and "\n" not in preamble and not preamble.endswith((":", "\uff1a"))


def _closing(marks: Sequence[_Mark], way: int, text: str, code: Sequence[tuple[int, int]]) -> _Mark | None:
    """The tag that closes a block whose opening tag stands before these; None where none does.

    Blocks within are counted. Where thinking mentions an opening tag, the count never ends: then the last tag closes.
    Tags in code or in quotation marks count where there are no others.
    """
    depth, last, quoted = 1, None, None
    for mark in marks:
        if mark.way != way:
            continue
        if _is_quoted(mark, text, code):
            quoted = quoted or (mark if mark.step < 0 else None)
            continue
        depth += mark.step
        if mark.step < 0:
            last = mark
        if depth == 0:
            return mark
    return last or quoted


def _is_mentioned(text: str, place: int, mark: _Mark) -> bool:
    """Whether a closing tag without an opening one stands in the midst of a sentence."""
    near = text[max(place, mark.start - _NEAR) : mark.start]
    after = text[mark.end : mark.end + _NEAR]
    if mark.start == place:
        return re.match(r"[^\S\n]+[a-z]|\s*\Z", after) is not None
    if not near.endswith((" ", "\t")) or _SENTENCE_END.search(near):
        return False
    if not text[mark.end :].strip():
        return re.search(r"[.!?。！？\n]", text[place : mark.start].strip()) is None
    return re.match(r"[^\S\n]+[a-z(]|[.,;:!?)]", after) is not None


def _is_quoted(mark: _Mark, text: str, code: Sequence[tuple[int, int]]) -> bool:
    place = bisect_right(code, (mark.start, len(text))) - 1
    if place >= 0 and mark.end <= code[place][1]:
        return True
    return text.startswith(_QUOTES, max(0, mark.start - 1), mark.start) and text.startswith(_QUOTES, mark.end)


def _is_json(text: str) -> bool:
    """Whether a text is one object or list: a tag in it is a value's."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _channels(text: str) -> list[tuple[str, str]]:
    """Name and text of each channel."""
    channels = []
    for found in _CHANNEL.finditer(text):
        end = _CHANNEL_END.search(text, found.end())
        channels.append((found[1].lower(), text[found.end() : end.start() if end else len(text)]))
    return channels


def _bare_channels(text: str) -> list[tuple[str, str]]:
    parts = _BARE_CHANNEL.split(f"assistant{text.lstrip()}")
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _of_channels(channels: Sequence[tuple[str, str]], ended: bool) -> Split:
    """`final` holds the answer; the other channels hold what leads to it."""
    thinking = "\n\n".join(said.strip() for name, said in channels if name != "final" and said.strip())
    answers = [said.strip() for name, said in channels if name == "final"]
    answer = answers[-1] if answers else ""
    if not answer and not ended:
        return Split(thinking, None)
    return Split(thinking or (None if answers else ""), answer)
