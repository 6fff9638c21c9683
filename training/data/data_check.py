"""Check training data without training: formats, lengths, rows that are too long, duplicates, and learnt tokens.

checked = check(config, model)
print(checked.lengths.median, len(checked.bad))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from training.config import TrainingConfig
from training.data.batches import max_pass_tokens
from training.data.disk_lists import Joined, Selection
from training.data.duplicates import Duplicate, RowMarks, find_duplicates
from training.data.encoding.encode import too_long_pair_reason, too_long_reason
from training.data.encoding.encoded_rows import EncodedRow, EncodedRows, EncodedSequence
from training.data.formats.plain_text import find_turn_mark
from training.data.objectives import check_both_labels
from training.data.progress import Report
from training.data.rows import BadRow, SourceReport, TrainingRow, read_rows
from training.data.templates.template_check import TemplateCheck, TemplateWarning
from training.data.tokenize import (
    EncodedData,
    encode_usable_rows,
    load_tokenizer,
    max_row_tokens,
    split_places,
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
    num_by_label: tuple[int, int] | None = None
    """Desired and undesired answers of `training.data`; None where the objective has no labels."""


def check_training_data(config: TrainingConfig, model: str, progress: Report | None = None) -> DataCheck:
    """Read and encode every row with the model's tokenizer; bad rows are in the report, however many there are.

    Args:
        progress: gets a line from time to time where it takes long.

    Raises:
        TandemError: a source cannot be read, is empty or mixes formats, the model has no tokenizer, or a source's
            weight is so small that none of its rows is ever drawn.
    """
    report = read_rows(config, progress)
    tokenizer, accepted = load_tokenizer(model, config.objective != "text"), max_row_tokens(config, model)
    template = TemplateCheck(tokenizer, model, config.control_tokens)
    data = encode_usable_rows(
        report, tokenizer, check=template, sure_above=accepted, with_marks=True, progress=progress, window=accepted
    )
    fit, bad = _fitting_rows(data.rows, accepted, max_pass_tokens(config))
    kept_out_fit, bad_kept_out = _fitting_rows(data.held_out, accepted, max_pass_tokens(config))
    all_bad = (*data.left_out, *bad, *bad_kept_out)
    num_by_label = None
    if config.objective == "kto":
        labels = [row.row.label for row in Selection(data.rows, fit) if row.row.label is not None]
        if len(all_bad) <= config.max_bad_rows:  # otherwise they are what is wrong first
            check_both_labels(labels)
        num_by_label = sum(labels), len(labels) - sum(labels)
    trained, held_out = split_places(config, len(fit))
    data.check_draws(config, fit[trained])
    drawn, named = Selection(data.rows, fit[trained]), Selection(data.held_out, kept_out_fit)
    return DataCheck(
        sources=report.sources,
        num_read=report.num_read,
        num_trained=len(trained),
        num_held_out=len(held_out) + len(named),
        lengths=measure_lengths(data.rows),
        truncation=_measure_truncation(data, accepted),
        duplicates=tuple(_find_duplicates(data, fit[trained], fit[held_out], kept_out_fit)),
        rendered=tuple(
            render_sequence(tokenizer, row.row.where, row.sequences[-1])
            for row in _first_middle_last(drawn if len(drawn) else data.rows)
        ),
        bad=all_bad,
        warnings=template.warnings(),
        num_rendered_chats=_num_rendered_chats(report.rows) if config.objective == "text" else 0,
        num_by_label=num_by_label,
    )


def _find_duplicates(
    data: EncodedData, trained: npt.NDArray[np.int64], held_out: npt.NDArray[np.int64], named: npt.NDArray[np.int64]
) -> list[Duplicate]:
    """Among the numbered rows of `data.rows`, and those of `data.held_out` that were named as held out."""
    assert data.marks
    of_rows, of_named = data.marks
    marks = of_rows.take(np.concatenate([trained, held_out]))
    marks = RowMarks.join([marks, of_named.take(named)]) if len(named) else marks
    rows = data.rows.rows
    return find_duplicates(
        Selection(rows, trained), Joined(Selection(rows, held_out), Selection(data.held_out.rows, named)), marks
    )


def _fitting_rows(rows: EncodedRows, accepted: int, of_a_pass: int) -> tuple[npt.NDArray[np.int64], list[BadRow]]:
    """The numbers of the rows that are short enough, and the others as bad rows."""
    longest, num_tokens, bad, unfit = rows.longest, rows.num_tokens, [], []
    for number in np.flatnonzero((longest > accepted) | (num_tokens > of_a_pass)):
        row = rows[int(number)].row
        if longest[number] > accepted:
            bad.append(BadRow(row.where, too_long_reason(int(longest[number]), accepted)))
        elif row.rejected:
            bad.append(BadRow(row.where, too_long_pair_reason(int(num_tokens[number]), of_a_pass)))
        else:
            continue
        unfit.append(int(number))
    return np.setdiff1d(np.arange(len(rows)), unfit), bad


def measure_lengths(rows: EncodedRows) -> TokenLengths | None:
    """The lengths of the sequences of some rows, in tokens."""
    lengths = rows.lengths
    if not len(lengths):
        return None
    middle, high = (int(value) for value in np.quantile(lengths, [0.5, 0.95], method="higher"))
    return TokenLengths(
        num_sequences=len(lengths),
        num_tokens=int(lengths.sum()),
        num_learnt=int(rows.num_learnt.sum()),
        num_weighted=int(rows.num_weighted.sum()),
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


def _histogram(lengths: Any) -> tuple[HistogramBin, ...]:
    width = max(1, -(-(int(lengths.max()) + 1 - int(lengths.min())) // _MAX_BINS))
    starts = range(int(lengths.min()), int(lengths.max()) + 1, width)
    return tuple(
        HistogramBin(start, start + width, int(((lengths >= start) & (lengths < start + width)).sum()))
        for start in starts
    )


def _measure_truncation(data: EncodedData, accepted: int) -> Truncation:
    """Of rows that are so long that they were not encoded to their end, what they have at least."""
    parts = (data.rows, data.held_out)
    num_rows = sum(int((rows.longest > accepted).sum()) for rows in parts)
    over = sum(int(np.maximum(rows.lengths - accepted, 0).sum()) for rows in parts)
    unmeasured = sum(num_tokens - accepted for num_tokens in data.unmeasured)
    return Truncation(accepted, num_rows + len(data.unmeasured), over + unmeasured)


def _first_middle_last(rows: Sequence[EncodedRow]) -> list[EncodedRow]:
    """The first row, the middle one and the last."""
    places = np.linspace(0, len(rows) - 1, min(MAX_RENDERED, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _num_rendered_chats(rows: Sequence[TrainingRow]) -> int:
    return sum(row.text is not None and find_turn_mark(row.text) is not None for row in rows)
