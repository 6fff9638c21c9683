"""Presentations: what python-pptx sees is in the text, and what is hidden is counted."""

import io
from pathlib import Path

from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from retrieval.sources.document import PartialText
from retrieval.sources.parsing.parse import parse
from tests.retrieval.sources.parsing.independent import missing_words, pptx_text
from tests.retrieval.sources.parsing.office.packages import changed


def presentation() -> bytes:
    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Quarter\x0breview"
    first.placeholders[1].text = "first point\nsecond point"
    first.notes_slide.notes_text_frame.text = "say it slowly"
    group = first.shapes.add_group_shape()
    inner = group.shapes.add_group_shape().shapes.add_textbox(0, 0, Inches(1), Inches(1))
    inner.text_frame.text = "deep in groups"
    table = first.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(1)).table
    for at, cell in enumerate(table.iter_cells()):
        cell.text = f"cell{at}"
    data = CategoryChartData()
    data.categories = ["North", "South"]
    data.add_series("Turnover", (7.5, 9))
    first.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(3), Inches(3), data)
    second = deck.slides.add_slide(deck.slide_layouts[6])
    second.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = "without a title"
    out = io.BytesIO()
    deck.save(out)
    return out.getvalue()


def test_what_python_pptx_sees_is_in_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.pptx"
    path.write_bytes(presentation())
    read = parse(path.read_bytes(), ".pptx")
    assert missing_words(read, pptx_text(path)) == set()
    assert read.startswith("# Quarter review\n\n") and "# Slide 2\n\nwithout a title" in read
    assert "|  | Turnover |\n| --- | --- |\n| North | 7.5 |\n| South | 9 |" in read
    assert "### Notes\n\nsay it slowly" in read and not isinstance(read, PartialText)


def test_a_hidden_slide_is_counted() -> None:
    read = parse(changed(presentation(), "ppt/slides/slide2.xml", "<p:sld ", '<p:sld show="0" '), ".pptx")
    assert "without a title" not in read
    assert isinstance(read, PartialText) and read.left_out == ("not its hidden slides (1)",)


def test_an_unknown_shape_and_a_missing_picture_refuse_nothing() -> None:
    odd = (
        '<p:sp><p:nvSpPr><p:cNvPr id="99" name="x"/></p:nvSpPr><p:spPr><a:prstGeom prst="noSuchShape"/></p:spPr>'
        "<p:txBody><a:p><a:r><a:t>in an unknown shape</a:t></a:r></a:p></p:txBody></p:sp><p:unheardOf/>"
        '<p:pic><p:nvPicPr><p:cNvPr id="98" name="y"/></p:nvPicPr><a:blip r:embed="rId404"/></p:pic>'
    )
    read = parse(changed(presentation(), "ppt/slides/slide2.xml", "</p:spTree>", odd + "</p:spTree>"), ".pptx")
    assert "in an unknown shape" in read and "without a title" in read
    assert isinstance(read, PartialText) and read.left_out == ("not its pictures without a description (1)",)


def test_a_damaged_slide_refuses_no_other() -> None:
    read = parse(changed(presentation(), "ppt/slides/slide2.xml", "</p:spTree>", ""), ".pptx")
    assert "Quarter review" in read
    assert isinstance(read, PartialText) and read.left_out == ("not its damaged parts (1)",)


def test_a_missing_slide_is_counted() -> None:
    content = changed(presentation(), "ppt/_rels/presentation.xml.rels", "slides/slide2.xml", "slides/slide9.xml")
    read = parse(content, ".pptx")
    assert isinstance(read, PartialText) and read.left_out == ("not its slides that are missing in the file (1)",)


def test_a_fraction_is_none_of_its_digits() -> None:
    deck = Presentation()
    box = deck.slides.add_slide(deck.slide_layouts[6]).shapes.add_textbox(0, 0, Inches(1), Inches(1))
    box.text_frame.text = "half"
    out = io.BytesIO()
    deck.save(out)
    formula = "<m:oMath xmlns:m='m'><m:f><m:num><m:t>1</m:t></m:num><m:den><m:t>2</m:t></m:den></m:f></m:oMath>"
    read = parse(changed(out.getvalue(), "ppt/slides/slide1.xml", "</a:r>", f"</a:r>{formula}"), ".pptx")
    assert "half(1)/(2)" in read
