"""What the styles and the numbering of a Word document say of a paragraph: its level as a heading, its number."""

import re
from collections.abc import Iterator

from retrieval.sources.parsing.office.archive import Element, attribute

_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
_DEEPEST = 6


class Styles:
    """The paragraph styles. Their names are English in every language of Word."""

    def __init__(self, root: Element | None) -> None:
        styles = [] if root is None else root.iterchildren("{*}style")
        self._styles = {attribute(style, "styleId") or "": style for style in styles}

    def level(self, properties: Element | None) -> int:
        """1 to 6 for a heading, 0 for other paragraphs."""
        if properties is None:
            return 0
        outline = properties.find("{*}outlineLvl")
        if outline is not None:
            return _level(outline)
        for style in self._chain(properties):
            name = _value(style, "name")
            if heading := _HEADING.match(name):
                return min(int(heading[1]), _DEEPEST)
            if name.lower() == "title":
                return 1
            outline = style.find("{*}pPr/{*}outlineLvl")
            if outline is not None:
                return _level(outline)
        return 0

    def numbered(self, properties: Element | None) -> Element | None:
        """The `numPr` of a paragraph or of its style."""
        if properties is None:
            return None
        own = properties.find("{*}numPr")
        styles = (style.find("{*}pPr/{*}numPr") for style in self._chain(properties))
        return own if own is not None else next((each for each in styles if each is not None), None)

    def _chain(self, properties: Element) -> Iterator[Element]:
        """The style of a paragraph and those that it is based on."""
        key, seen = _value(properties, "pStyle"), set[str]()
        while key in self._styles and key not in seen:
            seen.add(key)
            yield self._styles[key]
            key = _value(self._styles[key], "basedOn")


class Numbering:
    """The numbers that Word shows and does not store: each paragraph is asked for once, in its order."""

    def __init__(self, root: Element | None) -> None:
        self._levels: dict[str, dict[int, Element]] = {}
        self._counters: dict[str, dict[int, int]] = {}
        abstract = {} if root is None else {attribute(each, "abstractNumId"): each for each in root.iterchildren()}
        for number in [] if root is None else root.iterchildren("{*}num"):
            levels = abstract.get(_value(number, "abstractNumId"))
            overridden = number.iterfind("{*}lvlOverride/{*}lvl")
            found = [] if levels is None else [*levels.iterchildren("{*}lvl"), *overridden]
            self._levels[attribute(number, "numId") or ""] = {_int(attribute(each, "ilvl")): each for each in found}

    def number(self, properties: Element | None, styles: Styles) -> tuple[str, int]:
        """The number or dash before a paragraph and how deep its list is; empty and 0 where it is in none."""
        item = styles.numbered(properties)
        key = "0" if item is None else _value(item, "numId") or "0"
        if item is None or key == "0":
            return "", 0
        depth = min(_int(_value(item, "ilvl")), 8)
        levels = self._levels.get(key, {})
        level = levels.get(depth)
        kind = "bullet" if level is None else _value(level, "numFmt")
        if level is None or kind in ("bullet", "none", ""):
            return "" if kind == "none" else "-", depth
        counters = self._counters.setdefault(key, {})
        for deeper in [each for each in counters if each > depth]:
            del counters[deeper]
        counters[depth] = counters.get(depth, _start(level) - 1) + 1
        return self._shown(level, levels, counters), depth

    def _shown(self, level: Element, levels: dict[int, Element], counters: dict[int, int]) -> str:
        """`%1.%2` with the counters of the levels."""

        def counter(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            kind = _value(levels[at], "numFmt") if at in levels else "decimal"
            return _written(counters.get(at, _start(levels[at]) if at in levels else 1), kind)

        return re.sub(r"%([1-9])", counter, _value(level, "lvlText")).strip()


def _written(number: int, kind: str) -> str:
    """A number in one of the usual kinds; a decimal for the rare ones."""
    if kind in ("lowerLetter", "upperLetter") and number > 0:
        letter = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
        return letter.upper() if kind == "upperLetter" else letter
    if kind in ("lowerRoman", "upperRoman") and 0 < number < 4000:
        roman = ""
        for value, sign in _ROMAN:
            roman, number = roman + sign * (number // value), number % value
        return roman.upper() if kind == "upperRoman" else roman
    return f"{number:02}" if kind == "decimalZero" else str(number)


_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


def _start(level: Element) -> int:
    return _int(_value(level, "start") or "1")


def _level(outline: Element) -> int:
    """Of an outline level, which counts from 0; 9 is text."""
    level = _int(attribute(outline, "val"))
    return 0 if level >= 9 else min(level + 1, _DEEPEST)


def _value(element: Element, name: str) -> str:
    child = element.find(f"{{*}}{name}")
    return "" if child is None else attribute(child, "val") or ""


def _int(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
