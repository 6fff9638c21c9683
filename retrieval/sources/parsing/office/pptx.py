"""PPTX -> Markdown: each slide a section under its title, then its tables, charts, notes and comments.

Hidden slides are left out and counted, and so are pictures without a description.
"""

from collections import Counter
from collections.abc import Iterator

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.office.archive import Archive, Element, attribute, local, open_archive
from retrieval.sources.parsing.office.drawings import chart_text, description, diagram_text, paragraphs
from retrieval.sources.parsing.parsed import Parsed, markdown_table

_TITLES = frozenset({"title", "ctrTitle"})


def read_pptx(content: bytes) -> Parsed:
    """A presentation.

    Raises:
        Unreadable: it is none, is damaged, or is protected by a password.
    """
    with open_archive(content, "pptx") as archive:
        presentation = _Presentation(archive)
        return Parsed("\n\n".join(presentation.blocks()), presentation.left_out)


class _Presentation:
    def __init__(self, archive: Archive) -> None:
        self.archive, self.left_out = archive, Counter[str]()

    def blocks(self) -> Iterator[str]:
        for number, part in enumerate(self._slides(), 1):
            root = self.archive.readable_xml(part, self.left_out)
            if root is None:
                continue
            if root.get("show") in ("0", "false"):
                self.left_out["hidden slides"] += 1
            else:
                yield from self._slide(number, part, root)

    def _slides(self) -> Iterator[str]:
        """The parts of the slides, in their order."""
        try:
            root = self.archive.xml(self.archive.main)
        except KeyError as error:
            raise Unreadable(f"is damaged: it has no part {self.archive.main}") from error
        relations = self.archive.relations(self.archive.main)
        for slide in root.iterfind("{*}sldIdLst/{*}sldId"):
            # Its own id is a number, and the relation's is of another namespace.
            key = next((value for name, value in slide.attrib.items() if name.endswith("}id")), "")
            _, part = relations.get(key, ("", ""))
            if self.archive.has(part):
                yield part
            else:
                self.left_out["slides that are missing in the file"] += 1

    def _slide(self, number: int, part: str, root: Element) -> Iterator[str]:
        shapes = sorted(_shapes(root), key=_place)
        title = next((shape for shape in shapes if _kind(shape) in _TITLES), None)
        heading = "" if title is None else " ".join(" ".join(paragraphs(title)).split())
        yield f"# {heading or f'Slide {number}'}"
        for shape in shapes:
            if shape is not title:
                yield from self._shape(part, shape)
        for kind in ("package", "oleObject"):
            self.left_out["embedded files"] += len(self.archive.related(part, kind))
        for notes in self.archive.related(part, "notesSlide"):
            yield from self._notes(notes)
        for comments in self.archive.related(part, "comments"):
            yield from _comments(self.archive.readable_xml(comments, self.left_out))

    def _shape(self, part: str, shape: Element) -> Iterator[str]:
        name = local(shape)
        if name == "grpSp":
            if text := _own_description(shape):
                yield text
            for each in _shapes_in(shape):
                yield from self._shape(part, each)
            return
        if text := description(shape):
            yield f"[{text}]"
        elif name == "pic":
            self.left_out["pictures without a description"] += 1
        tables = list(shape.iter("{*}tbl"))
        for table in tables:
            if text := markdown_table(_rows(table)):
                yield text
        if not tables and (text := "\n\n".join(paragraphs(shape))):
            yield text
        yield from self._graphics(part, shape)

    def _graphics(self, part: str, shape: Element) -> Iterator[str]:
        """Charts and diagrams, which are parts of their own."""
        relations = self.archive.relations(part)
        for each in shape.iter("{*}chart", "{*}relIds"):
            _, target = relations.get(attribute(each, "dm") or attribute(each, "id") or "", ("", ""))
            chart = self.archive.readable_xml(target, self.left_out)
            if chart is not None and (text := (chart_text if local(each) == "chart" else diagram_text)(chart)):
                yield text

    def _notes(self, part: str) -> Iterator[str]:
        """What the speaker says; the picture, number and date of the slide are left out."""
        root = self.archive.readable_xml(part, self.left_out)
        shapes = [shape for shape in _shapes(root) if _kind(shape) not in ("sldNum", "sldImg", "dt")]
        texts = [text for shape in shapes for text in paragraphs(shape)]
        if texts:
            yield "### Notes"
            yield "\n\n".join(texts)


def _comments(root: Element | None) -> Iterator[str]:
    for comment in () if root is None else root.iter("{*}cm", "{*}reply"):
        # The older kind has its text in one element, the newer one paragraphs.
        own = comment.find("{*}txBody")
        texts = [comment.findtext("{*}text") or "", *(paragraphs(own) if own is not None else ())]
        if text := " ".join(" ".join(texts).split()):
            yield f"Comment: {text}"


def _shapes(root: Element | None) -> list[Element]:
    tree = None if root is None else root.find("{*}cSld/{*}spTree")
    return [] if tree is None else list(_shapes_in(tree))


def _shapes_in(group: Element) -> Iterator[Element]:
    """The shapes of a group; of two ways to write one, the newer where it says something."""
    for child in group.iterchildren():
        if local(child) == "AlternateContent":
            choices = [each for each in (child.find("{*}Choice"), child.find("{*}Fallback")) if each is not None]
            said = [each for each in choices if next(each.iter("{*}t", "{*}chart", "{*}relIds"), None) is not None]
            yield from _shapes_in((said or choices)[0]) if choices else ()
        elif local(child) not in ("nvGrpSpPr", "grpSpPr", "extLst", ""):
            yield child


def _kind(shape: Element) -> str:
    """Which placeholder of its layout a shape is, such as title; empty where it is none."""
    placeholder = next(shape.iter("{*}ph"), None) if local(shape) == "sp" else None
    return "" if placeholder is None else placeholder.get("type", "")


def _place(shape: Element) -> tuple[int, int]:
    """Its top and left edge; what lies where its layout says comes first."""
    offset = next(shape.iter("{*}off"), None)
    if offset is None:
        return -1, -1
    return _int(offset.get("y")), _int(offset.get("x"))


def _int(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0


def _own_description(group: Element) -> str:
    properties = group.find("{*}nvGrpSpPr/{*}cNvPr")
    text = "" if properties is None else properties.get("descr") or properties.get("title") or ""
    return f"[{' '.join(text.split())}]" if text.strip() else ""


def _rows(table: Element) -> list[list[str]]:
    """Cells that go over several rows are in each."""
    rows: list[list[str]] = []
    for row in table.iterfind("{*}tr"):
        texts = []
        for at, cell in enumerate(row.iterfind("{*}tc")):
            text = " ".join(paragraphs(cell))
            if cell.get("vMerge") in ("1", "true") and not text and rows and at < len(rows[-1]):
                text = rows[-1][at]
            texts.append(text)
        rows.append(texts)
    return rows
