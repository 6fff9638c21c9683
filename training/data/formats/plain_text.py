"""Plain texts: rows that are learnt whole, without turns, as in continued pre-training.

{"text": "..."}, or {"content": "..."} where a row has no `text`
"""

import re
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from training.data.conversation import Conversation, ParsedRow
from training.data.formats.keys import (
    CONTENT_KEYS,
    REFUSED_ROW_KEYS,
    ROW_KEYS,
    ROW_LOSS_FLAGS,
    SETTINGS_KEY,
    TOOLS_KEYS,
    is_media,
    normalise_key,
)
from training.data.formats.loss_flags import read_weight
from training.data.formats.reading import Reading, RowOptions
from training.data.formats.values import is_blank

TEXT_KEYS = ("text", "content")
_TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".html", ".htm", ".rst")

# What a chat template writes at the beginning of a turn, in the models that are seen most.
_TURN_MARK = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|\[INST\]|<\|(?:user|assistant|system)\|>|<｜(?:User|Assistant)｜>"
    r"|<\|start_of_role\|>|<\|START_OF_TURN_TOKEN\|>|^### (?:Instruction|Response):|^(?:Human|Assistant): ",
    re.MULTILINE,
)

# Keys beside a text that are parts of a conversation, and words of keys that say which tokens are learnt.
_OF_CONVERSATIONS = frozenset((*TOOLS_KEYS, SETTINGS_KEY, "input_ids"))
_COUNTS_TOKENS = frozenset(("loss", "weight", "weights", "mask", "masked", "label", "labels", "train", "trainable"))

_LEADING_MARK = re.compile(r"^(?:[#>*\-•]+|\(?\d+[.)]|Q\d*[.:)])\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?？])\s+")


def check_holds_rows(path: Path) -> None:
    """Raise TandemError where a file is a text itself, and not rows with texts; another fault is found by others."""
    if path.suffix.lower() not in _TEXT_SUFFIXES or not path.is_file():
        return
    with path.open("rb") as file:
        first = next((line.strip() for line in file if line.strip()), b"")
    if first[:1] not in (b"{", b"["):
        raise TandemError(
            f"The training data {path} is a text, and not a file of rows with texts.",
            'A file of rows, such as JSONL or Parquet, with a row `{"text": ...}` for each document.',
            "Name the file, or a folder of documents, under `retrieval.sources`, and write the rows with "
            "`tandem data texts`.",
        )


def is_plain_text(row: dict[str, Any]) -> bool:
    """Whether a row has a text and nothing that makes it a row of another kind."""
    return any(row.get(key) is not None for key in TEXT_KEYS)


def parse_text_row(value: dict[str, Any], options: RowOptions) -> tuple[ParsedRow, set[str]]:
    """What a row with a text teaches, and its keys that say nothing about that: all that name neither a part of a
    conversation nor what counts in the loss.

    Raises:
        ValueError: the text is empty or no string, there are two that differ, or a key may change what is learnt.
    """
    reading = Reading.of(value, options)
    text = _take_text(reading)
    weights = (read_weight(reading.take(key), f"`{key}`") for key in ROW_LOSS_FLAGS if reading.has(key))
    if any(weight != 1 for weight in weights):
        raise ValueError("has a `weight`, which a text cannot have; the `weight` of its source is how often it is seen")
    reading.used.update(ROW_KEYS)
    for key in reading.keys_left():
        if key in CONTENT_KEYS:
            raise ValueError(f"has `{key}` beside its text, which is learnt alone")
        name = normalise_key(key)
        if name in REFUSED_ROW_KEYS or is_media(key):
            reading.check_key(key)
        if name in _OF_CONVERSATIONS or _COUNTS_TOKENS & set(name.split("_")):
            raise ValueError(
                f"has `{key}` beside its text, of which every token is learnt; where it says nothing about that, name "
                f"`{key}` under `ignore` of its source"
            )
        reading.not_used.add(key)
    return ParsedRow(Conversation(()), text=text), reading.not_used


def _take_text(reading: Reading) -> str:
    named = {key: reading.take(key) for key in TEXT_KEYS if reading.has(key)}
    for key, value in named.items():
        if not isinstance(value, str):
            raise ValueError(f"`{key}` is not a string")
    texts = set(named.values())
    if len(texts) > 1:
        raise ValueError("has both `text` and `content`, which differ")
    text = str(texts.pop())
    if is_blank(text):
        raise ValueError("`text` is empty")
    return text


def explain_plain_text(row: dict[str, Any]) -> str:
    """What to do with the text of a row that is no conversation; empty where it has no text."""
    if not isinstance(row.get("text"), str):
        return ""
    mark = find_turn_mark(row["text"])
    rendered = f", and {mark!r} in it belongs to a rendered conversation: write its turns as `messages`" if mark else ""
    return f"; `training.objective: text` learns its `text` whole{rendered}"


def find_turn_mark(text: str) -> str | None:
    """The first mark of a turn in a text that a chat template has rendered already; None where there is none."""
    mark = _TURN_MARK.search(text)
    return mark[0] if mark else None


def find_questions(text: str) -> list[str]:
    """The lines and sentences of a text that end with a question mark, without what marks a heading or a list."""
    questions = []
    for line in filter(_has_question, text.splitlines()):
        whole = _LEADING_MARK.sub("", line.strip())
        questions += [whole, *_SENTENCE_END.split(whole)]
    return list(
        dict.fromkeys(question.strip() for question in questions if question.rstrip(" *_").endswith(("?", "？")))
    )


def _has_question(line: str) -> bool:
    return "?" in line or "？" in line
