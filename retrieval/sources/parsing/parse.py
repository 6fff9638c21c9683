"""A file -> Markdown. Markdown and plain text are read as UTF-8; other formats are converted by markitdown."""

from pathlib import Path

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.formats import CONVERTED_SUFFIXES, PACKED_SUFFIXES
from retrieval.sources.parsing.limits import check_unpacked_size


def read_markdown(path: Path) -> str:
    """The document as Markdown or plain text, with `\\n` line ends.

    Raises:
        Unreadable: it is not UTF-8, not text, or markitdown cannot convert it.
    """
    text = _converted(path) if path.suffix.lower() in CONVERTED_SUFFIXES else _decoded(path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decoded(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 (byte {error.start})") from error
    if "\0" in text:
        raise Unreadable("is not text (it holds NUL bytes)")
    return text


def _converted(path: Path) -> str:
    from markitdown import MarkItDown, MarkItDownException

    if path.suffix.lower() in PACKED_SUFFIXES:
        check_unpacked_size(path)
    try:
        return str(MarkItDown(enable_plugins=False).convert_local(path).text_content)
    except (MarkItDownException, OSError, ValueError) as error:
        # markitdown names the cause in its last line.
        reason = str(error).strip().split("\n")[-1].strip(" -")[:200] or type(error).__name__
        raise Unreadable(f"cannot be converted: {reason}") from error
