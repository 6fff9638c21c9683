"""Word documents: what python-docx sees is in the text, and what Word hides is counted."""

from pathlib import Path

import pytest
from docx import Document

from retrieval.sources.document import PartialText
from retrieval.sources.parsing.parse import parse
from tests.retrieval.sources.parsing.independent import docx_text, missing_words
from tests.retrieval.sources.parsing.office.packages import docx


def p(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_what_python_docx_sees_is_in_the_text(tmp_path: Path) -> None:
    document = Document()
    document.add_heading("Handbook", 0)
    document.add_heading("Leave", 1)
    paragraph = document.add_paragraph("Twenty-five days of ")
    paragraph.add_run("annual").bold = True
    document.add_comment(paragraph.runs, "Check with Kestrel", author="Ada")
    document.add_paragraph("first item", style="List Bullet")
    table = document.add_table(3, 3)
    for at, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"cell{at} | pipe"
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(0, 1).merge(table.cell(0, 2))
    table.cell(1, 1).add_table(1, 2).cell(0, 0).text = "nested"
    section = document.sections[0]
    section.header.paragraphs[0].text = "Acme confidential"
    section.footer.paragraphs[0].text = "Page of the footer"
    section.different_first_page_header_footer = True
    section.first_page_header.paragraphs[0].text = "Only first"
    document.add_section().header.is_linked_to_previous = True
    path = tmp_path / "a.docx"
    document.save(str(path))
    read = parse(path.read_bytes(), ".docx")
    assert missing_words(read, docx_text(path)) == set()
    assert read.startswith(
        "# Handbook\n\n# Leave\n\nTwenty-five days of annual\n\nComment (Ada): Check with Kestrel\n\n- first"
    )
    assert read.count("Acme confidential") == 1 and not isinstance(read, PartialText)


def test_text_boxes_controls_fields_notes_and_formulas(tmp_path: Path) -> None:
    box = "<w:txbxContent>" + p("in the box") + "</w:txbxContent>"
    body = f"""
    <w:p><w:r><mc:AlternateContent><mc:Choice><w:drawing><wps:txbx>{box}</wps:txbx></w:drawing></mc:Choice>
    <mc:Fallback><w:pict><v:textbox>{box}</v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>
    <w:sdt><w:sdtPr><w:alias/></w:sdtPr><w:sdtContent>{p("controlled")}</w:sdtContent></w:sdt>
    <w:p><w:r><w:instrText>HYPERLINK secretcode</w:instrText></w:r>
    <w:hyperlink><w:r><w:t>link text</w:t></w:r></w:hyperlink>
    <w:fldSimple><w:r><w:t>42</w:t></w:r></w:fldSimple><w:r><w:t>un</w:t></w:r><w:r><w:t>broken</w:t></w:r>
    <w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t></w:r>
    <w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:endnoteReference w:id="3"/></w:r></w:p>
    <w:p><m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>c</m:t></m:r></m:den></m:f></m:oMath></w:p>
    <w:p><w:r><w:fldChar><w:ffData><w:ddList><w:result w:val="1"/><w:listEntry w:val="red"/><w:listEntry w:val="blue"/>
    </w:ddList></w:ffData></w:fldChar></w:r></w:p>
    <mc:AlternateContent><mc:Choice>{p("either")}</mc:Choice><mc:Fallback>{p("either")}</mc:Fallback></mc:AlternateContent>
    <w:ins>{p("inserted block")}</w:ins><w:p><w:ins><w:r><w:t>inserted run</w:t></w:r></w:ins></w:p>
    <w:p><w:r><w:pict><v:shape alt="old picture"><v:textpath string="DRAFT"/></v:shape></w:pict></w:r></w:p>
    <w:p><w:r><w:drawing><wp:docPr id="1" name="Picture 1" descr="a map of Rome"/></w:drawing></w:r></w:p>
    """
    notes = {
        "footnotes": f'<w:footnote w:type="separator" w:id="0">{p("line")}</w:footnote>'
        f'<w:footnote w:id="2">{p("see the annex")}</w:footnote><w:footnote w:id="9">{p("nowhere named")}</w:footnote>',
        "endnotes": f'<w:endnote w:id="3">{p("at the end")}</w:endnote>',
    }
    read = parse(docx(tmp_path / "a.docx", body, notes), ".docx")
    for text in (
        "in the box", "controlled", "link text", "42", "unbroken", "a b\nc-d", "(a+b)/(c)", "blue", "a map of Rome",
        "inserted block", "inserted run", "DRAFT", "old picture", "[^2]: see the annex", "[^3]: at the end",
        "nowhere named", "either",
    ):  # fmt: skip
        assert read.count(text) == 1, text
    assert "secretcode" not in read and "red" not in read and not isinstance(read, PartialText)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    body = f"""{p("kept")}<w:p><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>
    <w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom><w:r><w:rPr><w:vanish/></w:rPr><w:t>two words</w:t></w:r>
    <w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>shown</w:t></w:r></w:p>
    <w:p><w:r><w:drawing><wp:docPr name="Picture 1"/><a:blip r:link="rId404"/></w:drawing></w:r></w:p>
    <w:tbl><w:tr><w:tc>{p("a")}</w:tc><w:tc>{p("b")}</w:tc></w:tr>
    <w:tr><w:trPr><w:del/></w:trPr><w:tc>{p("gone")}</w:tc><w:tc>{p("gone")}</w:tc></w:tr></w:tbl>"""
    read = parse(docx(tmp_path / "a.docx", body), ".docx")
    assert read.split() == ["kept", "shown", "|", "a", "|", "b", "|", "|", "---", "|", "---", "|"]
    assert isinstance(read, PartialText)
    assert sorted(read.left_out) == [
        "not its pictures without a description (1)",
        "not its tracked deletions (3)",
        "not its words of hidden text (2)",
    ]


def test_charts_diagrams_and_headings_by_their_style(tmp_path: Path) -> None:
    styles = '<w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>' \
        '<w:style w:styleId="Own"><w:name w:val="Own"/><w:basedOn w:val="berschrift2"/></w:style>'  # fmt: skip
    body = p("Sales", '<w:pStyle w:val="Own"/>') + p("Level", '<w:outlineLvl w:val="0"/>')
    body += '<w:p><w:r><w:drawing><c:chart r:id="r0"/></w:drawing></w:r></w:p>'
    body += '<w:p><w:r><w:drawing><dgm:relIds r:dm="r1"/></w:drawing></w:r></w:p>'
    chart = """<a:p><a:r><a:t>Turnover</a:t></a:r></a:p><c:ser><c:tx><c:v>North</c:v></c:tx>
    <c:cat><c:pt idx="0"><c:v>Q1</c:v></c:pt><c:pt idx="1"><c:v>Q2</c:v></c:pt></c:cat>
    <c:val><c:pt idx="1"><c:v>7.5</c:v></c:pt></c:val></c:ser>"""
    diagram = "<a:p><a:r><a:t>plan</a:t></a:r></a:p><a:p><a:r><a:t>do</a:t></a:r></a:p>"
    read = parse(docx(tmp_path / "a.docx", body, {"chart": chart, "diagramData": diagram}, styles), ".docx")
    assert (
        read
        == "## Sales\n\n# Level\n\nTurnover\n\n|  | North |\n| --- | --- |\n| Q1 |  |\n| Q2 | 7.5 |\n\n- plan\n- do"
    )


def test_numbers_that_word_shows_and_does_not_store(tmp_path: Path) -> None:
    def level(depth: int, kind: str, text: str) -> str:
        return (
            f'<w:lvl w:ilvl="{depth}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/></w:lvl>'
        )

    numbering = f"""<w:abstractNum w:abstractNumId="0">{level(0, "decimal", "§ %1.")}{level(1, "decimal", "%1.%2")}
    {level(2, "lowerRoman", "%3)")}</w:abstractNum><w:num w:numId="5"><w:abstractNumId w:val="0"/></w:num>"""
    depths = [0, 1, 1, 2, 2, 0, 1]
    body = "".join(
        p(f"item{at}", f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="5"/></w:numPr>')
        for at, depth in enumerate(depths)
    )
    body += p("bullet", '<w:numPr><w:numId w:val="77"/></w:numPr>') + p(
        "none", '<w:numPr><w:numId w:val="0"/></w:numPr>'
    )
    read = parse(docx(tmp_path / "a.docx", body, {"numbering": numbering}), ".docx")
    assert [block.strip() for block in read.split("\n\n")] == [
        "§ 1. item0", "1.1 item1", "1.2 item2", "i) item3", "ii) item4", "§ 2. item5", "2.1 item6", "- bullet", "none",
    ]  # fmt: skip


@pytest.mark.parametrize("merged", [True, False])
def test_a_cell_over_several_rows_is_in_each(tmp_path: Path, merged: bool) -> None:
    goes_on = "<w:tcPr><w:vMerge/></w:tcPr>" if merged else ""
    rows = f'<w:tr><w:tc><w:tcPr><w:vMerge w:val="restart"/></w:tcPr>{p("Gold")}</w:tc><w:tc>{p("99")}</w:tc></w:tr>' \
        f'<w:tr><w:tc>{goes_on}<w:p/></w:tc><w:tc>{p("199")}</w:tc></w:tr>'  # fmt: skip
    read = parse(docx(tmp_path / "a.docx", f"<w:tbl>{rows}</w:tbl>"), ".docx")
    assert read.split("\n")[2] == ("| Gold | 199 |" if merged else "|  | 199 |")


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ('<w:r><w:sym w:font="Symbol" w:char="F06D"/></w:r><w:r><w:t>m</w:t></w:r>', "μm"),
        ('<w:r><w:t>5</w:t><w:sym w:font="Symbol" w:char="00B3"/><w:t>3</w:t></w:r>', "5≥3"),
        ('<w:r><w:rPr><w:rFonts w:ascii="Symbol"/></w:rPr><w:t>\uf061-ray</w:t></w:r>', "α-ray"),
        ('<w:r><w:sym w:font="Wingdings" w:char="F0FC"/><w:sym w:char="F0FC"/></w:r>', "✓"),
        ("<m:oMath>x<m:d><m:e><m:r><m:t>a+b</m:t></m:r></m:e></m:d></m:oMath>", "(a+b)"),
        (
            '<m:oMath><m:d><m:dPr><m:begChr m:val="["/><m:endChr m:val="["/><m:sepChr m:val=";"/></m:dPr>'
            "<m:e><m:r><m:t>1</m:t></m:r></m:e><m:e><m:r><m:t>2</m:t></m:r></m:e></m:d></m:oMath>",
            "[1;2[",
        ),
        (
            "<m:oMath><m:sSubSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sub><m:r><m:t>1</m:t></m:r></m:sub>"
            "<m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSubSup></m:oMath>",
            "x_(1)^(2)",
        ),
    ],
)
def test_signs_and_formulas_say_what_they_show(tmp_path: Path, runs: str, shown: str) -> None:
    read = parse(docx(tmp_path / "a.docx", f"<w:p>{runs}</w:p>"), ".docx")
    assert read == shown
    # The sign of a font that is not named may be a picture.
    assert isinstance(read, PartialText) == ('<w:sym w:char="F0FC"/>' in runs)
