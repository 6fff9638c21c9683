"""What office documents of every kind have in common: descriptions of pictures, charts, diagrams, drawn text."""

from collections.abc import Iterator

from retrieval.sources.parsing.office.archive import Element, attribute, local
from retrieval.sources.parsing.office.formulas import formula
from retrieval.sources.parsing.parsed import markdown_table


def description(drawing: Element) -> str:
    """The texts that stand for pictures and shapes: their descriptions, or their titles; empty where they have none."""
    texts = [each.get("descr") or each.get("title") for each in drawing.iter("{*}docPr", "{*}cNvPr")]
    # The older way to draw: <v:shape alt="...">.
    texts += [each.get("alt") for each in drawing.iter("{*}shape")]
    return " ".join(dict.fromkeys(" ".join(text.split()) for text in texts if text))


def paragraphs(element: Element) -> Iterator[str]:
    """The paragraphs of drawn text (DrawingML), each with its line breaks."""
    for paragraph in element.iter("{*}p"):
        text = "".join(_runs(paragraph))
        if text.strip():
            yield text.strip()


def _runs(paragraph: Element) -> Iterator[str]:
    for each in paragraph.iter("{*}t", "{*}br", "{*}tab", "{*}oMath"):
        if local(each) == "oMath":
            yield formula(each)
        elif next(each.iterancestors("{*}oMath"), None) is None:
            yield "\n" if local(each) == "br" else " " if local(each) == "tab" else each.text or ""


def diagram_text(root: Element) -> str:
    """The points of a diagram (SmartArt), one a line."""
    return "\n".join(f"- {' '.join(text.split())}" for text in paragraphs(root))


def chart_text(root: Element) -> str:
    """A chart as a table: its categories down, its series across; its titles above.

    The values are those that were stored when the chart was last drawn.
    """
    titles = [" ".join(text.split()) for text in paragraphs(root)]
    series = list(root.iter("{*}ser"))
    names = [_first(each, "tx") for each in series]
    columns = [_points(each, "val") or _points(each, "yVal") for each in series]
    categories = [_points(each, "cat") or _points(each, "xVal") for each in series]
    rows = [["", *names]]
    known: dict[str, str] = {}
    for each in categories:
        known |= {key: text for key, text in each.items() if key not in known}
    keys = dict.fromkeys([*known, *(key for column in columns for key in column)])
    rows += [[known.get(key, ""), *(column.get(key, "") for column in columns)] for key in keys]
    table = markdown_table(rows) if series else ""
    # Charts of 2016 and later (waterfall, sunburst) keep all of it as points.
    others = [] if series else [text for each in root.iter("{*}pt", "{*}v") if (text := (each.text or "").strip())]
    return "\n\n".join(part for part in ["\n".join(titles), table, " ".join(others)] if part)


def _first(series: Element, name: str) -> str:
    return next(iter(_points(series, name).values()), "")


def _points(series: Element, name: str) -> dict[str, str]:
    """The texts of a part of a series by their position."""
    part = series.find(f"{{*}}{name}")
    if part is None:
        return {}
    points: dict[str, str] = {}
    for each in part.iter("{*}pt"):  # several levels of a category have one position
        key, text = attribute(each, "idx") or "", each.findtext("{*}v") or ""
        points[key] = f"{points[key]} {text}" if key in points else text
    text = part.findtext("{*}v")
    return points or ({"0": text} if text else {})
