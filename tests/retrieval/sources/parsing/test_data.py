"""JSON, XML, notebooks and books."""

import json
from pathlib import Path

import pytest

from retrieval.sources.document import PartialText, Unreadable
from retrieval.sources.parsing.parse import parse
from tests.retrieval.sources.parsing.independent import missing_words
from tests.retrieval.sources.parsing.office.packages import changed, zipped


def test_json_is_a_list_of_its_members() -> None:
    value = {
        "name": "B\u00e4ckerei\nM\u00fcller", "price": 1.10, "tags": ["red", "blue"], "empty": {}, "none": None,
        "rows": [{"id": 1, "text": "first"}, {"id": 2, "text": "second \U0001f600"}], "matrix": [[1, 2], [3, 4]],
    }  # fmt: skip
    read = parse(json.dumps(value).encode(), ".json")
    assert read.split("\n") == [
        "- name: Bäckerei Müller", "- price: 1.1", "- tags: red, blue", "- empty", "- none: null", "- rows",
        "  - rows 1", "    - id: 1", "    - text: first", "  - rows 2", "    - id: 2", "    - text: second 😀",
        "- matrix", "  - matrix 1: 1, 2", "  - matrix 2: 3, 4",
    ]  # fmt: skip
    assert parse(b'"only text"', ".json") == "- only text"
    assert "\ud83d" not in parse(b'{"half": "\\ud83d"}', ".json")


@pytest.mark.parametrize("source", ['{"a": 1} // why', "{'a': 1}", '{"a": 1,}'])
def test_what_is_not_quite_json_is_kept_as_it_stands(source: str) -> None:
    assert parse(source.encode(), ".json") == f"```json\n{source}\n```\n"


def test_several_values_and_a_key_that_is_there_twice() -> None:
    assert parse(b'{"a": "Gr\\u00fc\\u00dfe"}\n{"a": "x\\ny"}\n', ".json") == "- 1\n  - a: Grüße\n- 2\n  - a: x y"
    assert parse(b'{"a": "\\u00fc", "a": 2}', ".json") == "- 1\n  - a: ü\n- 2\n  - a: 2"
    assert parse(b" \n", ".json") == ""


def test_words_of_xml_stay_apart_and_whole() -> None:
    read = parse(b"<p>one<lb/>two H<sub>2</sub>O<list><i>three</i><i>four</i></list>five</p>", ".xml")
    assert read.split()[2:] == ["one", "two", "H2O", "threefour", "five"]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"data": {"text/plain": "<IPython.core.display.HTML object>", "text/html": "<p>first</p>"}}, "first"),
        ({"data": {"text/plain": ["<Markdown object>"], "text/markdown": "**first** second"}}, "first second"),
        ({"data": {"text/plain": "first second", "text/html": "<p>first"}}, "first second"),
        ({"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mfirst\x1b[0m"]}, "first E: v"),
        ({"data": None, "text": ["first\x1b[1msecond"]}, "firstsecond"),
    ],
)
def test_of_several_ways_to_show_a_result_one_with_its_words_is_read(output: dict[str, object], words: str) -> None:
    book = {"metadata": {"kernelspec": None}, "cells": [{"cell_type": "code", "source": "", "outputs": [output]}]}
    assert not missing_words(parse(json.dumps(book).encode(), ".ipynb"), words)


def test_numbers_keep_their_digits() -> None:
    assert parse(b'{"a": 1.10, "b": 1e400, "c": 12345678901234567890}', ".json").split() == (
        ["-", "a:", "1.10", "-", "b:", "1e400", "-", "c:", "12345678901234567890"]
    )


def test_xml_keeps_texts_and_attributes() -> None:
    source = """<?xml version="1.0" encoding="iso-8859-1"?><!-- remark --><book lang="de"><title>Über K\xe4se</title>
    <part n="1"><para>un<b>believ</b>able <i href="x.html">link</i> tail</para><empty/>
    </part> <![CDATA[raw <text>]]></book>"""
    read = parse(source.encode("latin-1"), ".xml")
    assert not missing_words(read, "lang de Über Käse unbelievable link tail x html raw text 1")
    assert "remark" not in read
    nested = "<a><b k='v'><c>deep</c></b><d>next</d></a>"
    assert parse(nested.encode(), ".xml") == "- a\n  - b (k=v)\n    - c: deep\n  - d: next"
    with pytest.raises(Unreadable, match="is no XML"):
        parse(b"<a><b></a>", ".xml")


def test_a_notebook() -> None:
    book = {
        "metadata": {"kernelspec": {"language": "julia"}}, "nbformat": 4,
        "cells": [
            {"cell_type": "markdown", "source": ["# Kettles\n", "They boil."]},
            {"cell_type": "code", "source": "# comment\nprint(1)", "outputs": [
                {"output_type": "stream", "text": ["boiled\n"]},
                {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": ["<Figure>"]}},
                {"output_type": "error", "ename": "ValueError", "evalue": "too hot"}]},
            {"cell_type": "raw", "source": "as it is"},
        ],
    }  # fmt: skip
    read = parse(json.dumps(book).encode(), ".ipynb")
    assert read.startswith("# Kettles\nThey boil.\n\n```julia\n# comment\nprint(1)\n```\n")
    assert not missing_words(read, "boiled Figure ValueError too hot as it is") and "AAAA" not in read
    assert isinstance(read, PartialText) and read.left_out == ("not its pictures (1)",)
    for source in (b"{}", b"[]", b'{"cells": [{}]}', b"no json"):
        with pytest.raises(Unreadable, match="is no notebook"):
            parse(source, ".ipynb")


def book(path: Path, **files: str) -> bytes:
    package = """<package><metadata><title>Kettles</title></metadata><manifest>
    <item id="b" href="two%20b.xhtml" media-type="application/xhtml+xml"/>
    <item id="c" href="style.css" media-type="text/css"/>
    <item id="a" href="one.xhtml" media-type="application/xhtml+xml"/></manifest>
    <spine><itemref idref="a"/><itemref idref="b"/></spine></package>"""
    container = '<container><rootfiles><rootfile full-path="OEBPS/x.opf"/></rootfiles></container>'
    return zipped(path, {"META-INF/container.xml": container, "OEBPS/x.opf": package, **files})


def test_a_book_in_the_order_in_which_it_is_read(tmp_path: Path) -> None:
    pages = {
        "OEBPS/one.xhtml": "<?xml version='1.0'?><html><body><h2>First</h2><p hidden=''>secret</p></body></html>",
        "OEBPS/two b.xhtml": "<html><body><p>Second</p></body></html>",
    }
    read = parse(book(tmp_path / "a.epub", **pages), ".epub")
    assert read == "# Kettles\n\n## First\n\nSecond"
    assert isinstance(read, PartialText) and read.left_out == ("not its elements that the page hides (1)",)
    read = parse(book(tmp_path / "b.epub", **{"OEBPS/one.xhtml": "<p>First</p>"}), ".epub")
    assert isinstance(read, PartialText) and read.left_out == ("not its pages that are missing (1)",)


def test_pages_of_older_books_are_read_and_others_counted(tmp_path: Path) -> None:
    old = book(tmp_path / "a.epub", **{"OEBPS/one.xhtml": "<p>First</p>", "OEBPS/two b.xhtml": "<p>Second</p>"})
    read = parse(
        changed(
            old, "OEBPS/x.opf", 'xhtml" media-type="application/xhtml.xml', 'xhtml#x" media-type="text/x-oeb1-document'
        ),
        ".epub",
    )
    assert read == "# Kettles\n\nFirst\n\nSecond" and not isinstance(read, PartialText)
    read = parse(changed(old, "OEBPS/x.opf", 'idref="a"', 'idref="none"'), ".epub")
    assert isinstance(read, PartialText) and read.left_out == ("not its pages of other kinds (1)",)


def test_a_protected_book_is_named(tmp_path: Path) -> None:
    encryption = '<e><CipherReference URI="OEBPS/one.xhtml"/><CipherReference URI="OEBPS/two%20b.xhtml"/></e>'
    pages = {"META-INF/encryption.xml": encryption, "OEBPS/one.xhtml": "x", "OEBPS/two b.xhtml": "x"}
    with pytest.raises(Unreadable, match=r"is protected \(DRM\)"):
        parse(book(tmp_path / "a.epub", **pages), ".epub")
