"""Files that are not what their name says, damaged and hostile ones: refused in words, in bounded time."""

import io
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from openpyxl import Workbook

from retrieval.sources.document import PartialText, Unreadable
from retrieval.sources.parsing import limits
from retrieval.sources.parsing.limits import check_table
from retrieval.sources.parsing.parse import parse
from retrieval.sources.parsing.parsed import markdown_table
from tests.retrieval.sources.parsing.office.packages import docx, ole, zipped

OFFICE = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub")


@pytest.mark.parametrize("suffix", OFFICE)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ole("EncryptionInfo", "EncryptedPackage"), "is protected by a password"),
        (ole("WordDocument"), r"is a Word document of before 2007 \(\.doc\): save it as \.docx"),
        (ole("Workbook"), r"rename it to \.xls"),
        (ole("PowerPoint Document"), r"of before 2007 \(\.ppt\)"),
        (ole("Contents"), "is an OLE container and no document that is read"),
        (b"{\\rtf1 text}", r"is Rich Text: rename it to \.rtf"),
        (b"no archive", "cannot be opened as"),
        (b"", "cannot be opened as"),
    ],
)
def test_what_it_is_instead_is_named(suffix: str, content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse(content, suffix)


@pytest.mark.parametrize("suffix", OFFICE)
def test_an_archive_of_something_else(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(Unreadable, match="cannot be opened as"):
        parse(zipped(tmp_path / "a.zip", {"readme.txt": "x"}), suffix)


@pytest.mark.parametrize("suffix", OFFICE)
def test_a_small_file_that_unpacks_to_a_large_one_is_not_opened(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 5 * 2**20)
    with pytest.raises(Unreadable, match="unpacks to 6 MiB, more than 5"):
        parse(zipped(tmp_path / "a.zip", {"word/document.xml": "x" * (6 * 2**20)}), suffix)


BOMB = "<!DOCTYPE b [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]>"


@pytest.mark.parametrize("used", ["<b>&b;</b>", "<b x='&b;'/>"])
def test_entities_are_not_expanded(tmp_path: Path, used: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(Unreadable, match=r"Entity 'b' not defined|document type in UTF-16"):
            parse((BOMB + used).encode(encoding), ".xml")
    outside = "<!DOCTYPE b [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><b>&b;</b>"
    with pytest.raises(Unreadable, match="Entity 'b' not defined"):
        parse(outside.encode(), ".xml")
    assert parse(
        b"<!DOCTYPE b SYSTEM 'x.dtd' [<!ENTITY f SYSTEM 'f.tif' NDATA tif>]><b>caf&eacute; &amp; tea</b>", ".xml"
    )
    with pytest.raises(Unreadable, match=r"is damaged: word/d\.xml is no XML"):
        parse(_with_part(tmp_path, "word/d.xml", BOMB + "<b>&b;</b>"), ".docx")


def _with_part(folder: Path, name: str, content: str) -> bytes:
    path = folder / "a.docx"
    docx(path)
    with ZipFile(path) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    return zipped(path, files | {name: content.encode()})


def test_a_part_that_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"is damaged: word/d\.xml is no XML"):
        parse(_with_part(tmp_path, "word/d.xml", "<w:document><w:body>"), ".docx")
    read = parse(_with_part(tmp_path, "word/styles.xml", "<w:styles>"), ".docx")
    assert isinstance(read, PartialText) and read.left_out == ("not its damaged parts (1)",)
    content = docx(tmp_path / "b.docx", "<w:p><w:r><w:t>whole</w:t></w:r></w:p>")
    with pytest.raises(Unreadable, match="cannot be opened as docx"):
        parse(content[: len(content) // 2], ".docx")
    broken = bytearray(content)
    broken[60:80] = bytes(20)
    with pytest.raises(Unreadable):
        parse(bytes(broken), ".docx")


def test_a_member_that_is_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", "<x/>")
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    with pytest.raises(Unreadable, match="is protected by a password"):
        parse(bytes(content), ".docx")


def test_a_workbook_that_unfolds_to_more_than_the_memory_holds() -> None:
    book = Workbook()
    book.active["A1"] = "x"
    book.active.merged_cells.add("A1:XFD1048576")
    out = io.BytesIO()
    book.save(out)
    with pytest.raises(Unreadable, match=r"has 17,179,869,18\d cells, more than 2,000,000"):
        parse(out.getvalue(), ".xlsx")
    book = Workbook()
    for number in range(1, 5000):
        book.active.cell(number, number, "x")
    out = io.BytesIO()
    book.save(out)
    with pytest.raises(Unreadable, match="4,999 x 4,999 cells"):
        parse(out.getvalue(), ".xlsx")


def test_one_long_text_in_many_cells_is_refused() -> None:
    with pytest.raises(Unreadable, match="a table of 191 MiB, more than 100"):
        markdown_table([["x" * 1_000_000]] * 200)
    with pytest.raises(Unreadable, match="a table of 10,000,001 cells"):
        check_table([["x"] * 10_000_001])


def test_a_part_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"has 65 MiB in word/d\.xml, more than 64"):
        parse(_with_part(tmp_path, "word/d.xml", "<a>" + " " * 65 * 2**20 + "</a>"), ".docx")


def test_elements_too_deep_in_each_other_are_refused(tmp_path: Path) -> None:
    deep = "<w:sdt><w:sdtContent>" * 900 + "<w:p/>" + "</w:sdtContent></w:sdt>" * 900
    with pytest.raises(Unreadable, match=r"too deep in each other|is no XML"):
        parse(docx(tmp_path / "a.docx", deep), ".docx")
    assert parse(b"[" * 100_000 + b"]" * 100_000, ".json").startswith("```json")
    assert "deep" in parse(b"<a>" * 1000 + b"deep" + b"</a>" * 1000, ".xml")
