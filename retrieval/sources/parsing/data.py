"""JSON, XML and notebooks: every text in them, readable as it stands."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.html import html_markdown
from retrieval.sources.parsing.office.archive import Element, local, parse_xml
from retrieval.sources.parsing.parsed import Parsed
from retrieval.sources.parsing.text import decode, fenced, without_escapes

_DEEPEST = 20
"""Levels that are shown by indentation."""


def read_data(content: bytes, suffix: str, encoding: str | None) -> Parsed:
    """A file of one of the `DATA_SUFFIXES`. Raises Unreadable."""
    if suffix == ".xml":
        return read_xml(content)
    return (read_notebook if suffix == ".ipynb" else read_json)(content, encoding)


def read_json(content: bytes, encoding: str | None) -> Parsed:
    """A list with one line a member, in lists within lists as the value has them; texts without their escapes.

    Values one after the other, as in JSON lines, are a list. What is not quite JSON, such as a file with comments, is
    kept as it stands.

    Raises:
        Unreadable: it is not text.
    """
    text = decode(content, encoding)
    try:
        values = list(_values(text))
    except (ValueError, RecursionError):
        return Parsed(fenced(text, "json"))
    # Half a character is no character of any encoding.
    lines = _member_lines(values[0] if len(values) == 1 else values)
    return Parsed("\n".join(lines).encode(errors="replace").decode())


def _values(text: str) -> Iterator[Any]:
    decoder, blank = json.JSONDecoder(object_pairs_hook=_members, parse_float=str), re.compile(r"\s*")
    at = len(text) - len(text.lstrip())
    if at == len(text):
        raise ValueError("it is empty")
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at += len(blank.match(text, at)[0])  # type: ignore[index]


def _members(pairs: list[tuple[str, Any]]) -> Any:
    """One that has a key twice is a list of its members."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else [{key: value} for key, value in pairs]


def _member_lines(root: Any) -> Iterator[str]:
    waiting: list[tuple[int, str, Any]] = [(0, "", root)]
    while waiting:
        depth, name, value = waiting.pop()
        inner: list[tuple[int, str, Any]] = []
        if isinstance(value, dict):
            inner = [(depth + 1, key, each) for key, each in value.items()]
        elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
            inner = [(depth + 1, f"{name} {number}".strip(), each) for number, each in enumerate(value, 1)]
        if inner:
            if name:
                yield _line(depth, name, "")
            waiting += reversed(inner)
        else:
            values = value if isinstance(value, list) else [] if value == {} else [value]
            yield _line(depth, name, ", ".join(map(_scalar, values)))


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _line(depth: int, name: str, text: str) -> str:
    text = " ".join(text.split())
    return f"{'  ' * min(max(depth - 1, 0), _DEEPEST)}- {name}" + (f": {text}" if name and text else text)


def read_xml(content: bytes) -> Parsed:
    """A list with one line an element: its name, its attributes, its text.

    Raises:
        Unreadable: it is no XML, or declares entities.
    """
    return Parsed("\n".join(_element_lines(parse_xml(content))))


def _element_lines(root: Element) -> Iterator[str]:
    waiting: list[tuple[int, Element]] = [(1, root)]
    while waiting:
        depth, element = waiting.pop()
        # Words with elements in between are one text.
        is_mixed = any((child.tail or "").strip() for child in element)
        attributes = [
            f"{key.rpartition('}')[2]}={value}"
            for each in (element.iter("*") if is_mixed else [element])
            for key, value in each.attrib.items()
        ]
        name = local(element) + (f" ({', '.join(attributes)})" if attributes else "")
        yield _line(depth, name, "".join(_mixed(element)) if is_mixed else element.text or "")
        waiting += [(depth + 1, child) for child in reversed(element) if not is_mixed and local(child)]


def _mixed(element: Element) -> Iterator[str]:
    """Text with elements in it: those of text alone may be a part of a word, such as an index, and others are not."""
    yield element.text or ""
    for child in element:
        apart = "" if local(child) and len(child) == 0 and (child.text or "").strip() else " "
        yield apart
        yield from _mixed(child) if local(child) else ()
        yield apart + (child.tail or "")


def read_notebook(content: bytes, encoding: str | None) -> Parsed:
    """The cells of a Jupyter notebook, with what they printed; pictures are counted.

    Raises:
        Unreadable: it is no notebook.
    """
    try:
        book = json.loads(decode(content, encoding))
        worksheets = book.get("worksheets")  # before version 4
        cells = [cell for sheet in worksheets for cell in sheet["cells"]] if worksheets else book["cells"]
        language = str(((book.get("metadata") or {}).get("kernelspec") or {}).get("language", "python"))
        left_out = Counter[str]()
        parts = [part for cell in cells for part in _cell(cell, language, left_out)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"is no notebook: {type(error).__name__}: {error}"[:200]) from error
    return Parsed("\n\n".join(part for part in parts if part.strip()), left_out)


def _cell(cell: dict[str, Any], language: str, left_out: Counter[str]) -> Iterator[str]:
    source = _joined(cell.get("source", cell.get("input", "")))
    if cell["cell_type"] == "code":
        yield fenced(source, language)
        for output in cell.get("outputs", ()):
            yield from _output(output, left_out)
    elif cell["cell_type"] == "heading":
        yield f"{'#' * int(cell.get('level', 1))} {source}"
    else:
        yield source


def _output(output: dict[str, Any], left_out: Counter[str]) -> Iterator[str]:
    data = output.get("data") or {}
    left_out["pictures"] += any(kind.startswith("image/") for kind in data)
    plain = _joined(output.get("text", "")) or _joined(data.get("text/plain", ""))
    page = html_markdown(_joined(data["text/html"])) if "text/html" in data else None
    shown = _joined(data.get("text/markdown", "")) or (page.text if page else "") or _joined(data.get("text/latex", ""))
    if output.get("output_type") in ("error", "pyerr"):
        trace = "\n".join(map(str, output.get("traceback") or ()))
        plain = f"{trace}\n{output.get('ename')}: {output.get('evalue')}"
    # Of several ways to show the same, the plain one often names an object and no more.
    if len(set(shown.split())) > len(set(plain.split())) or re.fullmatch(r"<[^<>]*>", plain.strip()):
        left_out.update(page.left_out if page else ())
        yield shown or fenced(plain, "")
    else:
        yield fenced(without_escapes(plain), "")


def _joined(lines: Any) -> str:
    return "".join(map(str, lines)) if isinstance(lines, list) else str(lines)
