"""Rows -> sequences of token ids, with the marks of what is learnt (training.data.answer_masks)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.errors import TandemError
from cluster.fingerprints.models import find_model
from training.config import TrainingConfig
from training.data.batches import check_draws
from training.data.disk_lists import Joined, Selection
from training.data.duplicates import RowMarks
from training.data.encoding.encode import Encoding, Refusal, encode_in_chunks
from training.data.encoding.encoded_rows import EncodedRow, EncodedRows
from training.data.progress import Report, RowProgress
from training.data.rows import BadRow, DataReport, TrainingRow, draw_held_out_rows, refuse_bad_rows
from training.data.templates.template_check import TemplateCheck


@dataclass(frozen=True)
class EncodedData:
    """The encoded rows of `data` and of `held_out_data`, and every row that is left out.

    `unmeasured` are numbers of tokens of rows that are so long that no more is known of them than that they have so
    many. `row_sources` [num_rows] is the place in `config.data` of each row's source. `marks` are those of `rows` and
    of `held_out`, where they were asked for.
    """

    rows: EncodedRows
    held_out: EncodedRows
    left_out: tuple[BadRow, ...]
    unmeasured: tuple[int, ...]
    row_sources: npt.NDArray[np.int32]
    template_kwargs: Mapping[str, Any]
    """Settings of the chat template for every row, which come after those of a row."""

    marks: tuple[RowMarks, RowMarks] | None = None

    def shared_template_kwargs(self, rows: Iterable[EncodedRow]) -> dict[str, Any]:
        """The settings of the chat template that all of these rows were encoded with."""
        shared: dict[str, Any] | None = None
        for row in rows:
            settings = {**self.template_kwargs, **row.row.conversation.template_kwargs}
            shared = settings if shared is None else {k: v for k, v in shared.items() if settings.get(k) == v}
            if not shared:
                break
        return shared or {}

    def split(self, config: TrainingConfig) -> tuple[Sequence[EncodedRow], Sequence[EncodedRow]]:
        """The rows that are trained on, and those that are held out: named ones, or a share drawn by the seed."""
        trained, kept_out = split_places(config, len(self.rows))
        return Selection(self.rows, trained), Joined(Selection(self.rows, kept_out), self.held_out)

    def check_draws(self, config: TrainingConfig, trained: npt.NDArray[np.int64] | None = None) -> None:
        """Check that every source with rows to train on gives a row to some epoch.

        Args:
            trained: the rows that are trained on; those of `split` where they are not given.

        Raises:
            TandemError: as `training.data.batches.check_draws`.
        """
        places = split_places(config, len(self.rows))[0] if trained is None else trained
        per_row = 1 if config.objective == "dpo" else self.rows.num_sequences[places]
        check_draws(config, np.repeat(self.row_sources[places], per_row))


def split_places(config: TrainingConfig, num_rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which of so many usable rows are trained on, and which are held out, in their order."""
    is_kept_out = np.zeros(num_rows, bool)
    is_kept_out[list(draw_held_out_rows(config, num_rows))] = True
    return np.flatnonzero(~is_kept_out), np.flatnonzero(is_kept_out)


def load_tokenizer(model: str, needs_template: bool = True) -> Any:
    """The tokenizer of a model in a folder or on the hub.

    Args:
        needs_template: whether rows go through a chat template, as all but plain texts do.

    Raises:
        TandemError: the model has no tokenizer, or its tokenizer has no chat template and needs one.
    """
    from transformers import AutoTokenizer

    if Path(model).is_absolute() and not Path(model).is_dir():
        find_model(model)  # raises
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
    report: DataReport,
    tokenizer: Any,
    max_tokens: int,
    max_bad_rows: int = 0,
    check: TemplateCheck | None = None,
    *,
    max_pass_tokens: int | None = None,
    progress: Report | None = None,
) -> EncodedData:
    """Encode every row that was read.

    Args:
        max_tokens: longest sequence that is accepted, in tokens; a longer text is cut into windows.
        max_bad_rows: how many rows may be left out, those that were bad when read included.
        check: sees every row that is encoded.
        max_pass_tokens: longest preference pair that is accepted, both answers counted, in tokens.
        progress: gets a line from time to time where it takes long.

    Raises:
        TandemError: more rows than that are bad, too long, or refused by the template, listed as file:line.
    """
    data = encode_usable_rows(
        report, tokenizer, max_tokens, check, max_pass_tokens=max_pass_tokens, sure_above=max_tokens, progress=progress
    )
    refuse_bad_rows(data.left_out, report.num_read, max_bad_rows)
    return data


def encode_usable_rows(
    report: DataReport,
    tokenizer: Any,
    max_tokens: int | None = None,
    check: TemplateCheck | None = None,
    *,
    max_pass_tokens: int | None = None,
    sure_above: int | None = None,
    with_marks: bool = False,
    progress: Report | None = None,
    window: int | None = None,
) -> EncodedData:
    """Encode rows as `encode_rows` does, with every bad row in `left_out`; without `max_tokens` no row is too long.

    Args:
        check: sees every row that is encoded.
        sure_above: a text that surely has more tokens makes a row bad, and is not encoded to its end.
        with_marks: keep what finds repeated rows.
        window: most tokens of the sequences that a text is cut into; `max_tokens` where it is not given.
    """
    encoding = Encoding(
        tokenizer, max_tokens, max_pass_tokens, sure_above, with_marks, report.template_kwargs, window or max_tokens
    )
    bad, unmeasured = list(report.bad), list[int]()
    steps = RowProgress(progress, "encoding", len(report.rows) + len(report.held_out))
    encoded, marks = [], []
    for rows in (report.rows, report.held_out):
        done, its_marks = _encode_all(rows, encoding, check, bad, unmeasured, steps)
        encoded.append(done)
        marks.append(its_marks)
    sources = np.zeros(len(report.rows), np.int32) if report.row_sources is None else report.row_sources
    return EncodedData(
        encoded[0], encoded[1], tuple(bad), tuple(unmeasured), sources[encoded[0].places],
        report.template_kwargs, (marks[0], marks[1]) if with_marks else None,
    )  # fmt: skip


def _encode_all(
    rows: Sequence[TrainingRow],
    encoding: Encoding,
    check: TemplateCheck | None,
    bad: list[BadRow],
    unmeasured: list[int],
    steps: RowProgress,
) -> tuple[EncodedRows, RowMarks]:
    encoded, marks, place = EncodedRows(rows), list[RowMarks](), 0
    for chunk in encode_in_chunks(rows, encoding):
        kept, num_encoded = list[int](), 0
        for number, result in enumerate(chunk.results, start=place):
            if isinstance(result, Refusal):
                bad.append(BadRow(rows[number].where, result.reason))
                unmeasured += [result.num_tokens] if result.num_tokens else []
                continue
            try:
                if check:
                    row = rows[number]
                    asked = replace(row, conversation=encoding.with_settings(row.conversation))
                    check.add(asked, [int(sequence.token_ids[-1]) for sequence in result])
                encoded.append(number, result)
                kept.append(num_encoded)
            except ValueError as error:
                bad.append(BadRow(rows[number].where, str(error)))
            num_encoded += 1
        marks += [chunk.marks.take(np.array(kept, np.int64))] if chunk.marks else []
        place += len(chunk.results)
        steps.advance(len(chunk.results))
    return encoded, RowMarks.join(marks)
