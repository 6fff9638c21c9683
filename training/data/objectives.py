"""Which rows each objective learns from, how a row is read for it, and which words are labels (KTO)."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Literal

from cluster.errors import TandemError
from training.config import ObjectiveName
from training.data.conversation import ParsedRow
from training.data.formats.formats import parse_row, recognise_format
from training.data.formats.keys import FORMATS, Format, is_empty
from training.data.formats.plain_text import explain_plain_text, is_plain_text, parse_text_row
from training.data.formats.reading import RowOptions

RowFormat = Format | Literal["texts"]
_ACCEPTED: dict[ObjectiveName, str] = {
    "sft": "Rows with one answer for sft, preference pairs for dpo.",
    "dpo": "Preference pairs: `prompt`, `chosen` and `rejected`.",
    "kto": "Rows with one answer and a `label`: true for a desired answer, false for an undesired one.",
    "text": "Texts: `text`, with no messages, question or answer.",
}

LABEL_KEYS = ("label", "kto_tag")
"""TRL, ms-swift and OpenRLHF say `label`, LLaMA-Factory `kto_tag` where no other column is named."""

DESIRED = frozenset({"true", "1", "yes", "desired", "desirable", "good", "up", "thumbs_up", "thumbsup", "👍", "like"})
UNDESIRED = frozenset(
    {"false", "0", "no", "undesired", "undesirable", "bad", "down", "thumbs_down", "thumbsdown", "👎", "dislike"}
)


def recognise_row(value: dict[str, Any], objective: ObjectiveName, options: RowOptions) -> RowFormat:
    """The format of a row; of a row that is of two formats, the one that the objective learns from.

    Raises:
        ValueError: it has the keys of no format.
    """
    try:
        # A column of another format is in every row of a Parquet file, and empty beside a text.
        filled = {key: each for key, each in value.items() if not is_empty(each)} if objective == "text" else value
        return recognise_format(filled, objective == "dpo", options)
    except ValueError as error:
        if objective != "text":
            raise ValueError(f"{error}{explain_plain_text(value)}") from error
        if is_plain_text(value):
            return "texts"
        raise ValueError("has no `text`") from error


def parse_for_objective(
    value: dict[str, Any], name: RowFormat, objective: ObjectiveName, options: RowOptions
) -> tuple[ParsedRow, set[str]]:
    """What a row teaches, and its keys that say nothing about that.

    Raises:
        ValueError: as `parse_row`, or its label or text cannot be read.
    """
    if name == "texts":
        return parse_text_row(value, options)
    if objective != "kto":
        return parse_row(value, name, options)
    label, rest = take_label(value, options.ignore)
    parsed, not_used = parse_row(rest, name, options)
    return replace(parsed, label=label), not_used


def check_objective(source: str, name: RowFormat, objective: ObjectiveName) -> None:
    """Raise TandemError where an objective does not learn from rows of a format."""
    if objective == "text":
        fits = name == "texts"
    else:
        fits = name in FORMATS and (name == "preference pairs") == (objective == "dpo")
    if fits:
        return
    fitting = "dpo" if name == "preference pairs" else "sft` or, for rows with labels, `kto"
    raise TandemError(
        f"{source} holds {name}, and `training.objective` is {objective}.",
        _ACCEPTED[objective],
        f"Set `training.objective: {fitting}`, or name other data.",
    )


def take_label(row: dict[str, Any], ignored: Collection[str] = ()) -> tuple[bool, dict[str, Any]]:
    """The label of a row, and the row without it; a key in `ignored` is none.

    Raises:
        ValueError: the row has no label, one that is neither true nor false, or two that differ.
    """
    keys = [key for key in LABEL_KEYS if key not in ignored]
    named = {key: row[key] for key in keys if row.get(key) is not None}
    if not named:
        raise ValueError("has no `label`, which says whether the answer is a desired one (true) or not (false)")
    labels = {key: read_label(value, key) for key, value in named.items()}
    if len(set(labels.values())) > 1:
        raise ValueError("`label` and `kto_tag` differ")
    return next(iter(labels.values())), {key: value for key, value in row.items() if key not in keys}


def read_label(value: Any, key: str = "label") -> bool:
    """A label in any of the words that say the same everywhere.

    Raises:
        ValueError: it is none of them: a score, a class, or -1, which beside 0 would leave 0 in doubt.
    """
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        word = "_".join(value.strip().casefold().replace("-", " ").split())
        if word in DESIRED or word in UNDESIRED:
            return word in DESIRED
    raise ValueError(f"`{key}` is {value!r}, which is neither true nor false")


def check_both_labels(labels: Sequence[bool], what: str = "training rows") -> None:
    """Raise TandemError where all answers have the same label: nothing tells what to move away from, or towards."""
    if len(set(labels)) != 1:
        return
    kind, other = ("desired (`label: true`)", "undesired") if labels[0] else ("undesired (`label: false`)", "desired")
    learn = ", or set `training.objective: sft` and leave `label` out, to learn these answers" if labels[0] else ""
    raise TandemError(
        f"All {len(labels)} {what} are answers that are {kind}.",
        "Answers of both kinds: KTO learns what tells them apart.",
        f"Add rows with {other} answers{learn}.",
    )
