"""ODT, ODS and ODP -> Markdown: headings, paragraphs, lists, tables, notes and comments, in their order.

Tracked deletions, hidden sheets and rows, and hidden slides are left out and counted.
"""

import posixpath
from collections import Counter
from collections.abc import Iterator

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.office.archive import Archive, Element, attribute, local, open_archive
from retrieval.sources.parsing.parsed import Parsed, markdown_table

_MAX_REPEATED = 1000
_PAGES = ("", "-first", "-left")
_VALUES = ("string-value", "value", "date-value", "time-value", "boolean-value")
_WITHOUT_TEXT = frozenset({"forms", "variable-decls", "sequence-decls", "shapes", "settings", "names", "scripts", ""})


def read_open_document(content: bytes, kind: str) -> Parsed:
    """A text, a workbook or a presentation of OpenDocument.

    Raises:
        Unreadable: it is none, is damaged, or is protected by a password.
    """
    with open_archive(content, kind) as archive:
        if archive.has("META-INF/manifest.xml") and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise Unreadable("is protected by a password: save it without one")
        try:
            document = _Document(archive)
            return Parsed("\n\n".join(document.blocks()), document.left_out)
        except KeyError as error:
            raise Unreadable(f"cannot be opened as {kind}: it has no content.xml") from error


class _Document:
    def __init__(self, archive: Archive) -> None:
        self.archive, self.root, self.left_out = archive, archive.xml("content.xml"), Counter[str]()
        self.hidden = {
            attribute(style, "name")
            for style in self.root.iter("{*}style")
            if any(attribute(each, "display") == "false" for each in style.iterfind("{*}table-properties"))
            or any(attribute(each, "visibility") == "hidden" for each in style.iterfind("{*}drawing-page-properties"))
        }

    def blocks(self) -> Iterator[str]:
        body = self.root.find("{*}body")
        yield from self._blocks(body) if body is not None else ()
        # Every sheet and slide has some of its program's own.
        if self.archive.kind == "odt" and self.archive.has("styles.xml"):
            styles = self.archive.xml("styles.xml")
            for each in styles.iter(*(f"{{*}}{part}{page}" for part in ("header", "footer") for page in _PAGES)):
                if text := " ".join(" ".join(self._blocks(each)).split()):
                    yield f"{local(each).partition('-')[0].capitalize()}: {text}"

    def _blocks(self, element: Element, depth: int = 0) -> Iterator[str]:
        for child in element.iterchildren():
            yield from self._block(child, depth)

    def _block(self, element: Element, depth: int) -> Iterator[str]:
        name = local(element)
        if name in ("h", "p"):
            text, behind = self._inline(element)
            level = attribute(element, "outline-level") or "1"
            if name == "h" and text.strip():
                yield f"{'#' * min(int(level) if level.isdecimal() else 1, 6)} {' '.join(text.split())}"
            elif text.strip():
                yield text.strip()
            yield from behind
        elif name == "list":
            yield from self._list(element, depth)
        elif name == "table":
            yield from self._table(element)
        elif name == "page":
            yield from self._page(element)
        elif name == "image":
            beside = {local(each) for each in element.getparent().iterchildren()}
            self.left_out["pictures without a description"] += not beside & {"title", "desc", "object", "text-box"}
        elif name == "object":
            yield from self._object(element)
        elif name == "notes":
            if texts := list(self._blocks(element)):
                yield "### Notes"
                yield from texts
        elif name == "tracked-changes":
            self.left_out["tracked deletions"] += sum(1 for _ in element.iter("{*}deletion"))
        elif name in ("annotation", "note"):
            yield from self._behind(element)
        elif name in ("title", "desc") and (element.text or "").strip():
            yield f"[{' '.join(element.text.split())}]"
        elif name not in _WITHOUT_TEXT:
            yield from self._blocks(element, depth)

    def _object(self, element: Element) -> Iterator[str]:
        """A chart or a formula, which is a document in the archive."""
        part = posixpath.normpath(posixpath.join(attribute(element, "href") or "", "content.xml"))
        root: Element = self.archive.readable_xml(part, self.left_out) if self.archive.has(part) else element
        if root is None:
            return
        for formula in [root] if local(root) == "math" else root.iterchildren("{*}math"):
            # The formula as its author typed it, where it is there.
            typed = formula.findtext(".//{*}annotation")
            yield " ".join((typed or " ".join(formula.itertext())).split())
        for body in root.iterchildren("{*}body"):
            yield from self._blocks(body)
        self.left_out["embedded files"] += root is element and not len(element)

    def _list(self, element: Element, depth: int) -> Iterator[str]:
        for item in element.iterchildren("{*}list-item", "{*}list-header"):
            first = True
            for block in self._blocks(item, depth + 1):
                yield "  " * depth + f"- {block}" if first and not block.lstrip().startswith("- ") else block
                first = False

    def _page(self, page: Element) -> Iterator[str]:
        if attribute(page, "style-name") in self.hidden:
            self.left_out["hidden slides"] += 1
            return
        blocks = list(self._blocks(page))
        title = next((each for each in page.iter("{*}frame") if attribute(each, "class") == "title"), None)
        heading = "" if title is None else " ".join(" ".join(self._blocks(title)).split())
        yield f"# {heading or attribute(page, 'name') or 'Slide'}"
        yield from (block for block in blocks if block != heading)

    def _inline(self, element: Element) -> tuple[str, list[str]]:
        """The text of a paragraph, and what stands behind it: notes, comments, text boxes."""
        parts, behind = [element.text or ""], list[str]()
        for child in element.iterchildren():
            name = local(child)
            if name == "s":
                count = attribute(child, "c") or "1"
                parts.append(" " * min(int(count) if count.isdecimal() else 1, _MAX_REPEATED))
            elif name in ("tab", "line-break"):
                parts.append(" " if name == "tab" else "\n")
            elif name in ("annotation", "note"):
                behind += self._behind(child)
            elif name in ("frame", "custom-shape", "rect", "g", "object", "table"):
                behind += self._blocks(child)
            elif name and name not in ("annotation-end", "hidden-text"):
                text, more = self._inline(child)
                parts.append(text)
                behind += more
            parts.append(child.tail or "")
        return "".join(parts), behind

    def _behind(self, note: Element) -> list[str]:
        is_comment = local(note) == "annotation"
        inside = note if is_comment else note.find("{*}note-body")
        texts = [] if inside is None else list(self._blocks(inside))
        text = " ".join(" ".join(texts).split())
        return [f"Comment: {text}" if is_comment else f"Note: {text}"] if text else []

    def _table(self, table: Element) -> Iterator[str]:
        if attribute(table, "style-name") in self.hidden:
            self.left_out["hidden sheets"] += 1
            return
        rows, comments = list[list[str]](), list[str]()
        for row in _descend(table, "table-row"):
            if attribute(row, "visibility") == "collapse":
                self.left_out["hidden rows"] += any(self._cell(cell, []) for cell in row.iterchildren())
                continue
            texts = list[str]()
            for cell in row.iterchildren("{*}table-cell", "{*}covered-table-cell"):
                texts += [self._cell(cell, comments)] * min(_repeated(cell), _MAX_REPEATED)
            while texts and not texts[-1]:
                texts.pop()
            rows += [texts] * (min(_repeated(row), _MAX_REPEATED) if texts else 0)
        if (name := attribute(table, "name")) and table.getparent() is not None and _is_sheet(table):
            yield f"## {name}"
        if text := markdown_table(rows):
            yield text
        yield from comments
        for shapes in table.iterchildren("{*}shapes"):
            yield from self._blocks(shapes)

    def _cell(self, cell: Element, comments: list[str]) -> str:
        """What a cell shows, which is stored beside its value."""
        texts = []
        for child in cell.iterchildren():
            if local(child) == "annotation":
                comments += self._behind(child)
            elif local(child) == "p":
                text, behind = self._inline(child)
                texts.append(text)
                comments += behind
            else:
                texts += self._block(child, 0)
        shown = " ".join(text for text in texts if text)
        return shown or next((value for name in _VALUES if (value := attribute(cell, name))), "")


def _is_sheet(table: Element) -> bool:
    return local(table.getparent()) == "spreadsheet"


def _descend(table: Element, name: str) -> Iterator[Element]:
    """The rows of a table, in groups or not, and not those of a table in one of its cells."""
    for child in table.iterchildren():
        if local(child) == name:
            yield child
        elif local(child) in ("table-header-rows", "table-row-group", "table-rows"):
            yield from _descend(child, name)


def _repeated(element: Element) -> int:
    name = "number-rows-repeated" if local(element) == "table-row" else "number-columns-repeated"
    count = attribute(element, name) or "1"
    return int(count) if count.isdecimal() else 1
