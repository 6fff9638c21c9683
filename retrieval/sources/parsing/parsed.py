"""What reading a file gives: its text, and how much was left out of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from retrieval.sources.parsing.limits import check_table


@dataclass(frozen=True)
class Parsed:
    """A document as it is indexed."""

    text: str
    """Markdown or plain text, with `\\n` line ends."""

    left_out: Counter[str] = field(default_factory=Counter)
    """What of the document is not in the text and how often, such as `hidden sheets: 2`. Zeros do not count."""


@dataclass(frozen=True)
class PdfReading:
    """How PDFs are read, attached ones too."""

    with_ocr: bool = True
    """Whether pages without a text layer are read by OCR, where the extra `ocr` is installed."""

    on_page: Callable[[int, int], None] = lambda done, total: None
    """Gets the number of pages that were read, and of all."""


AS_USUAL = PdfReading()


def markdown_table(rows: list[list[str]]) -> str:
    """Rows as a Markdown table with the first as its head; cells on one line, short rows filled up.

    Columns and rows without any text are left out.

    Raises:
        Unreadable: it is longer than a document may be.
    """
    check_table(rows)
    rows = [[" ".join(cell.split()) for cell in row] for row in rows]
    width = max(map(len, rows), default=0)
    rows = [[*row, *[""] * (width - len(row))] for row in rows if any(row)]
    filled = [column for column in range(width) if any(row[column] for row in rows)]
    lines = ["| " + " | ".join(_cell(row[column]) for column in filled) + " |" for row in rows]
    return "\n".join([*lines[:1], "| " + " | ".join("---" for _ in filled) + " |", *lines[1:]]) if lines else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|") if "|" in text else text
