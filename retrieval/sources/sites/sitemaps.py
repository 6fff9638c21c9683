"""The addresses that a sitemap names (https://www.sitemaps.org/protocol.html).

    is_index, entries = parse_sitemap(unpack(content))

XML of any namespace or none, one address a line, or either as .gz.
"""

import codecs
import zlib
from dataclasses import dataclass
from io import BytesIO

from retrieval.sources.document import Unreadable

MAX_SITEMAP_BYTES = 50 * 1024 * 1024  # the protocol's own limit, unpacked
PIECE_BYTES = 4096
_PACKED = b"\x1f\x8b"
_ITEMS = {"urlset": "url", "sitemapindex": "sitemap"}


@dataclass(frozen=True)
class Entry:
    """A page, or another sitemap where the sitemap is an index."""

    loc: str
    """Its address as it is written, which may be relative; empty where none is."""
    lastmod: str = ""


def unpack(content: bytes) -> bytes:
    """The sitemap without its compression. Raises Unreadable."""
    if not content.startswith(_PACKED):
        return content
    unpacked, packed = bytearray(), BytesIO(content)
    while content.startswith(_PACKED, packed.tell()):  # a file may have several parts
        unpacking = zlib.decompressobj(wbits=31)
        while not unpacking.eof:
            # What is behind a part is copied for each one.
            if not (piece := packed.read(PIECE_BYTES)):
                raise Unreadable("ends too early")
            try:
                unpacked += unpacking.decompress(piece, MAX_SITEMAP_BYTES - len(unpacked) + 1)
            except zlib.error as error:
                raise Unreadable(f"cannot be unpacked: {error}") from error
            if len(unpacked) > MAX_SITEMAP_BYTES:
                raise Unreadable(f"unpacks to more than {MAX_SITEMAP_BYTES // 2**20} MiB")
        packed.seek(-len(unpacking.unused_data), 1)
    return bytes(unpacked)


def parse_sitemap(content: bytes) -> tuple[bool, list[Entry]]:
    """Whether it is an index of sitemaps, and its entries in their order.

    Raises:
        Unreadable: it is neither XML of that kind nor a list of addresses.
    """
    start = content.removeprefix(codecs.BOM_UTF8).lstrip()
    if not start.startswith((b"<", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False, _lines(start)
    return _elements(start)


def _lines(content: bytes) -> list[Entry]:
    lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
    entries = [Entry(line if line.lower().startswith(("http://", "https://")) else "") for line in lines if line]
    if not any(entry.loc for entry in entries):
        raise Unreadable("is no XML that is read, and no list of addresses")
    return entries


def _elements(content: bytes) -> tuple[bool, list[Entry]]:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, iterparse

    entries: list[Entry] = []
    open_tags: list[str] = []
    values = dict[str, str]()
    root = ""
    try:
        for event, element in iterparse(BytesIO(content), events=("start", "end")):
            if event == "start":
                open_tags.append(element.tag)
                root = root or _name(element.tag)
                continue
            open_tags.pop()
            if len(open_tags) == 2 and _is_own(element.tag, open_tags[1]):
                values.setdefault(_name(element.tag), (element.text or "").strip())
            elif len(open_tags) == 1:
                if _name(element.tag) == _ITEMS.get(root):
                    entries.append(Entry(values.get("loc", ""), values.get("lastmod", "")))
                values = {}
                element.clear()
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise Unreadable(f"is no XML that is read: {error or type(error).__name__}") from error
    if root not in _ITEMS:
        raise Unreadable("is no sitemap")
    return root == "sitemapindex", entries


def _is_own(tag: str, parent: str) -> bool:
    """Whether an element is of its parent's namespace: an image or a video in an entry has a `loc` too."""
    return tag.rpartition("}")[0] == parent.rpartition("}")[0]


def _name(tag: str) -> str:
    return tag.rpartition("}")[2].lower()
