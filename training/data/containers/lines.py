"""Rows that are lines: JSONL, and tables of texts (CSV, TSV)."""

import csv
import io
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.containers.opening import open_text
from training.data.containers.records import SourceRecord, make_record, unusable_source
from training.data.formats.values import parse_json

# Columns of a table in which every cell is a text. What is a list, an object, a number or a truth value cannot be told
# from a text there.
NOT_TEXTS = frozenset((
    "messages", "conversations", "conversation", "history", "tools", "functions", "tool_calls", "function_call",
    "weight", "loss", "loss_weight", "loss_mask", "mask", "train", "sources",
    "chat_template_kwargs", "documents", "images", "image", "audio", "audios", "video", "videos",
))  # fmt: skip
KNOWN_COLUMNS = frozenset((
    "prompt", "completion", "instruction", "input", "output", "question", "answer", "query", "response", "context",
    "system", "text", "chosen", "rejected", "messages", "conversations",
))  # fmt: skip
DELIMITERS = (",", "\t", ";")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MESSAGES = re.compile(r"""\s*\[\s*\{\s*['"](role|content|from|value)['"]\s*:""")
_MAX_CELL = 2**30


def read_jsonl(path: Path) -> Iterator[SourceRecord]:
    """The records of a file with a JSON object in each line; blank lines are skipped."""
    file, _ = open_text(path)
    with file:
        for number, line in enumerate(file, start=1):
            if (line.removeprefix(BOM_UTF8) if number == 1 else line).strip():
                yield _parse_line(number, f"{path}:{number}", line)


def _parse_line(line: int, where: str, text: bytes) -> SourceRecord:
    try:
        value = parse_json(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        byte = text[error.start]
        latin = f", which is {chr(byte)!r} in Latin-1" if byte >= 0xA0 else ""
        return SourceRecord(line, where, None, f"not UTF-8 text (byte {error.start + 1} is {byte:#04x}{latin})")
    except json.JSONDecodeError as error:
        returns = "; lines end with a line feed, and this has a carriage return alone" if _has_lone_return(text) else ""
        return SourceRecord(line, where, None, f"not JSON ({error.msg}, column {error.colno}{returns})")
    except ValueError as error:
        return SourceRecord(line, where, None, str(error))
    except RecursionError:
        return SourceRecord(line, where, None, "JSON that is nested too deeply")
    if isinstance(value, dict) and not _ESCAPED_SURROGATE.search(text):
        return SourceRecord(line, where, value)
    return make_record(line, where, value)


def _has_lone_return(text: bytes) -> bool:
    return b"\r" in text.rstrip(b"\r\n")


def read_table(path: Path, delimiter: str) -> Iterator[SourceRecord]:
    """The records of a table whose first line names the columns; every cell is a text.

    Raises:
        TandemError: a column cannot be one of texts, two have the same name, or the file is not UTF-8 text.
    """
    csv.field_size_limit(_MAX_CELL)
    file, _ = open_text(path)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    with text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        names = [name.strip() for name in next(_explained(reader, path), [])]
        _check_columns(path, names)
        first = reader.line_num + 1
        for cells in _explained(reader, path):
            line, first = first, reader.line_num + 1
            if any(cell.strip() for cell in cells):
                yield _make_row(line, f"{path}:{line}", names, cells)


def _make_row(line: int, where: str, names: list[str], cells: list[str]) -> SourceRecord:
    if len(cells) != len(names):
        return SourceRecord(line, where, None, f"{len(cells)} cells where the first line names {len(names)} columns")
    value = dict(zip(names, cells, strict=True))
    if name := next((name for name, cell in value.items() if _MESSAGES.match(cell)), None):
        return SourceRecord(line, where, None, f"`{name}` holds messages, and a cell of a table is a text; write JSONL")
    return SourceRecord(line, where, {name: cell for name, cell in value.items() if name})


def _check_columns(path: Path, names: list[str]) -> None:
    if unread := next((name for name in names if name in NOT_TEXTS), None):
        raise unusable_source(
            path, f"is a table with the column `{unread}`, and every cell of a table is a text",
            "Write the rows as JSONL, one JSON object per line.",
        )  # fmt: skip
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise unusable_source(path, f"is a table with two columns `{twice}`", "Leave one of them.")


def _explained(reader: Any, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except UnicodeDecodeError as error:
        problem = f"is a table and not UTF-8 text behind line {reader.line_num}"
        raise unusable_source(path, problem, "Write it in UTF-8.") from error
    except csv.Error as error:
        problem = f"is a table that cannot be read behind line {reader.line_num} ({error})"
        raise unusable_source(path, problem, "Correct that place; a quote may have been left open.") from error


def find_delimiter(line: str) -> str | None:
    """What separates the names of columns in a first line, where known names are among them."""
    for delimiter in DELIMITERS:
        names = {name.strip().strip('"').lower() for name in line.split(delimiter)}
        if len(names) > 1 and names & KNOWN_COLUMNS:
            return delimiter
    return None
