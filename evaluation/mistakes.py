"""What is wrong with a file of rows, in words: at most ten mistakes, each with file and line."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from cluster.errors import TandemError

MOST_SHOWN = 10


def read_text(path: Path, what: str, accepted: str) -> str:
    """The text of a file. Raises a TandemError where it cannot be read or is not UTF-8.

    Args:
        what: what the file is, as in "questions file".
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        seen = f"The {what} {path} cannot be read ({error.strerror})."
        raise TandemError(seen, accepted, "Name a file that is there and can be read.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        seen = f"{path}:{line}: the text is not UTF-8 ({error.reason})."
        remedy = "Save the file as UTF-8 (a spreadsheet calls it `CSV UTF-8`)."
        raise TandemError(seen, accepted, remedy) from error


def reason(error: ValidationError, model: type[BaseModel]) -> str:
    """All that is wrong with one row."""
    reasons = []
    for detail in error.errors(include_url=False):
        field = ".".join(str(part) for part in detail["loc"])
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = f"unknown key; the keys are {', '.join(model.model_fields)}"
        reasons.append(f"{field}: {message}" if field else message)
    return "; ".join(reasons)


def rejected(mistakes: Sequence[str], accepted: str) -> TandemError:
    """The error that shows the first of these mistakes and counts the others."""
    shown = "; ".join(mistakes[:MOST_SHOWN])
    more = len(mistakes) - MOST_SHOWN
    seen = f"{shown}; and {more} more mistakes." if more > 0 else f"{shown}."
    return TandemError(seen, accepted, "Correct these lines.")
