"""PDFs written byte by byte, so that a test decides what is in them: fonts, directions, fields, comments, files.

pdf = Pdf()
pdf.page(text("Iron rusts.", 72, 720))
path.write_bytes(pdf.written())
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matplotlib
from fontTools.ttLib import TTFont

WIDTH, HEIGHT = 612, 792
Object = bytes


def text(words: str, x: float, y: float, size: float = 11, turned: int = 0, font: str = "F1") -> bytes:
    """Words that begin at a point, turned counterclockwise by 0, 90, 180, 270 or another number of degrees."""
    c, s = math.cos(math.radians(turned)), math.sin(math.radians(turned))
    glyphs = dejavu().getBestCmap() if font != "F1" else {}
    codes = "".join(f"{dejavu().getGlyphID(glyphs[ord(letter)]):04X}" for letter in words) if glyphs else ""
    shown = f"<{codes}>".encode() if glyphs else f"({escaped(words)})".encode("cp1252")
    return f"BT /{font} {size} Tf {c:.4f} {s:.4f} {-s:.4f} {c:.4f} {x} {y} Tm ".encode() + shown + b" Tj ET\n"


def width(words: str, size: float = 11) -> float:
    """How wide words are in F2."""
    glyphs, widths = dejavu().getBestCmap(), dejavu()["hmtx"]
    return sum(widths[glyphs[ord(letter)]][0] for letter in words) * size / dejavu()["head"].unitsPerEm


@cache
def dejavu() -> TTFont:
    """A font with Latin, Greek, Cyrillic, Hebrew and Arabic letters, which comes with matplotlib."""
    return TTFont(dejavu_file())


def dejavu_file() -> Path:
    return Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")


def escaped(words: str) -> str:
    return words.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def rule(x: float, y: float, width: float) -> bytes:
    """A horizontal line."""
    return f"{x} {y} m {x + width} {y} l S\n".encode()


@dataclass
class Pdf:
    """A PDF, page by page. Fonts: F1 is Helvetica, F2 DejaVu Sans, F3 the same without a map."""

    objects: list[Object] = field(default_factory=lambda: [b"", b""])
    pages: list[int] = field(default_factory=list)
    fields: list[int] = field(default_factory=list)
    catalog: bytes = b""
    is_embedded: bool = True
    """Whether F2 is in the file."""

    def __post_init__(self) -> None:
        helvetica = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
        self.fonts = [self.add(helvetica), self._dejavu(True), self._dejavu(False)]

    def add(self, content: Object) -> int:
        """An object's number."""
        self.objects.append(content)
        return len(self.objects)

    def stream(self, content: bytes, entries: str = "") -> int:
        packed = zlib.compress(content)
        head = f"<< /Length {len(packed)} /Filter /FlateDecode {entries} >>\nstream\n".encode()
        return self.add(head + packed + b"\nendstream")

    def page(self, *content: bytes, rotate: int = 0, annotations: Iterable[bytes] = (), images: str = "") -> int:
        """A page's object number."""
        marks = [self.add(each) for each in annotations]
        self.fields += [mark for mark in marks if b"/Widget" in self.objects[mark - 1]]
        fonts = " ".join(f"/F{place} {number} 0 R" for place, number in enumerate(self.fonts, 1))
        entries = [
            "/Type /Page /Parent 2 0 R", f"/MediaBox [0 0 {WIDTH} {HEIGHT}] /Rotate {rotate}",
            f"/Resources << /Font << {fonts} >> /XObject << {images} >> >>",
            f"/Contents {self.stream(b''.join(content))} 0 R /Annots [{' '.join(f'{mark} 0 R' for mark in marks)}]",
        ]  # fmt: skip
        self.pages.append(self.add(f"<< {' '.join(entries)} >>".encode()))
        return self.pages[-1]

    def picture(self, width: int, height: int, grey: bytes) -> int:
        """The object number of a picture in grey; `images=f"/Im1 {number} 0 R"` puts it into a page."""
        return self.stream(
            grey,
            f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray "
            "/BitsPerComponent 8",
        )

    def written(self) -> bytes:
        kids = " ".join(f"{page} 0 R" for page in self.pages)
        fields = " ".join(f"{each} 0 R" for each in self.fields)
        form = f"/AcroForm << /Fields [{fields}] >>" if self.fields else ""
        self.objects[0] = b"<< /Type /Catalog /Pages 2 0 R " + form.encode() + self.catalog + b" >>"
        self.objects[1] = f"<< /Type /Pages /Kids [{kids}] /Count {len(self.pages)} >>".encode()
        out, offsets = bytearray(b"%PDF-1.7\n"), []
        for number, content in enumerate(self.objects, 1):
            offsets.append(len(out))
            out += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
        start = len(out)
        out += f"xref\n0 {len(offsets) + 1}\n0000000000 65535 f \n".encode()
        out += "".join(f"{offset:010} 00000 n \n" for offset in offsets).encode()
        return bytes(out + f"trailer << /Size {len(offsets) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode())

    def _dejavu(self, has_map: bool) -> int:
        """DejaVu Sans, whose codes are the numbers of its glyphs; without a map nobody knows which letters they are."""
        unit = 1000 / dejavu()["head"].unitsPerEm
        widths = " ".join(f"{dejavu()['hmtx'][name][0] * unit:.0f}" for name in dejavu().getGlyphOrder())
        mapped = f"/ToUnicode {self.stream(_unicode_map())} 0 R" if has_map else ""
        # A font without a map is not in the file either: PDFium reads the letters from the font's own table.
        is_in_file = has_map and self.is_embedded
        font_file = f"/FontFile2 {self.stream(dejavu_file().read_bytes())} 0 R" if is_in_file else ""
        described = self.add(
            "<< /Type /FontDescriptor /FontName /DejaVuSans /Flags 4 /FontBBox [-1021 -463 1793 1232] /ItalicAngle 0 "
            f"/Ascent 928 /Descent -236 /CapHeight 729 /StemV 80 {font_file} >>".encode()
        )
        inner = self.add(
            "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /DejaVuSans /CIDToGIDMap /Identity /CIDSystemInfo "
            f"<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /W [0 [{widths}]] "
            f"/FontDescriptor {described} 0 R >>".encode()
        )
        return self.add(
            "<< /Type /Font /Subtype /Type0 /BaseFont /DejaVuSans /Encoding /Identity-H "
            f"/DescendantFonts [{inner} 0 R] {mapped} >>".encode()
        )


@cache
def _unicode_map() -> bytes:
    """The letter of each glyph."""
    pairs = sorted((dejavu().getGlyphID(name), letter) for letter, name in dejavu().getBestCmap().items())
    lines = [f"<{glyph:04X}> <{letter:04X}>" for glyph, letter in pairs if letter < 0x10000]
    blocks = [lines[start : start + 100] for start in range(0, len(lines), 100)]
    mapped = "\n".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks)
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /Own def 1 begincodespacerange "
        f"<0000> <FFFF> endcodespacerange\n{mapped}\nendcmap end end"
    ).encode()
