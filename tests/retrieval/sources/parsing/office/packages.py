"""Office documents made by hand: by the libraries that write them, and with parts that these do not write."""

import io
import re
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def docx(path: Path, body: str = "", parts: dict[str, str] | None = None, styles: str = "") -> bytes:
    """A document with this content in its body, and further parts by the kind of their relation.

    Args:
        body: elements of WordprocessingML, with the prefixes w, wp, a, pic, wps, mc, v, m, w14.
        parts: the content of the root of each part, such as header or comments.
    """
    others = "".join(
        f'<Relationship Id="r{at}" Type="http://x/{kind.rstrip("0123456789")}" Target="{kind}.xml"/>'
        for at, kind in enumerate(parts or {})
    )
    spaces = WORD + "".join(
        f' xmlns:{prefix}="urn:{prefix}"'
        for prefix in ("wp", "a", "pic", "wps", "mc", "v", "m", "w14", "r", "c", "dgm")
    )
    files = {
        "_rels/.rels": '<Relationships xmlns="x"><Relationship Id="r" Type="http://x/officeDocument" '
        'Target="/word/d.xml"/></Relationships>',
        "word/d.xml": f"<w:document {spaces}><w:body>{body}</w:body></w:document>",
        "word/_rels/d.xml.rels": f'<Relationships xmlns="x">{others}'
        '<Relationship Id="rs" Type="http://x/styles" Target="styles.xml"/></Relationships>',
        "word/styles.xml": f"<w:styles {spaces}>{styles}</w:styles>",
    }
    files |= {f"word/{kind}.xml": f"<w:root {spaces}>{content}</w:root>" for kind, content in (parts or {}).items()}
    return zipped(path, files)


def zipped(path: Path, files: dict[str, str] | dict[str, bytes]) -> bytes:
    """An archive of these files, also written to `path`."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path.read_bytes()


def changed(content: bytes, part: str, pattern: str, replacement: str) -> bytes:
    """The archive with one part edited: what the libraries cannot write."""
    out = io.BytesIO()
    with ZipFile(io.BytesIO(content)) as old, ZipFile(out, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = old.read(name)
            if name == part:
                edited = re.sub(pattern, replacement, text.decode(), flags=re.DOTALL)
                assert edited != text.decode(), f"{pattern} is not in {part}"
                text = edited.encode()
            new.writestr(name, text)
    return out.getvalue()


def ole(*streams: str) -> bytes:
    """The beginning of a container of the old kind, as far as its kind shows: the names of its streams."""
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + b"".join(name.encode("utf-16-le") for name in streams)
