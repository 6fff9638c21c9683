"""The report's plots as inline SVG: text that stays text, nothing to load, the same picture from the same data.

Each arm has a colour and a shape by its place among the arms, whatever its name: report.css and MARKERS have them.
Whatever is a word goes through markupsafe, so no name can end a tag.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evaluation.reporting.wording import format_percent, format_seconds

WIDTH = 340
WIDE = 960  # a plot that has the page's width to itself
NUM_COLOURS = 8
LEFT, RIGHT = 136, 286  # where the axis of a plot with a row for each arm begins and ends
ROW = 24
# The corners of a marker around (0, 0); the first is a circle.
LETTER = 7.2  # the width that a letter of a label takes at most
MARKERS = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "M-4.5-4.5h9v9h-9z",
    "M0-5.8 5.6 4.4H-5.6z",
    "M0-6 6 0 0 6-6 0z",
    "M0 5.8 5.6-4.4H-5.6z",
    "M-2-5.5h4v3.5h3.5v4H2v3.5h-4V2h-3.5v-4H-2z",
)


@dataclass(frozen=True)
class PlotLine:
    """A row of a plot: an arm's value with its interval. `value` None: not measured, `note` says why."""

    label: str
    order: int
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Point:
    """An arm in the plane: what it costs, and its share of right answers with the interval."""

    label: str
    order: int
    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class StackPart:
    """A piece of a bar: so many answers of this kind. `kind` is a class of report.css."""

    kind: str
    label: str
    count: int


def colour(order: int) -> str:
    """The class that gives an arm its colour."""
    return f"arm-{order % NUM_COLOURS}"


def marker(order: int, x: float = 0, y: float = 0) -> Markup:
    """An arm's shape at a place of a plot."""
    path = Markup('<path class="marker" transform="translate({} {})" d="{}"/>')
    return path.format(_short(x), _short(y), MARKERS[order % len(MARKERS)])


def dot(order: int) -> Markup:
    """An arm's shape beside its name in the text; the shapes are defined once, by `shapes`."""
    use = '<svg class="dot {}" viewBox="-7 -7 14 14" aria-hidden="true"><use href="#marker-{}"/></svg>'
    return Markup(use).format(colour(order), order % len(MARKERS))


def shapes() -> Markup:
    """What `dot` refers to; stands once at the top of the page."""
    paths = Markup("").join(
        Markup('<path id="marker-{}" class="marker" d="{}"/>').format(index, path) for index, path in enumerate(MARKERS)
    )
    return Markup('<svg width="0" height="0" class="shapes" aria-hidden="true"><defs>{}</defs></svg>').format(paths)


def shares_plot(described: str, lines: Sequence[PlotLine]) -> Markup:
    """A row per arm on an axis from 0 to 100 %: the share as its marker, the interval as a line through it."""
    parts = [_grid([(_across(value), label) for value, label in ((0, "0"), (0.5, "50"), (1, "100 %"))], len(lines))]
    for index, line in enumerate(lines):
        y = 16 + ROW * index
        drawn = Markup("")
        if line.value is not None:
            low, high = (line.value if bound is None else bound for bound in (line.low, line.high))
            drawn = _bar("interval", _across(low), _across(high), y) + marker(line.order, _across(line.value), y)
        parts.append(_row(line, y, drawn, line.note or format_percent(line.value)))
    return _svg(described, 26 + ROW * len(lines), parts)


def times_plot(described: str, lines: Sequence[PlotLine]) -> Markup:
    """A row per arm on an axis of seconds: `value` (p50) as its marker, `high` (p95) as a bar's end."""
    top = max((line.high or line.value or 0 for line in lines), default=0)
    ticks = _ticks(top)
    parts = [
        _grid([(_across(tick / ticks[-1]), format_seconds(tick)) for tick in ticks[:: len(ticks) - 1]], len(lines))
    ]
    for index, line in enumerate(lines):
        y = 16 + ROW * index
        drawn = Markup("")
        if line.value is not None:
            begin, end = _across(line.value / ticks[-1]), _across((line.high or line.value) / ticks[-1])
            cap = Markup('<path class="cap" d="M{} {}v10"/>').format(_short(end), y - 5)
            drawn = _bar("interval", begin, end, y) + cap + marker(line.order, begin, y)
        parts.append(_row(line, y, drawn, format_seconds(line.value)))
    return _svg(described, 26 + ROW * len(lines), parts)


def cost_plot(
    described: str, points: Sequence[Point], unit: str, in_words: Callable[[float], str], width: int = WIDE
) -> Markup:
    """Cost to the right, accuracy upwards: what stands higher and further left is better.

    Args:
        in_words: a cost as the axis shows it.
        width: WIDE writes the arms' names beside their marks, which a plot of WIDTH has no room for.
    """
    left, right, top, bottom = 44, width - 18, 12, 190 if width < WIDE else 300
    ticks = _ticks(max(point.x for point in points))

    def at(point: Point) -> tuple[float, float]:
        return left + (right - left) * point.x / ticks[-1], bottom - (bottom - top) * point.y

    parts = [
        Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="tick" x="{}" y="{}" {}>{}</text>')
        .format(left, right, _short(y), _short(y), left - 6, _short(y + 4), Markup('text-anchor="end"'), label)
        for y, label in ((bottom, "0"), ((top + bottom) / 2, "50"), (top, "100 %"))
    ]  # fmt: skip
    for tick in ticks if width == WIDE else ticks[:: max((len(ticks) - 1) // 2, 1)]:
        x = left + (right - left) * tick / ticks[-1]
        anchor = "end" if tick == ticks[-1] else "middle"
        parts.append(_text("tick", x + (8 if anchor == "end" else 0), bottom + 15, in_words(tick), anchor))
    parts.append(_text("tick", right + 8, bottom + 31, unit, "end"))
    places = [(*at(point), *(bottom - (bottom - top) * bound for bound in (point.low, point.high))) for point in points]
    taken = [(x - 3, high, x + 3, low) for x, _, low, high in places] + [
        (x - 8, y - 8, x + 8, y + 8) for x, y, _, _ in places
    ]
    for point, (x, y, low, high) in zip(points, places, strict=True):
        whisker = Markup('<path class="interval" d="M{} {}V{}"/>').format(_short(x), _short(low), _short(high))
        drawn = whisker + marker(point.order, x, y)
        if width == WIDE:
            drawn += _label(point.label, x, y, right, taken)
        parts.append(Markup('<g class="{}"><title>{}</title>{}</g>').format(colour(point.order), point.label, drawn))
    return _svg(described, bottom + 38, parts, width)


def _label(words: str, x: float, y: float, right: float, taken: list[tuple[float, float, float, float]]) -> Markup:
    """An arm's name beside its mark, where no mark and no other name is; nothing where there is no such place."""
    words = _cut(words, 24)
    long = LETTER * len(words)
    for down in (0, -14, 14, -28, 28):
        for begin, edge, anchor in ((x + 11, x + 11, "start"), (x - 11 - long, x - 11, "end")):
            box = (begin, y + down - 7, begin + long, y + down + 7)
            if begin >= 0 and box[2] <= right + 14 and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                return _text("name", edge, y + down + 4, words, anchor)
    return Markup("")


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def stacked_plot(described: str, rows: Sequence[tuple[PlotLine, Sequence[StackPart]]]) -> Markup:
    """A row per arm: a bar whose pieces are its answers by kind, with their numbers where there is room."""
    parts = []
    for index, (line, pieces) in enumerate(rows):
        y = 16 + 28 * index
        total = sum(piece.count for piece in pieces)
        width = WIDTH - LEFT
        drawn, x = Markup(""), float(LEFT)
        for piece in pieces:
            if piece.count:
                piece_width = width * piece.count / total
                drawn += _piece(piece, x, y - 10, piece_width)
                x += piece_width
        parts.append(_row(line, y, drawn, ""))
    return _svg(described, 28 * len(rows) + 6, parts)


def _piece(piece: StackPart, x: float, y: float, width: float) -> Markup:
    words = f"{piece.label}: {piece.count}"
    box = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="20"><title>{}</title></rect>').format(
        piece.kind, _short(x), _short(y), _short(max(width - 1, 0.5)), words
    )
    if width < 9 + 7 * len(str(piece.count)):
        return box
    return box + _text(f"on-{piece.kind} inside", x + (width - 1) / 2, y + 14, str(piece.count), "middle")


def _row(line: PlotLine, y: float, drawn: Markup, value: str) -> Markup:
    words = _text("", 0, y + 4, _cut(line.label), "start", line.label)
    strong = " leads" if line.strong else ""
    end = _text("", WIDTH, y + 4, value, "end") if value else Markup("")
    return Markup('<g class="{}{}">{}{}{}</g>').format(colour(line.order), strong, words, drawn, end)


def _svg(described: str, height: float, parts: Sequence[Markup], width: int = WIDTH) -> Markup:
    inside = Markup("").join(parts)
    svg = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return svg.format(width, _short(height), described, inside)


def _grid(ticks: Sequence[tuple[float, str]], num_rows: int) -> Markup:
    bottom = 4 + ROW * num_rows
    line = Markup('<line class="grid" x1="{0}" x2="{0}" y1="4" y2="{1}"/>')
    return Markup("").join(
        line.format(_short(x), bottom) + _text("tick", x, bottom + 15, label, "middle") for x, label in ticks
    )


def _bar(kind: str, begin: float, end: float, y: float) -> Markup:
    return Markup('<path class="{}" d="M{} {}H{}"/>').format(kind, _short(begin), _short(y), _short(end))


def _text(kind: str, x: float, y: float, words: str, anchor: str, whole: str = "") -> Markup:
    title = Markup("<title>{}</title>").format(whole) if whole and whole != words else Markup("")
    text = Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}{}</text>')
    return text.format(kind, _short(x), _short(y), anchor, title, words)


def _across(share: float) -> float:
    return LEFT + (RIGHT - LEFT) * share


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to at least `top`, three to six of them."""
    if top <= 0:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(top))
    step = next(step * part for part in (0.2, 0.25, 0.5, 1, 2) if top / (step * part) <= 5)
    return [step * index for index in range(math.ceil(top / step - 1e-9) + 1)]


def _cut(words: str, most: int = 19) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
