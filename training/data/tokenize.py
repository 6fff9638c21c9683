"""Messages -> token ids through the model's chat template, and which of these tokens are learnt.

An answer is learnt exactly as it will be generated: after the rendering of the messages before it with the generation
prompt, up to and including the token that ends its turn. A template that only appends gives one sequence for a whole
row, in which every answer is learnt. A template that renders earlier turns differently once another follows (drops
their thinking, moves the system message) gives one sequence for each rendering, each with the answers that the model
will have seen and written in that form (docs/decisions/007-answer-masks.md).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.errors import TandemError
from cluster.fingerprints.models import find_model
from training.config import TrainingConfig
from training.data.formats import Message
from training.data.rows import BadRow, DataReport, TrainingRow, draw_held_out_rows, refuse_bad_rows

_GENERATION_MARK = re.compile(r"{%-?\s*generation\s*-?%}")
_QUESTION, _ANSWER = "Qx0questionx0Q", "Ax0answerx0A"


@dataclass(frozen=True)
class Example:
    """One sequence of tokens; `is_answer[i]` says whether token i is learnt."""

    token_ids: list[int]
    is_answer: list[bool]


@dataclass(frozen=True)
class EncodedSequence:
    """The same in arrays, which take 5 bytes a token where the lists take about 44."""

    token_ids: npt.NDArray[np.int32]
    is_answer: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, example: Example) -> "EncodedSequence":
        return cls(np.array(example.token_ids, np.int32), np.array(example.is_answer, np.bool_))


@dataclass(frozen=True)
class EncodedRow:
    """A row and its sequences; those of a preference pair are the chosen answer's and the rejected one's."""

    row: TrainingRow
    sequences: tuple[EncodedSequence, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of its longest sequence."""
        return max(len(sequence.token_ids) for sequence in self.sequences)


@dataclass(frozen=True)
class EncodedData:
    """The encoded rows of `data` and of `held_out_data`, and every row that is left out."""

    rows: tuple[EncodedRow, ...]
    held_out: tuple[EncodedRow, ...]
    left_out: tuple[BadRow, ...]

    def split(self, config: TrainingConfig) -> tuple[list[EncodedRow], list[EncodedRow]]:
        """The rows that are trained on, and those that are held out: named ones, or a share drawn by the seed."""
        kept_out = draw_held_out_rows(config, len(self.rows))
        trained = [row for number, row in enumerate(self.rows) if number not in kept_out]
        return trained, [self.rows[number] for number in sorted(kept_out)] + list(self.held_out)

    def without(self, rows: Sequence[EncodedRow]) -> "EncodedData":
        """The data less some rows; `left_out` stays as it is."""
        dropped = {id(row) for row in rows}
        kept, held_out = (tuple(row for row in part if id(row) not in dropped) for part in (self.rows, self.held_out))
        return replace(self, rows=kept, held_out=held_out)


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a model in a folder or on the hub.

    Raises:
        TandemError: the model has no tokenizer, or its tokenizer has no chat template.
    """
    from transformers import AutoTokenizer

    find_model(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise TandemError(
            f"The tokenizer of {model} cannot be loaded ({str(error).splitlines()[0]}).",
            "A model with a fast tokenizer, in a folder or on the hub.",
            "Set `model` in the project file.",
        ) from error
    if not tokenizer.chat_template:
        raise TandemError(
            f"The model {model} has no chat template.",
            "A model that was made for chat, or a tokenizer with a `chat_template`.",
            "Name an instruct model, or put chat_template.jinja beside the tokenizer.",
        )
    return tokenizer


def max_row_tokens(config: TrainingConfig, model: str) -> int:
    """Tokens of the longest row that is accepted: the sequence length, or the model's number of positions."""
    from transformers import AutoConfig

    positions = getattr(AutoConfig.from_pretrained(model).get_text_config(), "max_position_embeddings", None)
    return min(config.sequence_length, int(positions)) if positions else config.sequence_length


def encode_rows(report: DataReport, tokenizer: Any, max_tokens: int, max_bad_rows: int = 0) -> EncodedData:
    """Encode every row that was read.

    Args:
        max_tokens: longest sequence that is accepted, in tokens.
        max_bad_rows: how many rows may be left out, those that were bad when read included.

    Raises:
        TandemError: more rows than that are bad, too long, or refused by the template, listed as file:line.
    """
    data = encode_usable_rows(report, tokenizer, max_tokens)
    refuse_bad_rows(data.left_out, report.num_read, max_bad_rows)
    return data


def encode_usable_rows(report: DataReport, tokenizer: Any, max_tokens: int | None = None) -> EncodedData:
    """Encode rows as `encode_rows` does, with every bad row in `left_out`; without `max_tokens` no row is too long."""
    bad = list(report.bad)
    rows, held_out = (_encode_all(rows, tokenizer, max_tokens, bad) for rows in (report.rows, report.held_out))
    return EncodedData(rows, held_out, tuple(bad))


def too_long_reason(num_tokens: int, max_tokens: int) -> str:
    """Why a row of so many tokens cannot be used."""
    return f"{num_tokens} tokens long, and at most {max_tokens} are accepted"


def encode_conversation(tokenizer: Any, messages: Sequence[Message]) -> list[Example]:
    """The sequences that teach every answer of a row: one, or several where the template rewrites earlier turns.

    Raises:
        ValueError: the template refuses these messages, or does not let an answer be told apart.
    """
    sequences: list[Example] = []
    for number in reversed(range(len(messages))):
        if messages[number]["role"] == "assistant":
            _merge_sequence(sequences, encode_last_answer(tokenizer, messages[: number + 1]))
    return sequences[::-1]


def encode_last_answer(tokenizer: Any, messages: Sequence[Message]) -> Example:
    """One sequence that ends with the turn of the last message, the only one that is learnt.

    Raises:
        ValueError: as `encode`.
    """
    prompt, whole = _render(tokenizer, messages[:-1], add_generation_prompt=True), _render(tokenizer, messages)
    probe = _render(tokenizer, [*messages[:-1], {**messages[-1], "content": _ANSWER}])
    if _ANSWER not in probe:
        raise ValueError(f"the chat template does not show message {len(messages)}")
    closing = probe.rpartition(_ANSWER)[2]
    answer = (
        whole.removeprefix(prompt)
        if whole.startswith(prompt)
        else _answer_after_rewritten_prompt(tokenizer, messages, closing)
    )
    if not answer.endswith(closing):
        raise ValueError(f"the chat template does not close message {len(messages)} as it closes others")
    start, token_ids = _tokenize_prompt_and_answer(tokenizer, prompt, answer)
    end_of_turn = _find_end_of_turn(tokenizer, token_ids, closing)
    marks = _generation_mask(tokenizer, messages, token_ids)
    if not any(marks[start : end_of_turn.start]):
        raise ValueError(f"the chat template leaves nothing of message {len(messages)} to be learnt")
    is_answer = [start <= i and (marks[i] or i in end_of_turn) for i in range(end_of_turn.stop)]
    return Example(token_ids[: end_of_turn.stop], is_answer)


def _encode_all(
    rows: Sequence[TrainingRow], tokenizer: Any, max_tokens: int | None, bad: list[BadRow]
) -> tuple[EncodedRow, ...]:
    encoded = []
    for row in rows:
        try:
            done = _encode_row(row, tokenizer)
            if max_tokens is not None and done.num_tokens > max_tokens:
                raise ValueError(too_long_reason(done.num_tokens, max_tokens))
            encoded.append(done)
        except ValueError as error:
            bad.append(BadRow(row.where, str(error)))
    return tuple(encoded)


def _encode_row(row: TrainingRow, tokenizer: Any) -> EncodedRow:
    sides = (row.messages, row.rejected)
    examples = (
        [encode_last_answer(tokenizer, side) for side in sides if side]
        if row.rejected
        else encode_conversation(tokenizer, row.messages)
    )
    return EncodedRow(row, tuple(map(EncodedSequence.of, examples)))


def _merge_sequence(sequences: list[Example], turn: Example) -> None:
    """Merge a turn into the longer sequence that begins with the same tokens, or add it as a new sequence."""
    end = len(turn.token_ids)
    for number, longer in enumerate(sequences):
        if longer.token_ids[:end] == turn.token_ids:
            both = [mine or other for mine, other in zip(turn.is_answer, longer.is_answer[:end], strict=True)]
            sequences[number] = replace(longer, is_answer=both + longer.is_answer[end:])
            return
    sequences.append(turn)


def _answer_after_rewritten_prompt(tokenizer: Any, messages: Sequence[Message], closing: str) -> str:
    """What the answer adds to a prompt that the template renders differently once the answer follows.

    Known words for question and answer show what the template puts between them, with and without the answer. Where
    the prompt ends with more than that (it opens a block of thinking, say), the answer must begin with the rest.
    """
    question = [*messages[:-2], {**messages[-2], "content": _QUESTION}]
    before = _render(tokenizer, question, add_generation_prompt=True).rpartition(_QUESTION)[2]
    with_answer = _render(tokenizer, [*question, {**messages[-1], "content": _ANSWER}])
    between = with_answer.rpartition(_ANSWER)[0].rpartition(_QUESTION)[2]
    content = messages[-1]["content"]
    if not _render(tokenizer, messages).endswith(content + closing):
        content = content.strip()
    if between.startswith(before):
        return between.removeprefix(before) + content + closing
    opened = before.removeprefix(between)
    if before.startswith(between) and content.startswith(opened):
        return content.removeprefix(opened) + closing
    raise ValueError(
        f"the chat template asks for an answer with {before!r}, and message {len(messages)} is no answer to that: "
        f"it must begin with {opened!r}"
    )


def _tokenize_prompt_and_answer(tokenizer: Any, prompt: str, answer: str) -> tuple[int, list[int]]:
    """Number of tokens of the prompt, and the tokens of prompt and answer, with no token that spans both."""
    before, whole = _tokenize(tokenizer, prompt), _tokenize(tokenizer, prompt + answer)
    if whole[: len(before)] == before:
        return len(before), whole
    separate = before + _tokenize(tokenizer, answer)
    if tokenizer.decode(separate) != tokenizer.decode(whole):
        raise ValueError(f"the tokenizer cannot part the prompt from the answer, which begins with {answer[:20]!r}")
    return len(before), separate


def _find_end_of_turn(tokenizer: Any, token_ids: list[int], closing: str) -> range:
    """The positions of the tokens that end the turn.

    These are, in the text that the template puts after an answer, the special tokens up to end-of-sequence, or the
    first run of special tokens. What follows (a line feed) belongs to the template. A template that closes without a
    special token ends with its last token.
    """
    special = _special_token_ids(tokenizer)
    behind = _tokenize(tokenizer, closing)
    places = [i for i, token in enumerate(behind) if token in special]
    if not places:
        return range(len(token_ids), len(token_ids))
    if tokenizer.eos_token_id in behind:
        last = behind.index(tokenizer.eos_token_id)
    else:
        last = next(i for i in places if i + 1 not in places)
    num_after = sum(place > last for place in places)
    positions = [i for i, token in enumerate(token_ids) if token in special]
    first = positions[len(positions) - len(places)]
    return range(first, positions[len(positions) - 1 - num_after] + 1)


def _generation_mask(tokenizer: Any, messages: Sequence[Message], token_ids: list[int]) -> list[bool]:
    """Which tokens a template's {% generation %} marks allow to be learnt; all tokens where it has no such marks."""
    if not _GENERATION_MARK.search(tokenizer.get_chat_template()):
        return [True] * len(token_ids)
    rendered = tokenizer.apply_chat_template(
        list(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    if rendered["input_ids"] != token_ids:
        return [True] * len(token_ids)
    return [bool(mark) for mark in rendered["assistant_masks"]]


@lru_cache(maxsize=4)
def _special_token_ids(tokenizer: Any) -> set[int]:
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | set(tokenizer.all_special_ids)


def _tokenize(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _render(tokenizer: Any, messages: Sequence[Message], **options: Any) -> str:
    from jinja2.exceptions import TemplateError

    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
    except TemplateError as error:
        raise ValueError(f"the chat template refuses it ({error})") from error
