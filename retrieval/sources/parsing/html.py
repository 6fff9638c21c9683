"""HTML -> Markdown: what a browser shows, with titles and descriptions of pictures.

Left out and counted is what the page itself hides: `hidden`, `display: none` or `visibility: hidden` in a `style`
attribute. Scripts, styles and templates are no text of the page, and `<noscript>` is what only readers without scripts
see, as Tandem is one. Style sheets are not applied: what only they hide is read.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.parsed import Parsed
from retrieval.sources.parsing.text import decode, decode_marked, find_codec

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import Tag

_META = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,200}encoding\s*=\s*[\"']([\w.:-]{1,40})", re.IGNORECASE)
_DECLARED_WITHIN = 4096
_DISPLAY = re.compile(r"(?:^|;)\s*display\s*:\s*([\w-]+)", re.IGNORECASE)
_VISIBILITY = re.compile(r"(?:^|;)\s*visibility\s*:\s*(\w+)", re.IGNORECASE)
_NO_TEXT = frozenset({"script", "style", "template"})
_APART = frozenset({
    "address", "aside", "audio", "body", "button", "canvas", "center", "desc", "details", "dialog", "fieldset",
    "figure", "footer", "form", "head", "header", "hgroup", "html", "iframe", "legend", "listing", "main", "menu",
    "nav", "noscript", "object", "optgroup", "option", "plaintext", "search", "select", "summary", "text", "textarea",
    "title", "video", "xmp",
})  # fmt: skip
_INLINE = frozenset({"a", "b", "code", "del", "em", "i", "kbd", "mark", "s", "samp", "strong", "u"})
_ALSO_INLINE = frozenset({
    "abbr", "bdi", "bdo", "big", "cite", "font", "small", "span", "sub", "sup", "tt", "var", "wbr",
})  # fmt: skip
# Start tags whose elements end others that are open, and the elements beyond which they end none.
_CELL = ("table", "td", "th", "caption", "button", "object")
_GROUPS = ("thead", "tbody", "tfoot", "colgroup", "caption", "tr", "td", "th")
_ENDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys((
        "p", "address", "article", "aside", "blockquote", "center", "details", "dialog", "dir", "div", "dl", "fieldset",
        "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr",
        "listing", "main", "menu", "nav", "ol", "pre", "search", "section", "summary", "table", "ul",
    ), (("p",), _CELL)),
    "li": (("li", "p"), (*_CELL, "ul", "ol", "menu")),
    **dict.fromkeys(("dt", "dd"), (("dt", "dd", "p"), (*_CELL, "dl"))),
    "option": (("option",), ("select", "optgroup", "datalist")), "optgroup": (("option", "optgroup"), ("select",)),
    **dict.fromkeys(("thead", "tbody", "tfoot"), (_GROUPS, ("table",))),
    "tr": (_GROUPS[3:], ("table",)), "td": (("caption", "td", "th"), ("table",)),
    "th": (("caption", "td", "th"), ("table",)),
}  # fmt: skip
_MOST_WRONG = 1000
"""A page may have one byte in so many that is not in its charset, as pasted words leave them."""
MAX_DEPTH = 300
"""Elements within elements, where a page becomes plain text: Markdown of it takes a call within a call."""


def read_html(content: bytes, encoding: str | None, declared: str | None = None) -> Parsed:
    """A page.

    Args:
        encoding: what the source says of files that say nothing themselves and are not UTF-8.
        declared: the charset of the HTTP header.

    Raises:
        Unreadable: it is in no encoding that is known.
    """
    text, num_wrong = decode_html(content, encoding, declared)
    parsed = html_markdown(text)
    return Parsed(parsed.text, parsed.left_out + Counter({"bytes that are not in the charset of the page": num_wrong}))


def decode_html(content: bytes, encoding: str | None, declared: str | None) -> tuple[str, int]:
    """The text of a page, and how many bytes of it are not in its charset.

    A byte order mark is believed first, then the HTTP header, then the page, as the HTML standard has it; then UTF-8,
    then what the source says.

    Raises:
        Unreadable: it is in none of these.
    """
    if (marked := decode_marked(content)) is not None:
        return marked, 0
    head = content[:_DECLARED_WITHIN]
    said = _META.search(head) or _XML.search(head)
    label = declared or (said[1].decode() if said else None)
    codec = find_codec(label) if label else None
    if codec and codec.startswith("utf-16") and not declared:
        codec = "utf-8"  # a page whose declaration can be read is not UTF-16
    if codec is None:
        return decode(content, encoding), 0
    text = content.decode(codec, errors="replace")
    num_wrong = text.count("\ufffd") - content.count("\ufffd".encode())
    if num_wrong <= len(text) / _MOST_WRONG or (num_wrong == 1 and len(text) > 100):
        return text, max(num_wrong, 0)
    try:
        return decode(content, encoding), 0
    except Unreadable:
        raise Unreadable(f"says that it is {label}, and {num_wrong} places in it are not") from None


def html_markdown(text: str) -> Parsed:
    """What a page shows, as Markdown; its title is the heading where no other says the same."""
    soup = _soup(text)
    for frame in soup.find_all("iframe", srcdoc=True):
        frame.clear()
        frame.append(_soup(str(frame["srcdoc"])))
    left_out = Counter[str]()
    title = next((" ".join(each.get_text().split()) for each in soup.find_all("title") if _is_title(each)), "")
    _remove(soup, left_out)
    elements = soup.find_all(True)
    for element in elements:
        _name_what_has_no_text(element, left_out)
    # A soft hyphen is a place where a word may be divided, and part of none.
    shown = _markdown(soup, elements).replace("\xad", "").strip()
    says_it = not title or title in " ".join(shown[: 2 * len(title) + 200].split())
    return Parsed(shown if says_it else f"# {title}\n\n{shown}", left_out)


def _soup(text: str) -> "BeautifulSoup":
    """The elements of a page. Those that end without an end tag end where the HTML standard says."""
    from bs4 import BeautifulSoup

    class Page(BeautifulSoup):
        def handle_starttag(self, name: str, *others: Any, **named: Any) -> "Tag | None":
            ended, within = _ENDS.get(name, ((), ()))
            last = None
            for element in reversed(self.tagStack) if ended else ():
                if element.name in within:
                    break
                last = element if element.name in ended else last
            if last is not None:
                self.endData()
                while self.currentTag is not last:
                    self.popTag()
                self.popTag()
            return super().handle_starttag(name, *others, **named)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a page is also XML, or as short as a file's name
        return Page(text, "html.parser")


def _is_title(element: "Tag") -> bool:
    """Of the page, and not of a drawing in it; one that nothing closes has the page in it."""
    return element.find_parent("svg") is None and element.find(True) is None


def _remove(soup: "BeautifulSoup", left_out: Counter[str]) -> None:
    """What is no text of the page, and what the page hides. A head that nothing closes has the page in it."""
    from bs4.element import CData, PreformattedString, Tag

    waiting: list[Tag] = [soup]
    while waiting:
        for each in list(waiting.pop().contents):
            if not isinstance(each, Tag):
                if isinstance(each, PreformattedString) and not isinstance(each, CData):
                    each.extract()  # a comment, a declaration, an instruction
            elif each.name in _NO_TEXT or (each.name == "title" and _is_title(each)):
                each.decompose()
            elif each.attrs and each.name not in ("html", "body") and _is_hidden(each):
                left_out["elements that the page hides"] += bool(each.get_text(strip=True))
                each.decompose()
            else:
                waiting.append(each)


def _is_hidden(element: "Tag") -> bool:
    hidden = element.attrs.get("hidden")
    if hidden is not None and str(hidden).lower() != "until-found":
        return True
    style = str(element.attrs.get("style") or "")
    if [each.lower() for each in _DISPLAY.findall(style)][-1:] == ["none"]:
        return True
    # What is in such an element may be visible again.
    return _visibility(style) in ("hidden", "collapse") and not element.find(
        style=lambda each: _visibility(each or "") == "visible"
    )


def _visibility(style: str) -> str:
    return "".join(_VISIBILITY.findall(style)[-1:]).lower()


def _name_what_has_no_text(element: "Tag", left_out: Counter[str]) -> None:
    """Words that a browser shows and that stand in an attribute become text."""
    name = element.name
    if name == "img":
        words = element.get("alt") or element.get("title")
        left_out["pictures without a description"] += words is None and "alt" not in element.attrs
        element.replace_with(f"[{words}]" if words else "")
    elif name == "input":
        kind = str(element.get("type", "text")).lower()
        words = element.get("alt") if kind == "image" else element.get("value") or element.get("placeholder")
        if words and kind not in ("hidden", "checkbox", "radio", "password", "file"):
            element.replace_with(f" {words} ")
    elif name in ("textarea", "area", "option", "optgroup", "track"):
        words = element.get("placeholder") or element.get("alt") or element.get("label")
        if words and (name == "optgroup" or not element.get_text(strip=True)):
            element.insert(0, f"{words} ")
    elif name == "mfrac":
        element.string = "/".join(f"({each.get_text()})" for each in element.find_all(True, recursive=False))
    elif name in ("abbr", "dfn", "acronym"):
        words = str(element.get("title") or "").strip()
        if words not in ("", element.get_text(strip=True)):
            element.append(f" ({words})")


def _markdown(soup: "BeautifulSoup", elements: "Iterable[Tag]") -> str:
    """Plain text where elements lie so deep in each other that Markdown of them cannot be made."""
    from markdownify import ATX, MarkdownConverter

    if _deepest(soup, elements) > MAX_DEPTH:
        for element in elements:
            if element.name not in _INLINE | _ALSO_INLINE:
                element.insert(0, "\n")
                element.append("\n")
        return re.sub(r"\s*\n\s*", "\n", soup.get_text())
    for element in elements:
        _divide(element)
    converter = MarkdownConverter(heading_style=ATX, escape_underscores=False, escape_asterisks=False)
    return str(converter.convert_soup(soup))


def _divide(element: "Tag") -> None:
    """What a browser shows apart is apart in Markdown, and the letters of a word stay together in it."""
    if element.name in _APART:
        element.name = "div"
    elif element.name in _INLINE and element.parent is not None:
        before, after, own = element.previous_sibling, element.next_sibling, element.get_text()
        goes_on = isinstance(before, str) and before[-1:].isalnum() and own[:1].isalnum()
        if goes_on or (isinstance(after, str) and after[:1].isalnum() and own[-1:].isalnum()):
            element.unwrap()


def _deepest(soup: "BeautifulSoup", elements: "Iterable[Tag]") -> int:
    depths = {id(soup): 0}
    for element in elements:  # in the order of the page: parents first; what was replaced has no parent
        depths[id(element)] = depths.get(id(element.parent), 0) + 1
    return max(depths.values())
