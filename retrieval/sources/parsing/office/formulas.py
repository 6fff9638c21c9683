"""Formulas of Office (OMML) in a line, and the signs of its fonts that have no letters."""

import re

from retrieval.sources.parsing.office.archive import Element, attribute, local

_INVISIBLE = re.compile("[\u2061-\u2064]")
# The encoding of the font Symbol (Adobe, 1996) from 0x20 and from 0xA0 on, and the usual signs of Wingdings.
_SYMBOL = dict(
    zip(
        [*range(0x20, 0x7F), *range(0xA0, 0xFF)],
        " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"
        "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪ 〉∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭",
        strict=True,
    )
)
_WINGDINGS = {
    0x6F: "☐", 0xA7: "▪", 0xA8: "☐", 0xDF: "←", 0xE0: "→", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑",
}  # fmt: skip
SIGNS: dict[str, dict[int, str]] = {"Symbol": _SYMBOL, "Wingdings": _WINGDINGS}


def sign(code: int, font: str) -> str:
    """What a font shows for a character, which may be in the private area; empty where it is a picture."""
    if font in SIGNS:
        return SIGNS[font].get(code & 0xFF, "")
    return "" if 0xE000 <= code <= 0xF8FF else chr(code)


def formula(element: Element) -> str:
    """As it is read aloud: `(a+b)/(c)`, `x^(2)`, `sqrt(x)`."""
    return _INVISIBLE.sub("", _line(element))


def _line(element: Element) -> str:
    name = local(element)
    if name == "t":
        return str(element.text or "")
    children = [child for child in element.iterchildren() if not local(child).endswith("Pr")]
    texts = [text for child in children if (text := _line(child))]
    if name == "f" and len(texts) == 2:
        return f"({texts[0]}){' over ' if _said(element, 'fPr', 'type', '') == 'noBar' else '/'}({texts[1]})"
    if name in ("sSup", "sSub") and len(texts) == 2:
        return f"{texts[0]}{'^' if name == 'sSup' else '_'}({texts[1]})"
    if name == "sSubSup" and len(texts) == 3:
        return f"{texts[0]}_({texts[1]})^({texts[2]})"
    if name == "rad":
        return f"sqrt({' '.join(reversed(texts))})"
    if name == "d":
        between = _said(element, "dPr", "sepChr", "|").join(texts)
        return f"{_said(element, 'dPr', 'begChr', '(')}{between}{_said(element, 'dPr', 'endChr', ')')}"
    if name in ("m", "mr"):
        return ("; " if name == "m" else ", ").join(texts)
    if name == "acc":
        return "".join(texts) + _said(element, "accPr", "chr", "\u0302")
    operator = _said(element, "naryPr", "chr", "∫") if name == "nary" else ""
    return operator + ("" if name in ("r", "oMath", "e", "num", "den", "sup", "sub", "deg") else " ").join(texts)


def _said(element: Element, properties: str, name: str, otherwise: str) -> str:
    found = element.find(f"{{*}}{properties}/{{*}}{name}")
    return otherwise if found is None else attribute(found, "val") or ""
