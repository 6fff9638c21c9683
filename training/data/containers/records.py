"""A record of a source, and the error for a source that has none."""

from dataclasses import dataclass
from typing import Any

from cluster.errors import TandemError
from training.data.formats.values import json_type

ACCEPTED = (
    "A file with at least one row: JSONL, JSON, CSV, TSV, Parquet or Arrow, the texts also compressed with gzip, bzip2 "
    "or xz; or a folder that `save_to_disk` wrote."
)


@dataclass(frozen=True)
class SourceRecord:
    """One record of a source: `value` is its object, or None where the record is unusable for the given `reason`."""

    line: int
    where: str
    value: dict[str, Any] | None
    reason: str = ""


def make_record(line: int, where: str, value: Any) -> SourceRecord:
    """The record of a value that was read; one that is no object, or has half of a character in it, is unusable."""
    if not isinstance(value, dict):
        return SourceRecord(line, where, None, f"a JSON {json_type(value)}, not an object")
    try:
        found = find_lone_surrogate(value)
    except RecursionError:
        return SourceRecord(line, where, None, "JSON that is nested too deeply")
    if found:
        key, character = found
        reason = f"a lone surrogate in `{key}` ({character}, which is half of a character)"
        return SourceRecord(line, where, None, reason)
    return SourceRecord(line, where, value)


def find_lone_surrogate(value: Any, key: str = "") -> tuple[str, str] | None:
    """The path of the first text with half of a character that UTF-16 writes in two halves, and that half."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return key, f"\\u{ord(value[error.start]):04x}"
    elif isinstance(value, dict):
        for name, each in value.items():
            if found := find_lone_surrogate(name, "the name of a key") or find_lone_surrogate(each, _joined(key, name)):
                return found
    elif isinstance(value, list):
        for number, each in enumerate(value, start=1):
            if found := find_lone_surrogate(each, f"{key}.{number}"):
                return found
    return None


def unusable_source(
    name: object, problem: str, remedy: str = "Set `training.data` in the project file to such a file."
) -> TandemError:
    """The error for a source that no row can be read from."""
    return TandemError(f"The training data {name} {problem}.", ACCEPTED, remedy)


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
