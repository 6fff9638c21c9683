"""Control tokens that a row has as words in its text.

A tokenizer reads the words `<|im_end|>` in a question as the token that ends a turn, wherever they stand. Special
tokens are control tokens, whatever they look like. Of the tokens that were added without being special those are that
the chat template parts turns with, and those that look reserved; others are ordinary words or markup (`<td>`).
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from training.data.conversation import Message
from training.data.rows import TrainingRow
from training.data.templates.special_tokens import added_token_texts, added_tokens, special_token_texts

_RESERVED = re.compile(
    r"<[|｜].+[|｜]>|[<\[]/?(unused|reserved|extra_id|control|placeholder|special|image|audio|video)[\w ./:-]*[>\]]",
    re.IGNORECASE,
)
_WRITTEN_IN_ANSWERS = re.compile(r"think|thought|reason|tool|function", re.IGNORECASE)
"""Marks of thinking and of calls, which a row's answers and system messages may have as text."""


@dataclass(frozen=True)
class ControlToken:
    """A control token in a row's text: its text, and the role of the message that has it."""

    text: str
    role: str


class ControlTokens:
    """The control tokens of a tokenizer, to be looked for in rows."""

    def __init__(self, tokenizer: Any, template_ids: Collection[int] = ()) -> None:
        """`template_ids` are the tokens that the chat template puts around messages."""
        self._tokenizer = tokenizer
        self._texts = _control_texts(tokenizer, template_ids)
        self._normalise = _normaliser(tokenizer)
        texts = list(self._texts.values())
        self._patterns = [_any_of(texts)] + ([_any_of(map(self._normalise, texts))] if self._normalise else [])

    def find(self, text: str) -> list[str]:
        """The control tokens that the tokenizer reads in a text, each once; empty for most texts, which are searched
        and not tokenized."""
        forms = [text, self._normalise(text)] if self._normalise else [text]
        if not any(pattern.search(form) for pattern, form in zip(self._patterns, forms, strict=True)):
            return []
        ids = dict.fromkeys(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        # An unknown character has the number of `<unk>`, which the text does not have as a word.
        found = [self._texts[number] for number in ids if number in self._texts]
        return [token for token in found if token in text or (self._normalise and self._normalise(token) in forms[1])]

    def find_in_row(self, row: TrainingRow) -> list[ControlToken]:
        """Those in all texts of a row, of its tools and of its rejected answer as well."""
        messages = [*row.messages, *(row.rejected or ())[-1:]]
        texts = [(str(message["role"]), text) for message in messages for text in _message_texts(message)]
        texts += [("tools", text) for text in _texts_in(list(row.conversation.tools))]
        texts += [("text", row.text)] if row.text is not None else []
        return [
            ControlToken(token, role)
            for role, text in texts
            for token in self.find(text)
            if not (role in ("assistant", "system", "tools") and _WRITTEN_IN_ANSWERS.search(token))
        ]


def _control_texts(tokenizer: Any, template_ids: Collection[int]) -> dict[int, str]:
    special = special_token_texts(tokenizer)
    added = {
        number: text
        for number, text in added_token_texts(tokenizer).items()
        if _RESERVED.fullmatch(text) or (number in template_ids and not _WRITTEN_IN_ANSWERS.search(text))
    }
    return {number: text for number, text in (added | special).items() if text.strip()}


def _normaliser(tokenizer: Any) -> Any:
    """The tokenizer's function that a text goes through before some added tokens are looked for; None without any."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if normalizer is None or not any(token.normalized for token in added_tokens(tokenizer).values()):
        return None
    return normalizer.normalize_str


def _any_of(texts: Any) -> re.Pattern[str]:
    """A pattern that finds any of the texts, and nothing where there are none.

    Texts that begin alike are tried together: a model has hundreds of `<|reserved_...|>`.
    """
    groups: dict[str, list[str]] = {}
    for text in filter(None, dict.fromkeys(texts)):
        groups.setdefault(text[:2], []).append(re.escape(text[2:]))
    return re.compile("|".join(f"{re.escape(begin)}(?:{'|'.join(rest)})" for begin, rest in groups.items()) or "(?!)")


def _message_texts(message: Message) -> Iterator[str]:
    yield from _texts_in({key: value for key, value in message.items() if key != "role"})


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts_in(inner)
