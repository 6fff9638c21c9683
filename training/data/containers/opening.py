"""Open a file of rows: what it is by its first bytes, and its text as UTF-8, however it is encoded or compressed."""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from training.data.containers.records import unusable_source

HEAD_BYTES = 4096
_BLOCK_BYTES = 2**16

_COMPRESSIONS: dict[str, tuple[bytes, Callable[..., Any]]] = {
    "gzip": (b"\x1f\x8b", gzip.open),
    "bzip2": (b"BZh", bz2.open),
    "xz": (b"\xfd7zXZ\x00", lzma.open),
}
_BOMS = (
    # That of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_AS_JSONL = "Write its rows as JSONL, one JSON object per line, and name that file."
# What else is named as training data: bytes at a place, what they begin, and what to do.
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "is a ZIP archive (Excel's .xlsx is one, too)", f"Unpack it and name a file in it. {_AS_JSONL}"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a file of Microsoft Office (.xls)", _AS_JSONL),
    (0, b"SQLite format 3\x00", "is an SQLite data base", _AS_JSONL),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with Zstandard", "Decompress it: `zstd -d FILE`."),
    (0, b"\x04\x22\x4d\x18", "is compressed with LZ4", "Decompress it: `lz4 -d FILE`."),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "Unpack it and name a file in it."),
    (0, b"Rar!\x1a\x07", "is a RAR archive", "Unpack it and name a file in it."),
    (257, b"ustar", "is a tar archive", "Unpack it and name a file in it."),
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file", _AS_JSONL),
    (0, b"\x93NUMPY", "is a numpy array", _AS_JSONL),
    (0, b"Obj\x01", "is an Avro file", "Write its rows as Parquet or JSONL."),
    (0, b"%PDF-", "is a PDF document", "Name rows; documents belong under `retrieval.sources`."),
    (0, b"version https://git-lfs.github.com/spec/", "is a pointer of Git LFS, and not the file that it stands for",
     "Fetch the file: `git lfs pull`."),
    (0, b"<!DOCTYPE", "is an HTML page", "The download brought a page instead of the file: fetch the file itself."),
    (0, b"<html", "is an HTML page", "The download brought a page instead of the file: fetch the file itself."),
    (0, b"<?xml", "is an XML document", _AS_JSONL),
)  # fmt: skip


def open_raw(path: Path) -> tuple[BinaryIO, str]:
    """A file without its compression, and the name of that: gzip, bzip2, xz, or an empty text.

    Raises:
        TandemError: the file does not exist or cannot be read. While it is read: it is damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
        for name, (magic, opener) in _COMPRESSIONS.items():
            if head.startswith(magic):
                return io.BufferedReader(_Explained(path, opener(path, "rb"), name)), name
        return path.open("rb"), ""
    except FileNotFoundError as error:
        raise unusable_source(path, "does not exist") from error
    except OSError as error:
        raise unusable_source(path, f"cannot be read ({error.strerror})") from error


def open_text(path: Path) -> tuple[BinaryIO, str]:
    """The text of a file in UTF-8, and what it was made from: as `open_raw`, or UTF-16 or UTF-32.

    A file in UTF-8, and one in none of these, is given as it is.

    Raises:
        TandemError: as `open_raw`. While it is read: it is not in the encoding that it begins in.
    """
    file, compression = open_raw(path)
    head = _peek(file)
    encoding = detect_encoding(head)
    if encoding is None:
        return file, compression
    name = encoding[:6].upper()
    recoded = io.BufferedReader(_Recoded(path, file, encoding))
    return recoded, f"{compression}, {name}" if compression else name


def read_head(path: Path) -> bytes:
    """The first bytes of a file, without its compression. Raises TandemError as `open_raw`."""
    file, _ = open_raw(path)
    with file:
        return file.read(HEAD_BYTES)


def refuse_others(path: Path, head: bytes) -> None:
    """Raises TandemError where a file is something that rows cannot be read from, and says what it is."""
    for place, magic, what, remedy in _OTHERS:
        found = head[place : place + len(magic)]
        if found == magic or (magic.startswith(b"<") and found.lower() == magic.lower()):
            raise unusable_source(path, what, remedy)


def detect_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by the mark at the start or by the zeros between the first characters; None elsewhere.

    Rows begin with two characters of ASCII: brackets, quotes, spaces or the names of columns.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    zeros = "".join("0" if byte == 0 else "x" for byte in head[:4])
    by_zeros = {"x000": "utf-32-le", "000x": "utf-32-be", "x0x0": "utf-16-le", "0x0x": "utf-16-be"}
    return by_zeros.get(zeros)


def _peek(file: BinaryIO) -> bytes:
    assert isinstance(file, io.BufferedReader)
    return file.peek(4)[:4]


class _Explained(io.RawIOBase):
    """A decompressed file, whose damage is said in our words."""

    def __init__(self, path: Path, file: Any, compression: str) -> None:
        self._path, self._file, self._compression = path, file, compression

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            problem = f"is a {self._compression} file that is cut short or damaged ({error})"
            raise unusable_source(self._path, problem, "Copy or compress the file again.") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Recoded(io.RawIOBase):
    """A text in another encoding as UTF-8, without the mark at its start."""

    def __init__(self, path: Path, file: BinaryIO, encoding: str) -> None:
        self._path, self._file, self._name = path, file, encoding[:6].upper()
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._pending, self._num_read = b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            block = self._file.read(_BLOCK_BYTES)
            text = self._decode(block)
            if not self._num_read:
                text = text.removeprefix("\ufeff")
            self._num_read += len(block)
            self._pending = text.encode()
            if not block:
                break
        number = min(len(buffer), len(self._pending))
        buffer[:number], self._pending = self._pending[:number], self._pending[number:]
        return number

    def _decode(self, block: bytes) -> str:
        try:
            return self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            problem = f"begins as {self._name} text and is none behind byte {self._num_read + error.start}"
            raise unusable_source(self._path, problem, "Write it in UTF-8.") from error

    def close(self) -> None:
        self._file.close()
        super().close()
