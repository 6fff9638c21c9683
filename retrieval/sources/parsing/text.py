"""Bytes -> text: UTF-8 first, then what the bytes or the project file say, and never a guess."""

import codecs
import re

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.parsed import Parsed

# UTF-32 before UTF-16, whose mark is the beginning of the other's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Labels that pages use for more than the standard of that name holds (WHATWG, Encoding Standard).
_WIDER = {
    "iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "big5": "big5hkscs",
}  # fmt: skip
_CONTROL = re.compile("[\x80-\x84\x86-\x9f]")
# Encodings in 7 bits pass for UTF-8. Those of ISO 2022 switch their alphabets by these sequences.
_SEVEN_BITS = ("iso2022", "hz", "utf-7")
_ISO_2022 = re.compile("\x1b(?:\\$[@ABC]|\\$[()][A-D]|\\([BIJ])")
# Colours and moves of the cursor (ECMA-48), which a terminal shows as none of the text.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\))")


def decode(content: bytes, encoding: str | None = None, declared: str | None = None) -> str:
    """The text of a file, without its byte order mark.

    Args:
        encoding: what the source says of files that are not UTF-8 and have no byte order mark.
        declared: the charset of the HTTP header, believed before UTF-8.

    Raises:
        Unreadable: it is in none of these encodings, or not text.
    """
    if (marked := decode_marked(content)) is not None:
        return _text(marked)
    if declared and (codec := find_codec(declared)):
        try:
            return _text(content.decode(codec))
        except UnicodeDecodeError as error:
            raise Unreadable(f"comes as {declared} and is not (byte {error.start})") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        if encoding is None:
            raise Unreadable(
                f"is not UTF-8 (byte {error.start}): set `encoding` of its source, such as cp1252"
            ) from error
        return _text(_stated(content, encoding))
    # Half of the bytes of UTF-16 are NUL, and UTF-8 too.
    if encoding and ("\0" in text or codecs.lookup(encoding).name.startswith(_SEVEN_BITS)):
        return _text(_stated(content, encoding))
    if _ISO_2022.search(text):
        raise Unreadable("is in an encoding of ISO 2022: set `encoding` of its source, such as iso2022_jp")
    return _text(text)


def decode_marked(content: bytes) -> str | None:
    """The text after a byte order mark; None where there is no mark.

    Raises:
        Unreadable: the mark is there, and what follows is in another encoding.
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(name)
            except UnicodeDecodeError as error:
                raise Unreadable(f"begins as {name} and is not (byte {error.start + len(mark)})") from error
    return None


def _stated(content: bytes, encoding: str) -> str:
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        at = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
        raise Unreadable(f"is neither UTF-8 nor {encoding}, the `encoding` of its source{at}") from error
    # ISO-8859 gives any bytes a meaning; these are letters and signs in the code pages of Windows.
    if control := _CONTROL.search(text):
        raise Unreadable(
            f"holds a control character in {encoding}, the `encoding` of its source (character {control.end()}): "
            "it may be cp1252"
        )
    return text


def _text(text: str) -> str:
    if "\0" in text:
        raise Unreadable("is not text (it holds NUL bytes)")
    return without_escapes(text)


def without_escapes(text: str) -> str:
    """A text without the escape sequences of terminals: they run into its words."""
    return _TERMINAL.sub("", text) if "\x1b" in text else text


def find_codec(label: str) -> str | None:
    """Python's name for the charset that a page or a header names; None for one that it does not have."""
    label = label.strip().strip("\"'").lower()
    # Of Hebrew and Arabic in the order of reading, or of writing with marks, which is the same here; private names.
    label = re.sub(r"(?<=iso-8859-[68])-[ie]$|^x-(?=sjis|euc|gbk|big5)", "", label.replace("windows-874", "cp874"))
    try:
        name = codecs.lookup(label).name
        bytes(4).decode(name)  # not of an encoding of bytes, such as hex
    except (LookupError, ValueError):
        return None
    return _WIDER.get(name, name)


def read_text(content: bytes, encoding: str | None, declared: str | None = None) -> Parsed:
    """Markdown and plain text as it stands. Raises Unreadable."""
    return Parsed(decode(content, encoding, declared))


def read_code(content: bytes, encoding: str | None, language: str) -> Parsed:
    """A program, a log or a file of settings as a block of code: a `#` in it is no heading. Raises Unreadable."""
    return Parsed(fenced(decode(content, encoding), language))


def fenced(code: str, language: str) -> str:
    """A Markdown block of code, with a fence that nothing in the code closes; empty for empty code."""
    code = code.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`{3,}", code))])
    return f"{fence}{language}\n{code}\n{fence}\n" if code.strip() else ""
