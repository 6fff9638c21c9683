"""A document -> its sections: the tree of headings, with the blocks below each.

What is a heading depends on the markup (`retrieval/sources/markup.py`). Lines are counted from 0 in the document as it
is, front matter included.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrieval.sources.markup import Markup

if TYPE_CHECKING:
    from markdown_it.tree import SyntaxTreeNode

MAX_TITLE_CHARACTERS = 200
MAX_FRONT_CHARACTERS = 65_536
# Of a longer heading no more than this is looked at for its title, which is shorter still.
_MAX_HEADING_CHARACTERS = 1000
_MAX_LEVEL = 6
# Rules of Markdown that make no sense elsewhere: headings in any other text, and in rst what its titles look like.
_HEADINGS = ["heading", "lheading"]
_NOT_IN_RST = [*_HEADINGS, "fence", "hr", "html_block", "reference", "blockquote"]
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+[ \t]*")


@dataclass(frozen=True)
class Heading:
    """A heading on the lines from `first` to `last`; `text` is what it says, with its marks inside."""

    level: int
    text: str
    first: int
    last: int


@dataclass
class Section:
    """Lines `heading` to `first` are its heading, `first` to `last` its own text, without that of its children."""

    level: int
    title: str
    heading: int
    first: int
    last: int
    front: int = 0
    """Number of lines of front matter, which are the document's first ones, that belong to it."""
    nodes: list["SyntaxTreeNode"] = field(default_factory=list)
    children: list["Section"] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The line after it and everything below it."""
        return self.children[-1].end if self.children else self.last


def read_outline(text: str, title: str, markup: Markup) -> Section:
    """The section that holds the whole document, named by its front matter, or else `title`.

    A document that is one section with its title is that section.
    """
    lines = text.split("\n")
    front, named = _front_matter(lines) if markup == "markdown" else (0, None)
    headings = list(_rst_headings(lines)) if markup == "rst" else []
    if markup == "titled" and lines[0].startswith("# "):
        headings = [Heading(1, lines[0][2:], 0, 1)]
    blank = {*range(front), *(line for each in headings for line in range(each.first, each.last))}
    nodes = _blocks("\n".join("" if number in blank else line for number, line in enumerate(lines)), markup)
    root = Section(0, named or title.replace("\n", " "), front, front, len(lines), front)
    path = [root]
    for each in sorted([*headings, *map(_heading_or_block, nodes)], key=_first_line):
        if not isinstance(each, Heading):
            path[-1].nodes.append(each)
            continue
        path[-1].last = each.first
        section = Section(each.level, _plain(each.text), each.first, each.last, len(lines))
        while path[-1].level >= section.level:
            path.pop()
        path[-1].children.append(section)
        path.append(section)
    if len(root.children) > 1 or any(line.strip() for line in lines[root.first : root.last]) or not root.children:
        return root
    root.children[0].front = front
    return root.children[0]


def _blocks(text: str, markup: Markup) -> "Sequence[SyntaxTreeNode]":
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    if markup != "markdown":
        parser.disable(_NOT_IN_RST if markup == "rst" else _HEADINGS)
    return SyntaxTreeNode(parser.parse(text)).children


def _heading_or_block(node: "SyntaxTreeNode") -> "Heading | SyntaxTreeNode":
    """A block is a heading where it is short enough for a title, or nothing but `#` makes it one: what is longer than
    that and stands above a line of dashes is a paragraph above a rule."""
    if node.type != "heading":
        return node
    assert node.map is not None
    text = node.children[0].content
    if len(text) > MAX_TITLE_CHARACTERS and not node.markup.startswith("#"):
        return node
    return Heading(int(node.tag[1]), text, *node.map)


def _first_line(each: "Heading | SyntaxTreeNode") -> int:
    if isinstance(each, Heading):
        return each.first
    assert each.map is not None
    return each.map[0]


def _front_matter(lines: Sequence[str]) -> tuple[int, str | None]:
    """Number of the lines of the front matter, and the title that it gives. Only a YAML mapping is front matter."""
    if lines[0].rstrip() != "---":
        return 0, None
    last, size = 0, 0
    for number, line in enumerate(lines[1:], 1):
        size += len(line) + 1
        if size > MAX_FRONT_CHARACTERS:
            break
        if line.rstrip() in ("---", "..."):
            last = number
            break
    values = _yaml("\n".join(lines[1:last])) if last else None
    if not isinstance(values, dict) or not values:
        return 0, None
    title = values.get("title")
    return last + 1, " ".join(title.split()) or None if isinstance(title, str) else None


def _yaml(text: str) -> Any:
    """What a text says in YAML, scalars as texts; None where it is none."""
    import yaml

    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return None


def _rst_headings(lines: Sequence[str]) -> Iterator[Heading]:
    """Titles that are underlined, and may be overlined; styles are levels in the order in which they come.

    As in docutils, a title is one line behind an empty one, and its underline has four marks or its length.
    """
    styles: list[tuple[str, bool]] = []
    taken = 0
    for number in range(len(lines) - 1):
        title, mark = lines[number].rstrip(), lines[number + 1].rstrip()
        if number < taken or not title or not _ADORNMENT.fullmatch(mark) or len(mark) < min(len(title), 4):
            continue
        before = lines[number - 1].rstrip() if number > taken else ""
        overlined = before == mark
        if _ADORNMENT.fullmatch(title) or not (overlined or (not before and not title[0].isspace())):
            continue
        style = (mark[0], overlined)
        if style not in styles:
            styles.append(style)
        taken = number + 2
        yield Heading(min(styles.index(style) + 1, _MAX_LEVEL), title.strip(), number - overlined, taken)


def _plain(heading: str) -> str:
    """A heading without its links' addresses and emphasis marks, on one line."""
    unlinked = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading[:_MAX_HEADING_CHARACTERS])
    return " ".join(re.sub(r"[*`]+", "", unlinked).split())
