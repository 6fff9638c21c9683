"""Rows -> sequences of token ids, with the marks of what is learnt (training.data.answer_masks)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.errors import TandemError
from cluster.fingerprints.models import find_model
from training.config import TrainingConfig
from training.data.answer_masks import Example, encode_conversation, encode_last_answer
from training.data.conversation import Conversation
from training.data.rows import BadRow, DataReport, TrainingRow, draw_held_out_rows, refuse_bad_rows
from training.data.templates.template_check import TemplateCheck
from training.data.windows import encode_text


@dataclass(frozen=True)
class EncodedSequence:
    """The same in arrays, which take 5 bytes a token where the lists take about 44."""

    token_ids: npt.NDArray[np.int32]
    is_answer: npt.NDArray[np.bool_]
    loss_weights: npt.NDArray[np.float32] | None = None

    @classmethod
    def of(cls, example: Example) -> "EncodedSequence":
        weights = None if example.loss_weights is None else np.array(example.loss_weights, np.float32)
        return cls(np.array(example.token_ids, np.int32), np.array(example.is_answer, np.bool_), weights)


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
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the chat template for every row, which come after those of a row."""

    def shared_template_kwargs(self, rows: Sequence[EncodedRow]) -> dict[str, Any]:
        """The settings of the chat template that all of these rows were encoded with."""
        settings = [{**self.template_kwargs, **row.row.conversation.template_kwargs} for row in rows]
        first = settings[0] if settings else {}
        return {key: value for key, value in first.items() if all(each.get(key) == value for each in settings)}

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


def load_tokenizer(model: str, needs_template: bool = True) -> Any:
    """The tokenizer of a model in a folder or on the hub.

    Args:
        needs_template: whether rows go through a chat template, as all but plain texts do.

    Raises:
        TandemError: the model has no tokenizer, or its tokenizer has no chat template and needs one.
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
    if needs_template and not tokenizer.chat_template:
        raise TandemError(
            f"The model {model} has no chat template.",
            "A model that was made for chat, or a tokenizer with a `chat_template`. Plain texts need none.",
            "Name an instruct model, put chat_template.jinja beside the tokenizer, or set `training.objective: text` "
            "to learn plain texts.",
        )
    return tokenizer


def max_row_tokens(config: TrainingConfig, model: str) -> int:
    """Tokens of the longest row that is accepted: the sequence length, or the model's number of positions."""
    from transformers import AutoConfig

    positions = getattr(AutoConfig.from_pretrained(model).get_text_config(), "max_position_embeddings", None)
    return min(config.sequence_length, int(positions)) if positions else config.sequence_length


def encode_rows(
    report: DataReport, tokenizer: Any, max_tokens: int, max_bad_rows: int = 0, check: TemplateCheck | None = None
) -> EncodedData:
    """Encode every row that was read.

    Args:
        max_tokens: longest sequence that is accepted, in tokens; a longer text is cut into windows.
        max_bad_rows: how many rows may be left out, those that were bad when read included.
        check: sees every row that is encoded.

    Raises:
        TandemError: more rows than that are bad, too long, or refused by the template, listed as file:line.
    """
    data = encode_usable_rows(report, tokenizer, max_tokens, check)
    refuse_bad_rows(data.left_out, report.num_read, max_bad_rows)
    return data


def encode_usable_rows(
    report: DataReport,
    tokenizer: Any,
    max_tokens: int | None = None,
    check: TemplateCheck | None = None,
    window: int | None = None,
) -> EncodedData:
    """Encode rows as `encode_rows` does, with every bad row in `left_out`; without `max_tokens` no row is too long.

    Args:
        window: most tokens of the sequences that a text is cut into; `max_tokens` where it is not given.
    """
    bad, window = list(report.bad), window or max_tokens
    rows, held_out = (
        _encode_all(rows, tokenizer, max_tokens, window, bad, report.template_kwargs, check)
        for rows in (report.rows, report.held_out)
    )
    return EncodedData(rows, held_out, tuple(bad), report.template_kwargs)


def too_long_reason(num_tokens: int, max_tokens: int) -> str:
    """Why a row of so many tokens cannot be used."""
    return f"{num_tokens} tokens long, and at most {max_tokens} are accepted"


def _encode_all(
    rows: Sequence[TrainingRow],
    tokenizer: Any,
    max_tokens: int | None,
    window: int | None,
    bad: list[BadRow],
    template_kwargs: Mapping[str, Any],
    check: TemplateCheck | None,
) -> tuple[EncodedRow, ...]:
    encoded = []
    for row in rows:
        try:
            done = _encode_row(row, tokenizer, window, template_kwargs)
            if max_tokens is not None and done.num_tokens > max_tokens:
                raise ValueError(too_long_reason(done.num_tokens, max_tokens))
            if check:
                asked = replace(row, conversation=_with_template_kwargs(row.conversation, template_kwargs))
                check.add(asked, [int(sequence.token_ids[-1]) for sequence in done.sequences])
            encoded.append(done)
        except ValueError as error:
            bad.append(BadRow(row.where, str(error)))
    return tuple(encoded)


def _encode_row(row: TrainingRow, tokenizer: Any, window: int | None, template_kwargs: Mapping[str, Any]) -> EncodedRow:
    conversation = _with_template_kwargs(row.conversation, template_kwargs)
    if row.text is not None:
        assert window is not None, "a text is cut into windows of some length"
        examples = encode_text(tokenizer, row.text, window)
    elif row.label is not None:
        _check_answer_counts_whole(conversation)
        examples = [encode_last_answer(tokenizer, conversation)]
    elif row.rejected:
        _check_answer_counts_whole(conversation)
        sides = (conversation, conversation.with_messages(row.rejected))
        examples = [encode_last_answer(tokenizer, side) for side in sides]
    else:
        examples = encode_conversation(tokenizer, conversation)
    if not examples:
        raise ValueError("teaches nothing: all its answers have the loss weight 0")
    return EncodedRow(row, tuple(map(EncodedSequence.of, examples)))


def _check_answer_counts_whole(conversation: Conversation) -> None:
    if conversation.loss_weight(len(conversation.messages) - 1) != 1:
        raise ValueError("gives its answer a loss weight, and an answer that is compared with others counts whole")


def _with_template_kwargs(conversation: Conversation, template_kwargs: Mapping[str, Any]) -> Conversation:
    """The conversation with the project's settings of the template, before which its own come."""
    if not template_kwargs:
        return conversation
    return replace(conversation, template_kwargs={**template_kwargs, **conversation.template_kwargs})
