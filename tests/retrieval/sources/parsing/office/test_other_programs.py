"""Documents of LibreOffice and of Office before 2007."""

from pathlib import Path

import pytest

from retrieval.sources.document import PartialText, Unreadable
from retrieval.sources.parsing.parse import parse
from tests.retrieval.sources.parsing.office.containers import container, workbook
from tests.retrieval.sources.parsing.office.packages import zipped

_NAMES = "office text table draw svg presentation style dc xlink"
SPACES = " ".join(f'xmlns:{name}="urn:{name}"' for name in _NAMES.split())


def open_document(path: Path, kind: str, body: str, styles: str = "", others: dict[str, str] | None = None) -> bytes:
    content = (
        f"<office:document-content {SPACES}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    )
    return zipped(path, {"content.xml": content, **(others or {})})


def test_a_text(tmp_path: Path) -> None:
    body = """<text:tracked-changes><text:changed-region><text:deletion><text:p>deleted</text:p></text:deletion>
    </text:changed-region></text:tracked-changes>
    <text:h text:outline-level="2">Leave</text:h>
    <text:p>Twenty<text:s text:c="2"/>five<text:tab/>days<text:line-break/>a <text:span>ye</text:span>ar
    <text:note><text:note-citation>1</text:note-citation><text:note-body>
    <text:p>see annex</text:p></text:note-body>
    </text:note>
    <office:annotation><dc:creator>Ada</dc:creator><text:p>check this</text:p></office:annotation></text:p>
    <text:list><text:list-item><text:p>first</text:p><text:list><text:list-item><text:p>inner</text:p></text:list-item>
    </text:list></text:list-item></text:list>
    <text:p><draw:frame><draw:text-box><text:p>in the box</text:p></draw:text-box><svg:desc>a map</svg:desc>
    </draw:frame></text:p>
    <table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>
    <table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table-header-rows>
    <table:table-row><table:table-cell table:number-columns-repeated="2"><text:p>same</text:p></table:table-cell>
    <table:table-cell table:number-columns-repeated="16000"/></table:table-row></table:table>"""
    styles = f"<x {SPACES}><style:header><text:p>Acme</text:p></style:header></x>"
    read = parse(open_document(tmp_path / "a.odt", "text", body, others={"styles.xml": styles}), ".odt")
    blocks = read.split("\n\n")
    assert blocks[0] == "## Leave" and blocks[1].split() == ["Twenty", "five", "days", "a", "year"]
    assert blocks[2:] == [
        "Note: see annex", "Comment: check this", "- first", "  - inner", "in the box", "[a map]",
        "| a | b |\n| --- | --- |\n| same | same |", "Header: Acme",
    ]  # fmt: skip
    assert isinstance(read, PartialText) and read.left_out == ("not its tracked deletions (1)",)


def test_sheets_and_slides(tmp_path: Path) -> None:
    hidden = '<style:style style:name="h"><style:table-properties table:display="false"/></style:style>'
    cell = "<table:table-cell office:value='0.5'><text:p>50 %</text:p></table:table-cell>"
    body = f"""<table:table table:name="Rates"><table:table-row>{cell}</table:table-row>
    <table:table-row table:visibility="collapse">{cell}</table:table-row>
    <table:table-row table:number-rows-repeated="1048000"><table:table-cell/></table:table-row></table:table>
    <table:table table:name="Lookup" table:style-name="h"><table:table-row>{cell}</table:table-row></table:table>"""
    read = parse(open_document(tmp_path / "a.ods", "spreadsheet", body, hidden), ".ods")
    assert read == "## Rates\n\n| 50 % |\n| --- |"
    assert isinstance(read, PartialText) and read.left_out == ("not its hidden rows (1)", "not its hidden sheets (1)")
    body = """<draw:page draw:name="p1"><draw:frame presentation:class="title"><draw:text-box><text:p>Review</text:p>
    </draw:text-box></draw:frame><draw:g><draw:custom-shape><text:p>grouped</text:p></draw:custom-shape></draw:g>
    <presentation:notes><draw:frame><text:p>say it</text:p></draw:frame></presentation:notes></draw:page>
    <draw:page draw:name="p2"><draw:frame><text:p>more</text:p></draw:frame></draw:page>"""
    read = parse(open_document(tmp_path / "a.odp", "presentation", body), ".odp")
    assert read.split("\n\n") == ["# Review", "grouped", "### Notes", "say it", "# p2", "more"]


def test_what_stands_beside_the_text_of_open_document(tmp_path: Path) -> None:
    styles = f"""<x {SPACES}><style:header-left><text:p>left</text:p></style:header-left>
    <style:footer-first><text:p>first</text:p></style:footer-first></x>"""
    body = """<text:p>see<draw:frame><draw:object xlink:href="./Object 1"/><draw:image/></draw:frame>
    <draw:frame><draw:object xlink:href="./Object 2"/></draw:frame><draw:frame><draw:image/></draw:frame></text:p>"""
    others = {
        "styles.xml": styles,
        "Object 1/content.xml": "<math xmlns='m'><mi>E</mi><annotation>E = m c^2</annotation></math>",
        "Object 2/content.xml": f"""<o {SPACES}><office:body><office:chart><table:table><table:table-row>
        <table:table-cell office:value="7"/></table:table-row></table:table></office:chart></office:body></o>""",
    }
    read = parse(open_document(tmp_path / "a.odt", "text", body, others=others), ".odt")
    assert read.split("\n\n") == ["see", "E = m c^2", "| 7 |\n| --- |", "Header: left", "Footer: first"]
    assert isinstance(read, PartialText) and read.left_out == ("not its pictures without a description (1)",)
    body = """<table:table table:name="S"><table:shapes><draw:frame><text:p>box</text:p></draw:frame></table:shapes>
    <table:table-row><table:table-cell office:value="5"/><table:table-cell office:date-value="2024-01-02"/>
    </table:table-row></table:table>"""
    read = parse(open_document(tmp_path / "a.ods", "spreadsheet", body), ".ods")
    assert read == "## S\n\n| 5 | 2024-01-02 |\n| --- | --- |\n\nbox"


def test_a_password_of_open_document(tmp_path: Path) -> None:
    manifest = {"META-INF/manifest.xml": "<m><encryption-data/></m>"}
    with pytest.raises(Unreadable, match="is protected by a password"):
        parse(open_document(tmp_path / "a.odt", "text", "", others=manifest), ".odt")


def test_a_workbook_of_before_2007() -> None:
    rows: list[list[str | float]] = [["part", "€", "tax", "day"], ["P-0417", 12.5, 0.19, 45360.0]]
    book = workbook({"Prices": rows, "Secret": [["x"]]}, hidden="Secret", formats={(1, 2): 1, (1, 3): 2})
    for suffix in (".xls", ".XLS"):
        read = parse(book, suffix)
        assert read == (
            "## Prices\n\n| part | € | tax | day |\n| --- | --- | --- | --- |\n| P-0417 | 12.5 | 19% | 2024-03-09 |"
        )
        assert isinstance(read, PartialText) and read.left_out == ("not its hidden sheets (1)",)
    with pytest.raises(Unreadable, match=r"rename it to \.xls"):
        parse(book, ".xlsx")
    with pytest.raises(Unreadable, match="is a Word document of before 2007"):
        parse(container({"WordDocument": b"x"}), ".xls")
    with pytest.raises(Unreadable, match="is protected by a password"):
        parse(container({"EncryptedPackage": b"x"}), ".xls")
    with pytest.raises(Unreadable, match="cannot be opened as xls"):
        parse(b"no workbook", ".xls")


def test_rich_text() -> None:
    source = (
        r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}\f0 B\'e4ckerei M\u252?ller \u-10179?\u-8704?\par "
        r"{\b un}broken{\footnote see annex}{\header Acme}{\*\generator x}\par}"
    )
    read = parse(source.encode(), ".rtf")
    assert read == "Bäckerei Müller 😀\n\nunbroken"
    assert isinstance(read, PartialText) and read.left_out == (
        "not its footnotes (1)",
        "not its headers and footers (1)",
    )
    with pytest.raises(Unreadable, match="does not begin with"):
        parse(b"text", ".rtf")
