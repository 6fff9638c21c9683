"""Workbooks: cells as the sheet shows them, nothing for empty ones, and what is hidden counted."""

import io
import re
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest
from openpyxl import Workbook
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment

from retrieval.sources.document import PartialText
from retrieval.sources.parsing.office.number_formats import show
from retrieval.sources.parsing.parse import parse
from tests.retrieval.sources.parsing.independent import missing_words, xlsx_text
from tests.retrieval.sources.parsing.office.packages import changed


def saved(book: Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_what_openpyxl_sees_is_in_the_text(tmp_path: Path) -> None:
    book = Workbook()
    book.active.title = "Prices 2024"
    book.active["B2"], book.active["D2"], book.active["B5"], book.active["D5"] = (
        "part",
        "text",
        4711,
        "two\nlines | pipe",
    )
    book.active["B5"].comment = Comment("ask Kestrel", "Ada")
    book.active["D9"] = True
    book.create_sheet("Empty sheet")
    path = tmp_path / "a.xlsx"
    book.save(path)
    read = parse(path.read_bytes(), ".xlsx")
    assert missing_words(read, xlsx_text(path)) <= {"True"}
    assert read == (
        "## Prices 2024\n\n| part | text |\n| --- | --- |\n| 4711 | two lines \\| pipe |\n|  | TRUE |\n\n"
        "Comment on B5: ask Kestrel\n\n## Empty sheet"
    )


def test_formulas_are_values_where_some_program_computed_them() -> None:
    book = Workbook()
    book.active.append(["a", "b", "=A1&B1", "=SUM(1,2)"])
    content = saved(book)
    read = parse(content, ".xlsx")
    assert read.split("\n")[2] == "| a | b | =A1&B1 | =SUM(1,2) |"
    assert isinstance(read, PartialText) and read.left_out == (
        "not its values of formulas that were never computed (2)",
    )
    sheet = "xl/worksheets/sheet1.xml"
    content = changed(
        content, sheet, r'<c r="C1"[^>]*><f>([^<]*)</f><v\s*/?>(?:</v>)?', r'<c r="C1" t="str"><f>\1</f><v></v>'
    )
    content = changed(content, sheet, r"<f>SUM\(1,2\)</f><v\s*/?>(?:</v>)?", "<f>SUM(1,2)</f><v>3</v>")
    assert parse(content, ".xlsx") == "## Sheet\n\n| a | b | 3 |\n| --- | --- | --- |"  # an empty text was computed


def test_hidden_sheets_rows_and_columns_are_counted_and_filtered_rows_are_read() -> None:
    book = Workbook()
    sheet = book.active
    for row in [["id", "secret", "name"], [1, "x", "first"], [2, "y", "second"], [3, "z", "third"]]:
        sheet.append(row)
    sheet.column_dimensions["B"].hidden = True
    sheet.row_dimensions[3].hidden = True
    book.create_sheet("lookup").sheet_state = "veryHidden"
    read = parse(saved(book), ".xlsx")
    assert read.split("\n")[2:] == ["| id | name |", "| --- | --- |", "| 1 | first |", "| 3 | third |"]
    assert isinstance(read, PartialText)
    assert read.left_out == ("not its hidden columns (1)", "not its hidden rows (1)", "not its hidden sheets (1)")
    sheet.auto_filter.ref = "A1:C4"
    sheet.auto_filter.add_filter_column(0, ["1", "3"])
    assert "| 2 | second |" in parse(saved(book), ".xlsx")


def test_a_merged_cell_is_in_each_of_its_rows() -> None:
    book = Workbook()
    for row in [["Plan", "Price"], ["Gold", 99], [None, 199], ["Tin", 9]]:
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    assert "| Gold | 199 |" in parse(saved(book), ".xlsx")


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (0.125, "0.0%", "12.5%"), (0.5, "0%", "50%"), (1234567.891, "#,##0.00", "1,234,567.89"), (5, "0.00", "5.00"),
        (-3, "0;(0)", "(3)"), (-3.5, "General", "-3.5"), (1067, "00000", "01067"), (12.5, '#,##0.00 "€"', "12.50 €"),
        (12.5, "#,##0.00\\ [$€-407]", "12.50 €"), (7, '"No. "0', "No. 7"), (0.1 + 0.2, "General", "0.3"),
        (1e15, "General", "1000000000000000"), (123456789, "000-00-0000", "123-45-6789"), (0, '0;-0;"-"', "-"),
        (5, ";;;", "5"), (1.005, "0.00", "1.01"), (2.5, "# ?/?", "2.5"), (True, "General", "TRUE"), ("x", "@", "x"),
        (-0.004, "0.00", "0.00"), (1234, "#,##0", "1,234"), (0.5, "#.00", ".50"), (1500000, '0.0,,"M"', "1.5M"),
        (date(2024, 3, 9), "dd.mm.yyyy", "09.03.2024"), (datetime(2024, 3, 9, 14, 5), "d/m/yy h:mm", "9/3/24 14:05"),
        (date(2024, 3, 9), "mm-dd-yy", "2024-03-09"), (date(2024, 3, 9), "[$-409]d mmmm yyyy;@", "9 March 2024"),
        (time(15, 7), "h:mm AM/PM", "3:07 PM"), (datetime(2024, 3, 9, 1, 2, 3), "mm:ss", "02:03"),
        (timedelta(hours=30, minutes=5), "[h]:mm", "30:05:00"), (datetime(2024, 3, 9), "ddd, mmm d", "Sat, Mar 9"),
        (datetime(2024, 3, 9), 'yyyy"年"m"月"d"日"', "2024年3月9日"),
    ],
)  # fmt: skip
def test_values_are_shown_as_their_format_shows_them(value: object, code: str, shown: str) -> None:
    assert show(value, code) == shown  # type: ignore[arg-type]


def test_pictures_charts_and_text_boxes_of_a_sheet() -> None:
    book = Workbook()
    book.active.append(["North", 7])
    chart = BarChart()
    chart.title = "Turnover"
    chart.add_data(Reference(book.active, min_col=2, min_row=1))
    book.active.add_chart(chart, "D1")
    content, drawing = saved(book), "xl/drawings/drawing1.xml"
    assert "Turnover" in parse(content, ".xlsx")
    picture = (
        '<pic><nvPicPr><cNvPr id="9" name="x"/></nvPicPr><blipFill><a:blip xmlns:a="a" r:embed="rId404" xmlns:r="r"/>'
    )
    box = '<sp><txBody><a:p xmlns:a="a"><a:r><a:t>in a box</a:t></a:r></a:p></txBody></sp>'
    read = parse(changed(content, drawing, "</wsDr>|</xdr:wsDr>", rf"{picture}</blipFill></pic>{box}\g<0>"), ".xlsx")
    assert "| North | 7 |" in read and "in a box" in read
    assert isinstance(read, PartialText) and read.left_out == ("not its pictures without a description (1)",)
    read = parse(changed(content, drawing, "</wsDr>|</xdr:wsDr>", ""), ".xlsx")
    assert "| North | 7 |" in read
    assert isinstance(read, PartialText) and read.left_out == ("not its damaged parts (1)",)


def test_dates_and_percentages_of_a_sheet() -> None:
    book = Workbook()
    book.active.append([date(2024, 3, 9), 0.19])
    book.active["A1"].number_format, book.active["B1"].number_format = "dd.mm.yyyy", "0%"
    assert "| 09.03.2024 | 19% |" in parse(saved(book), ".xlsx")


def test_what_is_printed_around_a_sheet_and_what_is_drawn_on_it() -> None:
    book = Workbook()
    book.active.oddHeader.center.text, book.active.evenFooter.left.text = "Acme &D", "Page &P of &N"
    book.active["A1"], book.active["A2"] = "one_x000D_two", datetime(2024, 1, 2, 3, 4, 5, 250000)
    book.active["A2"].number_format = "mm:ss.00"
    content = saved(book)
    out = io.BytesIO(content)
    with ZipFile(out, "a") as archive:
        archive.writestr("xl/diagrams/data1.xml", "<d xmlns:a='a'><a:p><a:r><a:t>a point</a:t></a:r></a:p></d>")
        archive.writestr("xl/embeddings/a.docx", "x")
    read = parse(out.getvalue(), ".xlsx")
    table = "| one two |\n| --- |\n| 04:05.25 |"
    assert read == f"## Sheet\n\n{table}\n\nHeader: Acme\n\nFooter: Page of\n\n- a point"
    assert isinstance(read, PartialText) and read.left_out == ("not its embedded files (1)",)


def test_a_workbook_of_the_strict_variant() -> None:
    book = Workbook()
    book.active["A1"] = "Kestrel"
    out, name = io.BytesIO(), r"http://schemas.openxmlformats.org/(\w+)/2006/"
    with ZipFile(io.BytesIO(saved(book))) as old, ZipFile(out, "w") as strict:
        for part in old.namelist():
            strict.writestr(part, re.sub(name, r"http://purl.oclc.org/ooxml/\1/", old.read(part).decode()))
    assert parse(out.getvalue(), ".xlsx") == "## Sheet\n\n| Kestrel |\n| --- |"
