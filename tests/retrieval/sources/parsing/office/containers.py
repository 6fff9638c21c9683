"""OLE containers (MS-CFB) made by hand: no library writes them."""

import struct

_SECTOR, _END, _FREE, _FAT = 512, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD
_LEAST = 4096
"""Shorter streams would lie in a container of their own: they are filled up with zeros."""

Tree = dict[str, "bytes | Tree"]


def container(tree: Tree) -> bytes:
    """A container with storages and streams."""
    entries: list[list[object]] = [["Root Entry", 5, _FREE, _FREE, _END, 0]]
    streams: list[tuple[int, bytes]] = []
    _add(tree, 0, entries, streams)
    fat: list[int] = [_FAT]
    sectors: list[bytes] = []
    for at, content in [*streams, (-1, _directory(entries))]:
        content += bytes(-len(content) % _SECTOR)
        start, number = len(fat), len(content) // _SECTOR
        fat += [*range(start + 1, start + number), _END]
        sectors += [content[place : place + _SECTOR] for place in range(0, len(content), _SECTOR)]
        if at >= 0:
            entries[at][4] = start
        else:
            first = start
    # Where the streams begin was not known when the directory was measured.
    directory = _directory(entries)
    sectors[first - 1 :] = [directory[place : place + _SECTOR] for place in range(0, len(directory), _SECTOR)]
    assert len(fat) <= 128
    head = struct.pack(
        "<8s16sHHHHH6xIIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", bytes(16), 0x3E, 3, 0xFFFE, 9, 6,
        0, 1, first, 0, _LEAST, _END, 0, _END, 0, 0,
    )  # fmt: skip
    head += struct.pack("<108I", *[_FREE] * 108)
    return head + struct.pack("<128I", *fat, *[_FREE] * (128 - len(fat))) + b"".join(sectors)


def _add(tree: Tree, parent: int, entries: list[list[object]], streams: list[tuple[int, bytes]]) -> None:
    """The members of a storage: each is the right neighbour of the one before, in the order of the format."""
    before = -1
    for name, member in sorted(tree.items(), key=lambda item: (len(item[0]), item[0].upper())):
        at = len(entries)
        if isinstance(member, dict):
            entries.append([name, 1, _FREE, _FREE, 0, 0])
            _add(member, at, entries, streams)
        else:
            content = member + bytes(max(0, _LEAST - len(member)))
            entries.append([name, 2, _FREE, _FREE, 0, len(content)])
            streams.append((at, content))
        entries[parent if before < 0 else before][3 if before < 0 else 2] = at
        before = at


def _directory(entries: list[list[object]]) -> bytes:
    packed = b""
    for name, kind, right, child, start, size in entries:
        written = f"{name}\0".encode("utf-16-le")
        packed += struct.pack(
            "<64sHBBIII36xIQ", written, len(written), kind, 1, _FREE, right, child, start, size
        )  # fmt: skip
    return packed + struct.pack("<64sHBBIII36xIQ", b"", 0, 0, 0, _FREE, _FREE, _FREE, 0, 0) * (-len(entries) % 4)


def workbook(
    sheets: dict[str, list[list[str | float]]], hidden: str = "", formats: dict[tuple[int, int], int] | None = None
) -> bytes:
    """An Excel workbook of before 2007 (BIFF8).

    Args:
        formats: 1 for a percentage and 2 for a date, by row and column.
    """
    parts = [_sheet(rows, formats or {}) for rows in sheets.values()]
    head = _record(0x0809, struct.pack("<HHHHII", 0x0600, 5, 0, 0, 0, 0))
    head += _record(0x0031, struct.pack("<HHHHHBBBxBB", 200, 0, 0x7FFF, 400, 0, 0, 0, 0, 1, 0) + b"A") * 5
    # Formats of cells: plain, a percentage, a date.
    head += b"".join(
        _record(0x00E0, struct.pack("<HHHBBBBIIH", 0, code, 0, 0, 0, 0, 0, 0, 0, 0)) for code in (0, 9, 14)
    )
    size = len(head) + sum(12 + len(name.encode("utf-16-le")) for name in sheets) + 4
    for name, part in zip(sheets, parts, strict=True):
        head += _record(0x0085, struct.pack("<IBBBB", size, name == hidden, 0, len(name), 1) + name.encode("utf-16-le"))
        size += len(part)
    return container({"Workbook": head + _record(0x000A, b"") + b"".join(parts)})


def _sheet(rows: list[list[str | float]], formats: dict[tuple[int, int], int]) -> bytes:
    out = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x10, 0, 0, 0, 0))
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            place = struct.pack("<HHH", row, column, formats.get((row, column), 0))
            if isinstance(cell, str):
                out += _record(0x0204, place + struct.pack("<HB", len(cell), 1) + cell.encode("utf-16-le"))
            else:
                out += _record(0x0203, place + struct.pack("<d", cell))
    return out + _record(0x000A, b"")


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content
