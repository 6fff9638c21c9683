"""Check training data without training: formats, lengths, rows that are too long, duplicates, and learnt tokens.

checked = check(config, model)
print(checked.lengths.median, len(checked.bad))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from training.config import TrainingConfig
from training.data.duplicates import Duplicate, find_duplicates
from training.data.formats.plain_text import find_turn_mark
from training.data.objectives import check_both_labels
from training.data.rows import BadRow, SourceReport, read_rows
from training.data.templates.template_check import TemplateCheck, TemplateWarning
from training.data.tokenize import (
    EncodedRow,
    EncodedSequence,
    encode_usable_rows,
    load_tokenizer,
    max_row_tokens,
    too_long_reason,
)

MAX_RENDERED = 3
_MAX_BINS = 10


@dataclass(frozen=True)
class HistogramBin:
    """How many rows have `start` to `end - 1` tokens."""

    start: int
    end: int
    num_rows: int


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of the training rows' sequences (a row has several where the template rewrites earlier turns)."""

    num_sequences: int
    num_tokens: int
    num_learnt: int
    num_weighted: int
    """Those of the learnt tokens that count other than 1 in the loss."""
    min: int
    median: int
    p95: int
    max: int
    histogram: tuple[HistogramBin, ...]


@dataclass(frozen=True)
class Truncation:
    """What cutting rows to the accepted length would lose; Tandem cuts none, such rows are errors."""

    accepted: int
    num_rows: int
    num_tokens: int


@dataclass(frozen=True)
class RenderedSequence:
    """A sequence as text, in pieces that are learnt or not."""

    where: str
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class DataCheck:
    """Everything that `tandem data check` says about training rows; `lengths` is None where no row can be used."""

    sources: tuple[SourceReport, ...]
    num_read: int
    num_trained: int
    num_held_out: int
    lengths: TokenLengths | None
    truncation: Truncation
    duplicates: tuple[Duplicate, ...]
    rendered: tuple[RenderedSequence, ...]
    bad: tuple[BadRow, ...]
    warnings: tuple[TemplateWarning, ...] = ()
    num_rendered_chats: int = 0
    """Texts with marks of turns, as a chat template writes them."""


def check_training_data(config: TrainingConfig, model: str) -> DataCheck:
    """Read and encode every row with the model's tokenizer; bad rows are in the report, however many there are.

    Raises:
        TandemError: a source cannot be read, is empty or mixes formats, or the model has no tokenizer.
    """
    report = read_rows(config)
    tokenizer, accepted = load_tokenizer(model, config.objective != "text"), max_row_tokens(config, model)
    template = TemplateCheck(tokenizer, model, config.control_tokens)
    data = encode_usable_rows(report, tokenizer, check=template, window=accepted)
    long = [row for row in (*data.rows, *data.held_out) if row.num_tokens > accepted]
    bad = [*data.left_out, *(BadRow(row.row.where, too_long_reason(row.num_tokens, accepted)) for row in long)]
    usable = data.without(long)
    check_both_labels([row.row.label for row in usable.rows if row.row.label is not None])
    trained, held_out = usable.split(config)
    return DataCheck(
        sources=report.sources,
        num_read=report.num_read,
        num_trained=len(trained),
        num_held_out=len(held_out),
        lengths=measure_lengths(data.rows),
        truncation=_measure_truncation([*data.rows, *data.held_out], accepted),
        duplicates=tuple(find_duplicates([row.row for row in trained], [row.row for row in held_out])),
        rendered=tuple(
            render_sequence(tokenizer, row.row.where, row.sequences[-1])
            for row in _first_middle_last(trained or data.rows)
        ),
        bad=tuple(bad),
        warnings=template.warnings(),
        num_rendered_chats=sum(find_turn_mark(row.text) is not None for row in report.rows if row.text is not None),
    )


def measure_lengths(rows: Sequence[EncodedRow]) -> TokenLengths | None:
    """The lengths of the sequences of some rows, in tokens."""
    sequences = [sequence for row in rows for sequence in row.sequences]
    if not sequences:
        return None
    lengths = np.array([len(sequence.token_ids) for sequence in sequences])
    middle, high = (int(value) for value in np.quantile(lengths, [0.5, 0.95], method="higher"))
    return TokenLengths(
        num_sequences=len(sequences),
        num_tokens=int(lengths.sum()),
        num_learnt=sum(int(sequence.is_answer.sum()) for sequence in sequences),
        num_weighted=sum(_num_weighted(sequence) for sequence in sequences),
        min=int(lengths.min()), median=middle, p95=high, max=int(lengths.max()), histogram=_histogram(lengths),
    )  # fmt: skip


def render_sequence(tokenizer: Any, where: str, sequence: EncodedSequence) -> RenderedSequence:
    """The text of a sequence, in pieces. Each is what its tokens add to the text before: alone, some tokenizers
    would decode it without the space that it begins with."""
    pieces, end = [], 0
    text = ""
    for learnt, run in groupby(sequence.is_answer.tolist()):
        end += len(list(run))
        longer = tokenizer.decode(sequence.token_ids[:end].tolist())
        pieces.append((longer[len(text) :], learnt))
        text = longer
    return RenderedSequence(where, tuple(pieces))


def _num_weighted(sequence: EncodedSequence) -> int:
    return 0 if sequence.loss_weights is None else int((sequence.loss_weights != sequence.is_answer).sum())


def _histogram(lengths: Any) -> tuple[HistogramBin, ...]:
    width = max(1, -(-(int(lengths.max()) + 1 - int(lengths.min())) // _MAX_BINS))
    starts = range(int(lengths.min()), int(lengths.max()) + 1, width)
    return tuple(
        HistogramBin(start, start + width, int(((lengths >= start) & (lengths < start + width)).sum()))
        for start in starts
    )


def _measure_truncation(rows: Sequence[EncodedRow], accepted: int) -> Truncation:
    over = [max(0, len(sequence.token_ids) - accepted) for row in rows for sequence in row.sequences]
    return Truncation(accepted, sum(row.num_tokens > accepted for row in rows), sum(over))


def _first_middle_last(rows: Sequence[EncodedRow]) -> list[EncodedRow]:
    """The first row, the middle one and the last."""
    places = np.linspace(0, len(rows) - 1, min(MAX_RENDERED, len(rows))).round().astype(int)
    return [rows[place] for place in places]
