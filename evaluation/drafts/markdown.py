"""What a Markdown document is made of: its title, tables, lists and paragraphs, each with its place in the text.

outline = read_outline(document.text)
for block in outline.blocks:
    print(block.headings, type(block).__name__)

Front matter, code blocks, quotes, HTML, comments and admonitions are left out: they hold notes and examples, not what
the document states.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A(?:-{3,}|\+{3})[ \t]*\r?\n(?:.*\n)*?(?:-{3,}|\.\.\.|\+{3})[ \t]*(?:\r?\n|\Z)")
_TITLE = re.compile(r"^title\s*[:=]\s*(.+?)\s*$", re.MULTILINE)
_NOTES = "note|warning|caution|tip|info|danger|important|alert|admonition|hint|callout|details"
_LEFT_OUT = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|^[ \t]*(?P<colons>:{3,})[ \t]*\{?\w.*?(?:^[ \t]*(?P=colons)[ \t]*$|\Z)"
    rf"|\{{\{{[<%]\s*(?P<note>{_NOTES})\b.{{0,4000}}?\{{\{{[<%]\s*/\s*(?P=note)\s*[%>]\}}\}}"
    r"|\{\{[<%][^{}]{0,500}[%>]\}\}|\{%[^{}]{0,500}%\}"
    r"|^[ \t]*(?:!!!|\?\?\?\+?)[ \t].*\n(?:(?:[ \t]{2,}.*|[ \t]*)\n)*",
    re.MULTILINE | re.DOTALL,
)
_NO_BLOCK = re.compile(r"[<{>|]|!\[|:::|===|!!!|\?\?\?|import |export |\[\[?_?TOC_?\]\]?|%%|\.\. ")
_HARMLESS_TAG = re.compile(r"</?(?:a|abbr|b|br|em|i|kbd|nobr|small|span|strong|sub|sup)\b[^>]*>", re.IGNORECASE)
_HEADING_MARKS = re.compile(r"\s*(?:\{\s*[#:.][^}]*\}|#+)\s*$")


@dataclass(frozen=True)
class Text:
    """`document[start:end]` are the lines of a paragraph, an item or a cell; `raw` is its Markdown."""

    raw: str
    start: int
    end: int


@dataclass(frozen=True)
class Paragraph:
    text: Text
    headings: tuple[str, ...]
    follows_heading: bool
    """Whether it is the first thing below the last of its headings."""


@dataclass(frozen=True)
class Items:
    """The items of a list that is in no other list, each as its first paragraph."""

    items: tuple[Text, ...]
    headings: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    header: tuple[Text, ...]
    rows: tuple[tuple[Text, ...], ...]
    headings: tuple[str, ...]


@dataclass(frozen=True)
class Outline:
    """`title` is None where the document has none; headings are those below the title, from the outermost."""

    title: str | None
    blocks: tuple[Paragraph | Items | Table, ...]
    headings: tuple[tuple[str, ...], ...]


def read_outline(text: str) -> Outline:
    """Divide a document by the rules of GitHub's Markdown. What is no Markdown becomes paragraphs."""
    front_matter = _FRONT_MATTER.match(text)
    named = _TITLE.search(front_matter[0]) if front_matter else None
    masked = _LEFT_OUT.sub(lambda match: _blank(match[0]), text)
    if front_matter:
        masked = _blank(front_matter[0]) + masked[front_matter.end() :]
    return _Reader(masked, plain_text(named[1].strip("\"'")) if named else None).read()


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def plain_text(raw: str) -> str:
    """Without marks of emphasis and links; code spans keep their backticks. Empty where there is an image or HTML
    that is more than emphasis, a link or an anchor."""
    (inline,) = _parser().parseInline(raw)
    parts = [_plain(token) for token in inline.children or ()]
    return "" if None in parts else " ".join("".join(part or "" for part in parts).split())


def _plain(token: "Token") -> str | None:
    if token.type == "html_inline" and _HARMLESS_TAG.fullmatch(token.content):
        return " " if token.content.startswith("<br") else ""
    if token.type in ("image", "html_inline"):
        return None
    if token.type == "code_inline":
        return f"`{token.content}`"
    return " " if token.type in ("softbreak", "hardbreak") else token.content


def _blank(text: str) -> str:
    """As many characters and lines, and nothing in them."""
    return re.sub(r"[^\r\n]", " ", text)


class _Reader:
    """One walk over the tokens. Levels are the headings' numbers; the first of level 1 is the title."""

    def __init__(self, text: str, title: str | None) -> None:
        self.tokens = _parser().parse(text)
        self.text, self.title = text, title
        self.starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text)), len(text)]
        self.open: list[tuple[int, str]] = []
        self.all: list[tuple[str, ...]] = []
        self.has_first_heading = self.follows_heading = False

    def read(self) -> Outline:
        blocks = tuple(self._blocks())
        return Outline(self.title, blocks, tuple(self.all))

    def _blocks(self) -> Iterator[Paragraph | Items | Table]:
        place = 0
        while place < len(self.tokens):
            token, end = self.tokens[place], self._end(place)
            inside = self.tokens[place + 1 : end]
            if token.type == "heading_open":
                self._heading(int(token.tag[1]), inside[0].content)
            elif token.type == "table_open":
                yield from self._table(inside)
            elif token.type in ("bullet_list_open", "ordered_list_open"):
                yield Items(tuple(self._items(inside, token.level)), self._headings())
            elif token.type == "paragraph_open" and (text := self._text(inside[0])):
                yield Paragraph(text, self._headings(), self.follows_heading)
            self.follows_heading = token.type == "heading_open"
            place = end + 1

    def _end(self, place: int) -> int:
        """The number of the token that closes this one."""
        token = self.tokens[place]
        if token.nesting != 1:
            return place
        closing = token.type.replace("_open", "_close")
        numbers = range(place + 1, len(self.tokens))
        return next(n for n in numbers if self.tokens[n].type == closing and self.tokens[n].level == token.level)

    def _heading(self, level: int, raw: str) -> None:
        text = _HEADING_MARKS.sub("", plain_text(raw)).strip(" :")
        if not self.has_first_heading and level == 1:
            self.title = text or self.title
        self.has_first_heading = self.has_first_heading or level == 1
        self.open = [(each, name) for each, name in self.open if each < level]
        self.open.append((level, text))
        self.all.append(self._headings())

    def _headings(self) -> tuple[str, ...]:
        return tuple(name for _, name in self.open if name and name != self.title)

    def _text(self, token: "Token") -> Text | None:
        if token.map is None or _NO_BLOCK.match(token.content):
            return None
        return Text(token.content, self.starts[token.map[0]], self.starts[token.map[1]])

    def _items(self, tokens: "list[Token]", level: int) -> Iterator[Text]:
        for number, token in enumerate(tokens):
            is_first = number > 1 and tokens[number - 2].type == "list_item_open"
            if token.type == "inline" and is_first and token.level == level + 3 and (text := self._text(token)):
                yield text

    def _table(self, tokens: "list[Token]") -> Iterator[Table]:
        rows: list[list[Text]] = []
        for number, token in enumerate(tokens):
            if token.type == "tr_open" and token.map is not None:
                rows.append([])
                place, end = self.starts[token.map[0]], self.starts[token.map[1]]
            elif token.type == "inline" and tokens[number - 1].type in ("th_open", "td_open"):
                found = self.text.find(token.content, place, end)
                # A bar in a cell is escaped in the text and not in the token: such a cell is not quoted from.
                start, place = (found, found + len(token.content)) if found >= 0 else (place, place)
                rows[-1].append(Text(token.content if found >= 0 else "", start, place))
        if rows:
            yield Table(tuple(rows[0]), tuple(map(tuple, rows[1:])), self._headings())
