"""HTML -> Markdown: what a browser shows, with titles and descriptions of pictures.

Left out and counted is what the page itself hides: `hidden`, `display: none` or `visibility: hidden` in a `style`
attribute. Scripts, styles and templates are no text of the page, and `<noscript>` is what only readers without scripts
see, as Tandem is one. Style sheets are not applied: what only they hide is read.
"""

import re
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.parsed import Parsed
from retrieval.sources.parsing.text import decode, decode_marked, find_codec

if TYPE_CHECKING:
    from bs4 import BeautifulSoup
    from bs4.element import Tag

_META = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,200}encoding\s*=\s*[\"']([\w.:-]{1,40})", re.IGNORECASE)
_DECLARED_WITHIN = 4096
_HIDING = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.IGNORECASE)
_NO_TEXT = ("script", "style", "template", "head")
_APART = (
    "address", "aside", "body", "button", "center", "details", "dialog", "fieldset", "figure", "footer", "form",
    "header", "hgroup", "html", "legend", "main", "menu", "nav", "noscript", "optgroup", "option", "search", "select",
    "summary", "text", "textarea",
)  # fmt: skip
_INLINE = ("a", "b", "code", "del", "em", "i", "kbd", "mark", "s", "samp", "strong", "u")
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
    from bs4 import BeautifulSoup
    from bs4.element import CData, PreformattedString

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a page is also XML, or as short as a file's name
        soup = BeautifulSoup(text, "html.parser")
    left_out = Counter[str]()
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for text_node in soup.find_all(string=lambda each: isinstance(each, PreformattedString)):
        if not isinstance(text_node, CData):  # comments, declarations, instructions
            text_node.extract()
    for element in soup.find_all(_NO_TEXT):
        if element.name != "head" or not element.find("body"):
            element.decompose()
    left_out["elements that the page hides"] += _remove_hidden(soup)
    _name_what_has_no_text(soup)
    # A soft hyphen is a place where a word may be divided, and part of none.
    shown = _markdown(soup).replace("\xad", "").strip()
    says_it = not title or title in " ".join(shown[: 2 * len(title) + 200].split())
    return Parsed(shown if says_it else f"# {title}\n\n{shown}", left_out)


def _remove_hidden(soup: "BeautifulSoup") -> int:
    """How many elements with text were removed; one within another counts once."""
    num_removed = 0
    for element in soup.find_all(_is_hidden):
        if not element.decomposed:
            num_removed += bool(element.get_text(strip=True))
            element.decompose()
    return num_removed


def _is_hidden(element: "Tag") -> bool:
    hidden = element.attrs.get("hidden")
    if hidden is not None and str(hidden).lower() != "until-found":
        return True
    return bool(_HIDING.search(str(element.attrs.get("style") or "")))


def _name_what_has_no_text(soup: "BeautifulSoup") -> None:
    """Words that a browser shows and that stand in an attribute become text."""
    for field in soup.find_all("input"):
        kind = str(field.get("type", "text")).lower()
        words = field.get("alt") if kind == "image" else field.get("value") or field.get("placeholder")
        if words and kind not in ("hidden", "checkbox", "radio", "password", "file"):
            field.replace_with(f" {words} ")
    for element in soup.find_all(["textarea", "area", "option", "optgroup", "track"]):
        words = element.get("placeholder") or element.get("alt") or element.get("label")
        if words and (element.name == "optgroup" or not element.get_text(strip=True)):
            element.insert(0, f"{words} ")
    for element in soup.find_all(["abbr", "dfn", "acronym"], title=True):
        if str(element["title"]).strip() != element.get_text(strip=True):
            element.append(f" ({element['title']})")
    for image in soup.find_all("img"):
        if not image.get("alt") and image.get("title"):
            image["alt"] = image["title"]
        if str(image.get("src") or "").lower().startswith("data:"):
            image["src"] = ""


def _divide(soup: "BeautifulSoup") -> None:
    """What a browser shows apart is apart in Markdown, and the letters of a word stay together in it."""
    for element in soup.find_all(_APART):
        element.name = "div"
    for element in soup.find_all(_INLINE):
        before, after, own = element.previous_sibling, element.next_sibling, element.get_text()
        goes_on = isinstance(before, str) and before[-1:].isalnum() and own[:1].isalnum()
        if goes_on or (isinstance(after, str) and after[:1].isalnum() and own[-1:].isalnum()):
            element.unwrap()


def _markdown(soup: "BeautifulSoup") -> str:
    """Plain text where elements lie so deep in each other that Markdown of them cannot be made."""
    from markdownify import ATX, MarkdownConverter

    if _deepest(soup) > MAX_DEPTH:
        return str(soup.get_text("\n", strip=True))
    _divide(soup)
    converter = MarkdownConverter(
        heading_style=ATX, escape_underscores=False, escape_asterisks=False, keep_inline_images_in=[]
    )
    return str(converter.convert_soup(soup))


def _deepest(soup: "BeautifulSoup") -> int:
    depths = {id(soup): 0}
    for element in soup.find_all(True):  # in the order of the page: parents first
        depths[id(element)] = depths[id(element.parent)] + 1
    return max(depths.values())
