"""Pages: what a browser shows is in the text, what the page hides is counted."""

import pytest

from retrieval.sources.document import PartialText, Unreadable
from retrieval.sources.parsing.parse import parse
from tests.retrieval.sources.parsing.independent import html_text, missing_words

PAGE = """<!DOCTYPE html><!-- remark --><html><head><title>Guide &amp; more</title><meta charset=utf-8>
<style>.x{color:red}</style></head><body><header>Top</header><nav><ul><li>Home</li><li>Shop</li></ul></nav>
<h2>Kettles</h2><p>un<b>believ</b>able snake_case 2*3 H<sub>2</sub>O co&shy;operate</p>
<img alt="a chart of sales" src="data:image/png;base64,AAAA"><img title="only a title" src="x.png">
<table><tr><th>Plan</th><th>Price</th></tr><tr><td rowspan=2>Gold</td><td>99 EUR</td></tr>
<tr><td>199 | EUR</td></tr></table>
<select><option>Red</option><option>Blue</option></select><button>Buy</button><button>Sell</button>
<form><input value="Given" ><input type=hidden value=secretive><input placeholder="Search here"></form>
<details><summary>More</summary>inside</details><dl><dt>Term</dt><dd>Meaning</dd></dl>
<abbr title="World Health Organization">WHO</abbr><svg><text>drawn</text></svg><pre>code  here</pre>
<noscript>without scripts</noscript><footer>Bottom</footer></body></html>"""


def test_every_word_that_is_shown_is_in_the_text() -> None:
    read = parse(PAGE.encode(), ".html")
    assert missing_words(read, html_text(PAGE.replace("<b>", "").replace("</b>", "").replace("&shy;", ""))) <= {
        "H",
        "O",
    }
    assert missing_words(read, "unbelievable snake_case H2O cooperate Guide Given Search World title Red Blue") == set()
    assert not missing_words(read, "Top Home Shop Buy Sell More inside Bottom without drawn")
    assert "| Plan | Price |" in read and "base64" not in read and "color" not in read
    assert "secretive" not in read and "remark" not in read and read.startswith("# Guide & more")


@pytest.mark.parametrize(
    "hidden",
    [
        "<p style='display:none'>gnu</p>",
        "<div style='color: red; DISPLAY : none !important'><p>gnu</p><b>gnu</b></div>",
        "<p style=visibility:hidden>gnu</p>",
        "<p hidden>gnu</p>",
        "<section hidden=''><div style='display:none'>gnu</div></section>",
    ],
)
def test_what_the_page_hides_is_left_out_and_counted(hidden: str) -> None:
    read = parse(f"<body><p>shown</p>{hidden}</body>".encode(), ".html")
    assert read == "shown" and isinstance(read, PartialText)
    assert read.left_out == ("not its elements that the page hides (1)",)


@pytest.mark.parametrize(
    "shown",
    [
        "<html hidden><body style='display:none'>gnu",
        "<head><title>x</title><p>gnu",
        "<p hidden=until-found>gnu</p>",
        "<p style='x-display:none'>gnu</p>",
        "<p aria-hidden=true>gnu</p>",
        "gnu",
    ],
)
def test_what_is_shown_is_read(shown: str) -> None:
    read = parse(shown.encode(), ".html")
    assert "gnu" in read and not isinstance(read, PartialText)


@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("<p hidden>gnu<p>one<p>two", "one\n\ntwo"),
        ("<p>one <b>two<div hidden>gnu</div><div>three</div>", "one **two**\n\nthree"),
        ("<ul><li hidden>gnu<li>one<ul><li>two</ul><li>three</ul>", "* one\n  + two\n* three"),
        ("<dl><dt hidden>gnu<dd>one<dt>two</dl>", ":   one\n\ntwo"),
        ("<select><option hidden>gnu<option>one</select>", "one"),
        ("<table><tr hidden><td>gnu<tr><td hidden>gnu<td>one<td>two</table>", "|  |  |\n| --- | --- |\n| one | two |"),
        ("<head><title>one</title><link hidden><p>two", "# one\n\ntwo"),
        ("<title>one<p>two", "one\n\ntwo"),
        ("<svg><title>icon</title></svg><p>one", "icon\n\none"),
        ("<p style='display:none; display:block'>one", "one"),
        ("<div style='visibility:hidden'><p style='visibility:visible'>one</div>", "one"),
        ("<iframe srcdoc='<p>one</p>'>gnu</iframe>", "one"),
        ("<math><mfrac><mn>1</mn><mn>2</mn></mfrac></math>", "(1)/(2)"),
        ("<h1>top</h1>" + "<p>one wo<font>rd</font>" * 400, "# top" + "\n\none word" * 400),
    ],
)
def test_a_page_may_leave_out_end_tags(page: str, shown: str) -> None:
    read = parse(page.encode(), ".html")
    assert read == shown and isinstance(read, PartialText) == ("hidden>gnu" in page)


def test_no_text_of_the_page() -> None:
    read = parse(b"<template>gnu</template><script>gnu()</script><style>gnu{}</style><p>shown", ".htm")
    assert read == "shown" and not isinstance(read, PartialText)


def test_pictures_without_a_description_are_counted() -> None:
    read = parse(b"<svg><title>icon</title></svg><p>text<img src=a.png><img alt='' src=line.png></p>", ".html")
    assert read.split() == ["icon", "text"]
    assert isinstance(read, PartialText) and read.left_out == ("not its pictures without a description (1)",)


RUSSIAN = "<p>Политика отпусков</p>"


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (f"<meta charset='windows-1251'>{RUSSIAN}".encode("cp1251"), None),
        (f"<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>{RUSSIAN}".encode("koi8-r"), None),
        (f"<?xml version='1.0' encoding='windows-1251'?><html>{RUSSIAN}</html>".encode("cp1251"), None),
        (f"<meta charset=utf-8>{RUSSIAN}".encode("cp1251"), "windows-1251"),  # the header is believed first
        (f"<meta charset=windows-1251>{RUSSIAN}".encode("utf-8-sig"), "koi8-r"),  # and a mark before it
        (f"<meta charset=utf-16>{RUSSIAN}".encode(), None),
        (f"<meta charset=no-such>{RUSSIAN}".encode(), None),
    ],
)
def test_the_charset_is_that_of_the_mark_the_header_or_the_page(content: bytes, declared: str | None) -> None:
    assert parse(content, ".html", declared=declared) == "Политика отпусков"


def test_labels_mean_what_they_mean_on_the_web() -> None:
    assert "5 €" in parse("<meta charset=iso-8859-1><p>5 €</p>".encode("cp1252"), ".html")
    assert "有給①" in parse("<meta charset=shift_jis><p>有給①</p>".encode("cp932"), ".html")


def test_a_charset_that_does_not_fit_is_refused_and_a_stray_byte_is_counted() -> None:
    with pytest.raises(Unreadable, match=r"says that it is utf-8, and .* places in it are not"):
        parse(f"<meta charset=utf-8>{RUSSIAN}".encode("cp1251"), ".html")
    assert "Политика" in parse(f"<meta charset=utf-8>{RUSSIAN}".encode("cp1251"), ".html", "cp1251")
    read = parse(f"<meta charset=utf-8>{RUSSIAN * 100}".encode() + b"\xff", ".html")
    assert isinstance(read, PartialText) and "charset of the page (1)" in read.left_out[0]


@pytest.mark.parametrize("depth", [200, 5000])
def test_elements_may_lie_deep_in_each_other(depth: int) -> None:
    assert parse(("<div>" * depth + "de<i>ep</i> axo<sub>lotl").encode(), ".html") == "deep axolotl"
