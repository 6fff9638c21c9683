"""An office document is a ZIP archive of XML: its parts, by the relations between them, within limits.

    with open_archive(content, "docx") as archive:
        for target in archive.related(archive.main, "header"): ...

Names of elements and attributes are taken without their namespace: a document may be in the transitional or the strict
one of ISO 29500, and nothing that is read has one name in two of them.
"""

import io
import posixpath
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from html.entities import html5
from typing import Any, TypeAlias
from urllib.parse import unquote
from zipfile import BadZipFile, ZipFile

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.limits import MAX_XML_BYTES, check_unpacked

Element: TypeAlias = Any  # lxml has no types

_DOCTYPE = re.compile(rb"<!DOCTYPE[^\[>]{0,1000}(?:\[.*?\]\s*)?>", re.DOTALL)
_ENTITY = re.compile(rb"&([A-Za-z][A-Za-z0-9]{0,40});")
_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})
_CFB = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Streams of the container that the formats before 2007 have, and that encrypted documents are put into.
_STREAMS = {
    "EncryptedPackage": "is protected by a password: save it without one",
    "WordDocument": "is a Word document of before 2007 (.doc): save it as .docx",
    "Workbook": "is an Excel workbook of before 2007: rename it to .xls",
    "Book": "is an Excel workbook of before 2007: rename it to .xls",
    "PowerPoint Document": "is a PowerPoint presentation of before 2007 (.ppt): save it as .pptx",
    "__properties_version1.0": "is an Outlook message: rename it to .msg",
}


def explain_container(content: bytes) -> str | None:
    """What a file of the old container format is, in words that follow its name; None where it is no such file."""
    if not content.startswith(_CFB):
        return None
    names = (why for name, why in _STREAMS.items() if name.encode("utf-16-le") in content)
    return next(names, "is an OLE container and no document that is read")


@contextmanager
def open_archive(content: bytes, kind: str) -> "Iterator[Archive]":
    """The archive of a document.

    Args:
        kind: what it is opened as, for messages.

    Raises:
        Unreadable: it is none, is protected by a password, is of another format, or unpacks to too much.
    """
    if why := explain_container(content):
        raise Unreadable(why)
    if content.lstrip().startswith(b"{\\rtf"):
        raise Unreadable("is Rich Text: rename it to .rtf")
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            check_unpacked(archive)
            yield Archive(archive, kind)
    except RecursionError:
        raise
    except (BadZipFile, NotImplementedError, EOFError, OSError, zlib.error, UnicodeError) as error:
        raise Unreadable(f"cannot be opened as {kind}: {error}") from error
    except RuntimeError as error:  # a member that is encrypted
        raise Unreadable(f"is protected by a password: save it without one ({error})"[:200]) from error


class Archive:
    """The parts of an office document."""

    def __init__(self, archive: ZipFile, kind: str) -> None:
        self.archive, self.kind = archive, kind
        self._relations: dict[str, dict[str, tuple[str, str]]] = {}
        # Names are compared without case (ECMA-376, part 2), and some programs write backslashes.
        self._names = {name.replace("\\", "/").lstrip("/").lower(): name for name in archive.namelist()}

    @cached_property
    def main(self) -> str:
        """The part with the document. Raises Unreadable."""
        part = next(iter(self.related("", "officeDocument")), None)
        if part is None:
            raise Unreadable(f"cannot be opened as {self.kind}: it names no part as its document")
        return part

    def related(self, part: str, kind: str) -> list[str]:
        """The parts that `part` refers to as `kind`, such as header, in their order. Missing ones are left out."""
        return [target for each, target in self.relations(part).values() if each == kind and self.has(target)]

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """By id: the kind of each relation and its target. Targets outside of the archive are left out."""
        if part not in self._relations:
            self._relations[part] = self._read_relations(part)
        return self._relations[part]

    def _read_relations(self, part: str) -> dict[str, tuple[str, str]]:
        folder, name = posixpath.split(part)
        try:
            root = self.xml(posixpath.join(folder, "_rels", f"{name}.rels"))
        except KeyError:
            return {}
        found = {}
        for each in root.iterchildren("{*}Relationship"):
            if each.get("TargetMode") != "External":
                target = unquote(each.get("Target", "")).replace("\\", "/").partition("#")[0]
                path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                found[each.get("Id", "")] = (each.get("Type", "").rpartition("/")[2], path)
        return found

    def has(self, part: str) -> bool:
        return part.lower() in self._names

    def names(self, prefix: str) -> list[str]:
        """The parts whose name begins with `prefix`, in the order of the archive."""
        return [name for key, name in self._names.items() if key.startswith(prefix.lower())]

    def read(self, part: str) -> bytes:
        """Raises KeyError where there is no such part."""
        return self.archive.read(self._names[part.lower()])

    def xml(self, part: str) -> Element:
        """The root of a part.

        Raises:
            KeyError: there is no such part.
            Unreadable: it is no XML, declares entities, or is too long.
        """
        size = self.archive.getinfo(self._names[part.lower()]).file_size
        if size > MAX_XML_BYTES:
            raise Unreadable(f"has {size / 2**20:.0f} MiB in {part}, more than {MAX_XML_BYTES // 2**20}")
        return parse_xml(self.read(part), part)

    def readable_xml(self, part: str, left_out: Counter[str]) -> Element | None:
        """The root of a part without which the document can still be read; None, and counted, where it is damaged."""
        try:
            return self.xml(part)
        except (Unreadable, KeyError, BadZipFile, EOFError, zlib.error):
            left_out["damaged parts"] += 1
            return None


def parse_xml(content: bytes, name: str = "") -> Element:
    """The root of an XML file. Nothing outside of it is read, and only entities that HTML has are known.

    Args:
        name: of the part that it is of a document.

    Raises:
        Unreadable: it is no XML, or uses entities that it declares itself: a few lines of these can expand to more than
            the memory holds.
    """
    from lxml import etree

    if b"<\0!\0D\0O\0C" in content or b"\0<\0!\0D\0O\0C" in content:
        raise Unreadable("declares a document type in UTF-16: save it as UTF-8")
    if b"<!DOCTYPE" in content:
        content = _ENTITY.sub(_character, _DOCTYPE.sub(b"", content, count=1))
    try:
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True,
            remove_comments=True, remove_pis=True,
        )  # fmt: skip
        return etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise Unreadable(
            f"is damaged: {name} is no XML ({error.msg})" if name else f"is no XML: {error.msg}"
        ) from error


def _character(entity: re.Match[bytes]) -> bytes:
    name = entity[1].decode()
    character = None if name in _XML_ENTITIES else html5.get(f"{name};")
    return entity[0] if character is None else "".join(f"&#{ord(each)};" for each in character).encode()


def local(element: Element) -> str:
    """The name of an element without its namespace; empty for an entity that is not expanded."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Element, name: str) -> str | None:
    """An attribute by its name without namespace."""
    value = element.get(name)
    if value is not None:
        return str(value)
    return next((str(each) for key, each in element.attrib.items() if key.rpartition("}")[2] == name), None)
