"""CSV and TSV -> a Markdown table. The delimiter is found; the text is UTF-8 or in the encoding that is stated."""

import csv
import io
from collections import Counter
from itertools import islice

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.limits import MAX_FILE_BYTES
from retrieval.sources.parsing.parsed import Parsed, markdown_table
from retrieval.sources.parsing.text import decode

# In the order in which one is believed where several divide all rows alike: commas also stand in numbers and sentences.
DELIMITERS = ("\t", ";", "|", ",")
ONE_COLUMN = "\x1f"
_SAMPLED_ROWS = 2000


def read_delimited(content: bytes, encoding: str | None, declared: str | None = None) -> Parsed:
    """A table of which the first row is the head.

    Raises:
        Unreadable: it is not text, or in no encoding that is known.
    """
    text = decode(content, encoding, declared)
    csv.field_size_limit(MAX_FILE_BYTES)
    first, _, rest = text.partition("\n")
    # Excel writes and reads such a line above the head.
    if first.lower().startswith("sep=") and len(first.strip()) == 5:
        return Parsed(markdown_table(_rows(rest, first[4])))
    return Parsed(markdown_table(_rows(text, find_delimiter(text))))


def find_delimiter(text: str) -> str:
    """The delimiter that divides most rows into the same number of fields, two or more.

    Where none does, it is the one that the first row has most often; where that has none, there is one column, and the
    delimiter is a sign that stands in no table.
    """
    scores = {delimiter: _score(text, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    if scores[best] > (False, False, 0.0):
        return best
    head = text.lstrip().partition("\n")[0]
    most = max(DELIMITERS, key=head.count)
    return most if most in head else ONE_COLUMN


def _score(text: str, delimiter: str) -> tuple[bool, bool, float]:
    """Whether most rows have the same number of fields, two or more; whether quotes end where fields do; the share of
    these rows."""
    counts, is_strict = Counter[int](), True
    try:
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), _SAMPLED_ROWS):
            counts[len(row)] += 1
    except csv.Error:
        is_strict = False
        for row in islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _SAMPLED_ROWS):
            counts[len(row)] += 1
    counts.pop(0, None)  # empty lines
    if not counts:
        return False, False, 0.0
    width, number = counts.most_common(1)[0]
    return (True, is_strict, number / counts.total()) if width > 1 else (False, False, 0.0)


def _rows(text: str, delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        # A quote that nothing closes would take the rest of the file for one field.
        is_open = "unexpected end" in str(error)
    try:
        rows = io.StringIO(text, newline="")
        return list(csv.reader(rows, delimiter=delimiter, quoting=csv.QUOTE_NONE if is_open else csv.QUOTE_MINIMAL))
    except csv.Error as error:
        raise Unreadable(f"is no table: {error}") from error
