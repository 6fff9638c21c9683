"""Training rows: read from every source and checked before any worker starts.

Formats are read in training.data.formats, files in sources.py and containers. Every row may carry `id` and `source` (or
`sources`), which go into the adapter's `trained.jsonl`, and `prompt_hash` (retrieval-aware rows).
"""

import logging
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from training.config import DataSource, ObjectiveName, TrainingConfig
from training.data.conversation import Conversation, Message
from training.data.disk_lists import DiskList, Selection, as_array
from training.data.formats.plain_text import check_holds_rows
from training.data.formats.reading import RowOptions, read_sources
from training.data.objectives import (
    RowFormat,
    check_both_labels,
    check_objective,
    parse_for_objective,
    recognise_row,
)
from training.data.progress import Report, RowProgress
from training.data.sources import SourceRecord, open_source, unusable_source

MAX_LISTED_ROWS = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRow:
    """One checked row: messages that start with at most one system message, alternate, and end with an answer.

    `where` is file:line. In a preference pair `rejected` are the same messages with the answer that lost. `label` and
    `text` are those of `ParsedRow`.
    """

    line: int
    where: str
    conversation: Conversation
    id: str
    sources: tuple[str, ...]
    prompt_hash: str | None
    rejected: tuple[Message, ...] | None = None
    weight: float = 1.0
    label: bool | None = None
    text: str | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        return self.conversation.messages

    @property
    def is_plain(self) -> bool:
        """Whether it is one question and one answer that counts 1, and nothing else."""
        said = self.conversation
        return (
            [message.keys() - {"name"} for message in said.messages] == [{"role", "content"}] * 2
            and not (said.tools or said.template_kwargs or said.loss_weights)
            and self.rejected is None and self.label is not False and self.text is None
        )  # fmt: skip

    @property
    def digest(self) -> str:
        """SHA-256 of the messages, and of what else a row has (tools, settings of the template, weights, a text): what
        a leak check compares. The names of speakers are left out, as they were."""
        messages, rejected = map(_without_names, (self.messages, self.rejected or ()))
        said: list[Any] = [messages, rejected] if rejected else messages
        more = {
            "tools": self.conversation.tools, "chat_template_kwargs": dict(self.conversation.template_kwargs),
            "loss_weights": self.conversation.loss_weights, "label": self.label, "text": self.text,
        }  # fmt: skip
        told = {key: value for key, value in more.items() if value not in (None, (), {})}
        return digest_json([said, told] if told else said)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be trained on: file:line, and why."""

    where: str
    reason: str


@dataclass(frozen=True)
class SourceReport:
    """A source as it was read: its container (JSONL, ...), the format and the number of its rows, bad rows counted.

    `not_used` names the keys of its rows that have values and change nothing; those of messages as `messages.KEY`.
    """

    name: str
    container: str
    format: RowFormat | None
    num_rows: int
    weight: float
    not_used: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataReport:
    """What was read: the usable rows of `data` and of `held_out_data`, and the rows that are not usable.

    The rows lie in temporary files, and are read from there when they are asked for.
    """

    sources: tuple[SourceReport, ...]
    rows: Sequence[TrainingRow]
    held_out: Sequence[TrainingRow]
    bad: tuple[BadRow, ...]
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the chat template for every row (`training.chat_template_kwargs`)."""
    prompt_hash: str | None = None
    """The one prompt format that retrieval-aware rows were rendered with, or None."""
    row_sources: npt.NDArray[np.int32] | None = field(default=None, compare=False)
    """[num_rows] the place of each row's source in `sources`; None where all are of the first."""

    @property
    def num_read(self) -> int:
        """Rows in all sources, usable or not."""
        return sum(source.num_rows for source in self.sources)

    @property
    def num_rows(self) -> int:
        return len(self.rows)


def check_rows(config: TrainingConfig, progress: Report | None = None) -> DataReport:
    """Read and check every row of every source; blank lines are skipped.

    Args:
        progress: gets a line from time to time where it takes long.

    Raises:
        TandemError: a source cannot be read, holds no row or mixes formats, or more than `config.max_bad_rows` rows are
            bad (up to 20 are listed as file:line).
    """
    report = read_rows(config, progress)
    refuse_bad_rows(report.bad, report.num_read, config.max_bad_rows)
    if not report.rows:
        raise unusable_source(", ".join(source.name for source in config.data), "has no row that can be used")
    if config.objective == "kto":
        check_both_labels([row.label for row in report.rows if row.label is not None])
    return report


def read_rows(config: TrainingConfig, progress: Report | None = None) -> DataReport:
    """Read every row as `check_rows` does, and list the bad rows in the report, however many there are."""
    if not config.data:
        raise TandemError(
            "The project names no training data.",
            "`training.data`: a file with rows, such as JSONL, CSV or Parquet.",
            "Name one.",
        )
    rows, held_out = _RowsRead(progress), _RowsRead(progress)
    reports = [_read_source_rows(source, config, rows) for source in config.data]
    reports += [_read_source_rows(source, config, held_out) for source in config.held_out_data]
    usual = _most_common_prompt(rows.prompts + held_out.prompts)
    trained, kept_out = rows.of_prompt(usual), held_out.of_prompt(usual)
    return DataReport(
        tuple(reports), trained[0], kept_out[0], tuple(rows.bad + held_out.bad + rows.others + held_out.others),
        config.chat_template_kwargs, usual if usual in rows.prompts else None, trained[1],
    )  # fmt: skip


def refuse_bad_rows(bad: Sequence[BadRow], num_rows: int, num_allowed: int = 0) -> None:
    """Raise one error that lists the bad rows as file:line and reason, where there are more than `num_allowed`."""
    if len(bad) <= num_allowed:
        return
    allowed = f" (`max_bad_rows` is {num_allowed})" if num_allowed else ""
    raise TandemError(
        f"{len(bad)} of {num_rows} training rows cannot be used{allowed}:{list_bad_rows(bad)}\n",
        "Each row is an object with `messages` (an optional system message, then user and assistant in turn, "
        "ending with the assistant), with `prompt` and `completion`, or one in alpaca, sharegpt, preference or a like "
        "format, all of them strings with text (docs/training.md).",
        "Correct or remove these rows; none of them is dropped silently. `training.max_bad_rows` says how many may be "
        "left out with a warning. A key that changes nothing is named beside the path of its source, as in "
        "`data: [{path: rows.jsonl, ignore: [my_key, messages.my_key]}]`.",
    )


def warn_of_left_out_rows(left_out: Sequence[BadRow]) -> None:
    """Log a warning for each row that is left out of a training."""
    for row in left_out:
        _log.warning("left out %s: %s", row.where, row.reason)


def log_unused_keys(sources: Sequence[SourceReport]) -> None:
    """Log for each source the keys of its rows that say nothing about what is learnt."""
    for source in sources:
        if source.not_used:
            _log.warning("not used from %s: %s", source.name, ", ".join(source.not_used))


def list_bad_rows(bad: Sequence[BadRow]) -> str:
    """Up to 20 bad rows, one per line, and how many more there are."""
    shown = [f"\n  {row.where}: {row.reason}" for row in bad[:MAX_LISTED_ROWS]]
    more = f"\n  and {len(bad) - MAX_LISTED_ROWS} more" if len(bad) > MAX_LISTED_ROWS else ""
    return "".join(shown) + more


def draw_held_out_rows(config: TrainingConfig, num_rows: int) -> set[int]:
    """The rows that are not trained on, drawn by the seed: the asked share, at least one, never the last one left.

    None are drawn where `held_out_data` names them.
    """
    if config.held_out_data or config.held_out == 0 or num_rows < 2:
        return set()
    number = min(num_rows - 1, max(1, round(config.held_out * num_rows)))
    return set(Random(f"held-out-{config.seed}").sample(range(num_rows), number))


def _without_names(messages: Sequence[Message]) -> list[Message]:
    return [
        {key: value for key, value in message.items() if key != "name" or message["role"] == "tool"}
        for message in messages
    ]


class _RowsRead:
    """The rows of some sources while they are read: the usable ones, the bad ones, and the prompts of the usable."""

    def __init__(self, progress: Report | None) -> None:
        self.rows: DiskList[TrainingRow] = DiskList()
        self.sources = array("i")
        self.bad: list[BadRow] = []
        self.others: list[BadRow] = []
        self.prompts: Counter[str] = Counter()
        self.progress, self.num_sources = progress, 0

    def append(self, row: TrainingRow) -> None:
        """Add a usable row of the source that is being read."""
        self.rows.append(row)
        self.sources.append(self.num_sources)
        if row.prompt_hash is not None:
            self.prompts[row.prompt_hash] += 1

    def of_prompt(self, usual: str | None) -> tuple[Sequence[TrainingRow], npt.NDArray[np.int32]]:
        """The usable rows and their sources; those of another prompt format than `usual` become bad rows (`others`)."""
        sources = as_array(self.sources, np.int32)
        if not self.prompts.keys() - {usual}:
            return self.rows, sources
        reason = f"rendered with another prompt format than the rest (prompt_hash {(usual or '')[:12]})"
        places = []
        for place, row in enumerate(self.rows):
            if row.prompt_hash in (None, usual):
                places.append(place)
            else:
                self.others.append(BadRow(row.where, reason))
        return Selection(self.rows, places), sources[places]


def _read_source_rows(source: DataSource, config: TrainingConfig, read: _RowsRead) -> SourceReport:
    objective = config.objective
    if objective == "text" and source.path:
        check_holds_rows(source.path)
    reading = open_source(source)
    options = RowOptions(frozenset(source.ignore), config.consecutive_turns)
    not_used: set[str] = set()
    first: tuple[RowFormat, str] | None = None
    num_rows, steps = 0, RowProgress(read.progress, f"reading {source.name}")
    for record in reading.records:
        num_rows += 1
        steps.advance()
        try:
            name = _record_format(record, objective, options)
            first = first or (name, record.where)
            if name != first[0]:
                raise _mixed_formats_error(source.name, first, name, record.where)
            row, unread = _make_row(record, name, objective, options)
            read.append(replace(row, weight=source.weight))
            not_used |= unread
        except ValueError as error:
            read.bad.append(BadRow(record.where, str(error)))
    if num_rows == 0:
        raise unusable_source(source.name, "is empty")
    if first:
        check_objective(source.name, first[0], objective)
    read.num_sources += 1
    return SourceReport(
        source.name, reading.container, first[0] if first else None, num_rows, source.weight, tuple(sorted(not_used))
    )


def _record_format(record: SourceRecord, objective: ObjectiveName, options: RowOptions) -> RowFormat:
    if record.value is None:
        raise ValueError(record.reason)
    return recognise_row(record.value, objective, options)


def _make_row(
    record: SourceRecord, name: RowFormat, objective: ObjectiveName, options: RowOptions
) -> tuple[TrainingRow, set[str]]:
    """A row, and the keys of it that say nothing."""
    assert record.value is not None
    parsed, not_used = parse_for_objective(record.value, name, objective, options)
    value = {key: each for key, each in record.value.items() if key not in options.ignore}
    sources, unread = read_sources(value)
    prompt_hash = value.get("prompt_hash")
    if prompt_hash is not None and not isinstance(prompt_hash, str):
        raise ValueError("`prompt_hash` is not a string")
    row = TrainingRow(
        record.line,
        record.where,
        parsed.conversation,
        str(record.line if value.get("id") is None else value["id"]),
        sources,
        prompt_hash,
        parsed.rejected,
        label=parsed.label,
        text=parsed.text,
    )
    return row, not_used | unread


def _mixed_formats_error(source: str, first: tuple[RowFormat, str], name: RowFormat, where: str) -> TandemError:
    return TandemError(
        f"{source} mixes formats: {first[1]} is {first[0]}, and the first row that differs, {where}, is {name}.",
        "One format in each file.",
        "Move the rows of one format into a file of their own and list both under `training.data`.",
    )


def _most_common_prompt(prompts: "Counter[str]") -> str | None:
    return next((prompt for prompt, _ in prompts.most_common() if prompt), None)
