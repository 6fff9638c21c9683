"""What both pages are held to in a real browser: nothing wider than the window, no error, enough contrast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESKTOP = (390, 844), (1280, 900)
Scheme = Literal["light", "dark"]
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3

# For every element with words of its own: its text's contrast to what is painted behind it.
CONTRASTS = """() => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) known.set(color, painted(color));
    return known.get(color);
  };
  const painted = (color) => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = color; paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, index) => part * a + under[index] * (1 - a));
  const light = (rgb) => rgb.map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
    layers.push(rgba("Canvas"));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = {};
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const box = element.getBoundingClientRect();
    const isIgnored = ["SCRIPT", "STYLE", "NOSCRIPT", "TITLE", "title", "OPTION"].includes(element.tagName);
    if (!words || isIgnored || !box.width || element.matches(":disabled, :disabled *")) continue;
    const isDrawn = element instanceof SVGElement;
    let under = behind(element);
    if (isDrawn && element.classList.contains("inside")) {
      under = over(rgba(getComputedStyle(element.previousElementSibling).fill), under);
    }
    const text = over(rgba(isDrawn ? style.fill : style.color), under);
    const [high, low] = [light(text), light(under)].sort((a, b) => b - a);
    const name = `${element.tagName} ${element.getAttribute("class") ?? ""}`.trim();
    found[name] = Math.min(found[name] ?? 99, (high + 0.05) / (low + 0.05));
  }
  return found;
}"""


class Watched:
    """A page and what went wrong on it: errors of the console, and requests to anywhere but `allowed`."""

    def __init__(self, page: "Page", allowed: str) -> None:
        self.page, self.errors = page, list[str]()
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(allowed) else self.errors.append(asked.url))

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def poor_contrasts(self) -> dict[str, float]:
        found: dict[str, float] = self.page.evaluate(CONTRASTS)
        assert found
        return {name: contrast for name, contrast in found.items() if contrast < LEAST_CONTRAST}


@contextmanager
def watched(
    browser: "Browser", allowed: str, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light", script: bool = True
) -> Iterator[Watched]:
    """A fresh page of this size and colour scheme, closed after the block."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, java_script_enabled=script
    )
    context.set_default_timeout(10_000)
    try:
        yield Watched(context.new_page(), allowed)
    finally:
        context.close()
