"""A PDF's words: each is in the text as it is read, or the report counts what was left out."""

from io import BytesIO

import pytest
from pypdf import PdfWriter

from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.parsed import PdfReading
from retrieval.sources.parsing.pdf.read import read_pdf
from tests.retrieval.sources.parsing.pdf.pages import Pdf, rule, text, width

WITHOUT_OCR = PdfReading(with_ocr=False)
FULL_PAGE = b"q 612 0 0 792 0 0 cm /Im1 Do Q\n"


def read(pdf: Pdf) -> str:
    return read_pdf(pdf.written(), WITHOUT_OCR).text


def left_out(pdf: Pdf) -> dict[str, int]:
    return dict(+read_pdf(pdf.written(), WITHOUT_OCR).left_out)


def from_right(words: str, x: float, y: float) -> bytes:
    """Letters placed one by one from the right, in the order in which they are typed."""
    placed = []
    for letter in words:
        x -= width(letter)
        placed.append(text(letter, x, y, font="F2"))
    return b"".join(placed)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_turned_pages_are_read_along_their_lines(turned: int) -> None:
    by_rotate, by_matrix = Pdf(), Pdf()
    by_rotate.page(text("The boiler is", 72, 700), text("checked in May.", 72, 686), rotate=turned)
    below = {0: (300, 386), 90: (314, 400), 180: (300, 414), 270: (286, 400)}[turned]
    by_matrix.page(text("The boiler is", 300, 400, turned=turned), text("checked in May.", *below, turned=turned))
    assert read(by_rotate) == read(by_matrix) == "The boiler is\nchecked in May."


def test_text_at_any_angle_is_kept() -> None:
    pdf = Pdf()
    pdf.page(text("The boiler is checked in May.", 72, 700), text("Draft of Quillhaven", 200, 300, turned=45))
    assert read(pdf) == "The boiler is checked in May.\n\nDraft of Quillhaven"


@pytest.mark.parametrize("typed", ["שלום עולם", "مرحبا بالعالم", "نص عربي بسيط", "فارسی را بخوان", "بِسْمِ"])
def test_lines_from_the_right_are_read_as_they_are_typed(typed: str) -> None:
    as_seen, as_typed = Pdf(), Pdf()
    as_seen.page(text(typed[::-1], 72, 700, font="F2"))
    as_typed.page(from_right(typed, 500, 700))
    assert read(as_seen) == read(as_typed) == typed


@pytest.mark.parametrize(
    ("seen", "typed"),
    [
        ("ףוס Windows 11 (בוט) 2024 םלוע", "עולם 2024 (טוב) Windows 11 סוף"),
        ("the word םולש in English", "the word שלום in English"),
        ("50% לש החנה 12/03/2024 דע", "עד 12/03/2024 הנחה של 50%"),
        ("\ufe8f\ufe8e\ufe91 \ufefb", "لا باب"),
    ],
)
def test_numbers_and_latin_words_keep_their_order(seen: str, typed: str) -> None:
    pdf = Pdf()
    pdf.page(text(seen, 72, 700, font="F2"))
    assert read(pdf) == typed


def test_words_are_whole_and_real_hyphens_stay() -> None:
    pdf = Pdf()
    lines = [
        "The infra-", "structure is state-of-", "the-art. The Baden-", "Baden line, COVID-", "19, an e-", "mail to the",
        "well-known lender and the well-", "known offer.",
    ]  # fmt: skip
    pdf.page(*[text(line, 72, 700 - 14 * place) for place, line in enumerate(lines)])
    found = read(pdf)
    for word in ("infrastructure", "state-of-the-art.", "Baden-Baden", "COVID-19,", "e-mail", "offer."):
        assert word in found.split()
    assert found.split().count("well-known") == 2


def test_ligatures_are_letters() -> None:
    pdf = Pdf()
    pdf.page(text("of\ufb01ce \ufb02ow e\ufb03cient", 72, 700, font="F2"))
    assert read(pdf) == "office flow efficient"


LEFT = ["The grid carries power from", "the plants to the towns, and", "each town has a substation."]
RIGHT = ["Water comes from the hills in", "pipes of clay that are older", "than most of the houses here."]


@pytest.mark.parametrize("by_line", [False, True])
def test_columns_are_read_one_after_the_other(by_line: bool) -> None:
    """Whether the file holds them by columns or by lines."""
    left = [text(line, 72, 700 - 14 * place) for place, line in enumerate(LEFT)]
    right = [text(line, 320, 700 - 14 * place) for place, line in enumerate(RIGHT)]
    parts = [part for pair in zip(left, right, strict=True) for part in pair] if by_line else left + right
    pdf = Pdf()
    head, foot = (
        "A report on the services of the town, and of its surroundings.",
        "This line is below both of the columns.",
    )
    pdf.page(text(head, 72, 740), *parts, text(f"{foot} {foot}", 72, 640))
    assert read(pdf).split() == [*f"{head} {' '.join(LEFT)} {' '.join(RIGHT)} {foot} {foot}".split()]


def test_tables_are_rows() -> None:
    rows = [("Part", "Name", "Price"), ("P-0417", "Hinge, brass", "4.20"), ("P-0418", "Hinge, galvanised", "3.10")]
    pdf = Pdf()
    pdf.page(
        *[
            text(cell, x, 700 - 14 * at)
            for at, row in enumerate(rows)
            for cell, x in zip(row, (72, 160, 400), strict=True)
        ]
    )
    assert read(pdf).splitlines() == [
        "| Part | Name | Price |", "| --- | --- | --- |", "| P-0417 | Hinge, brass | 4.20 |",
        "| P-0418 | Hinge, galvanised | 3.10 |",
    ]  # fmt: skip


def test_drawn_lines_part_rows_of_several_lines() -> None:
    rows = [("Leave", LEFT[:2], RIGHT[:2]), ("Travel", LEFT[1:], RIGHT[1:])]
    parts = [rule(72, 712, 450)]
    for at, (name, first, second) in enumerate(rows):
        y = 700 - 40 * at
        parts += [text(name, 72, y), rule(72, y - 27, 450)]
        parts += [text(line, 130, y - 13 * place) for place, line in enumerate(first)]
        parts += [text(line, 320, y - 13 * place) for place, line in enumerate(second)]
    pdf = Pdf()
    pdf.page(*parts)
    assert read(pdf).splitlines()[2] == f"| Travel | {' '.join(LEFT[1:])} | {' '.join(RIGHT[1:])} |"


def test_fields_and_comments_are_read() -> None:
    pdf = Pdf()
    widget = "<< /Type /Annot /Subtype /Widget /Rect [72 600 200 615]"
    pdf.page(text("Application", 72, 740), annotations=[each.encode() for each in (
        f"{widget} /FT /Tx /T (surname) /TU (Family name) /V (Kestrelsen) >>",
        f"{widget} /FT /Tx /T (town) /V <FEFF00DC00620065007200730063006800FC0073> >>",
        f"{widget} /FT /Tx /T (empty) >>",
        f"{widget} /FT /Ch /T (languages) /Ff 2097152 /Opt [(Finnish)(Greek)(Maltese)] /V [(Finnish)(Maltese)] >>",
        f"{widget} /FT /Btn /T (agreed) /V /Yes /AS /Yes /AP << /N << /Yes null /Off null >> >> >>",
        f"{widget} /FT /Btn /T (refused) /V /Off /AS /Off >>",
        "<< /Type /Annot /Subtype /FreeText /Contents (Beside the text) /Rect [72 400 200 420] >>",
        "<< /Type /Annot /Subtype /Text /Contents (Ask legal) /T (Jane) /Rect [72 380 90 398] >>",
    )])  # fmt: skip
    assert read(pdf).split("\n\n") == [
        "Application",
        "Family name: Kestrelsen\ntown: Überschüs\nlanguages: Finnish, Maltese\nagreed: Yes\nBeside the text\n"
        "Comment by Jane: Ask legal",
    ]


def test_letters_of_fonts_without_a_map_are_counted() -> None:
    pdf = Pdf()
    pdf.page(text("The boiler is checked in May.", 72, 700), text("Secret", 72, 680, font="F3"))
    assert read(pdf) == "The boiler is checked in May."
    ((what, number),) = left_out(pdf).items()
    assert what.startswith("characters on page 1 in fonts that do not say which letters they show") and number == 6


def test_letters_of_fonts_that_are_not_in_the_file_are_read() -> None:
    """PDFium leaves out texts of one letter that its own fonts do not know."""
    pdf = Pdf(is_embedded=False)
    letters = [text(letter, 72 + 8 * at, 700, font="F2") for at, letter in enumerate("котёл")]
    pdf.page(text("The boiler is checked in May.", 72, 720), *letters)
    assert read(pdf) == "The boiler is checked in May.\nкотёл"


def test_pages_without_text_are_counted() -> None:
    pdf = Pdf()
    picture = f"/Im1 {pdf.picture(10, 10, bytes(range(100)))} 0 R"
    for number in range(1, 13):
        if number in (1, 6):
            pdf.page(text(f"Page {number} is written.", 72, 700))
        else:
            pdf.page(FULL_PAGE, text("Copy", 72, 20) if number == 2 else b"", images=picture)
    pdf.page()  # an empty page has nothing to read
    found = read(pdf)
    assert found.split("\n\n") == ["Page 1 is written.", "Copy", "Page 6 is written."]
    remedy = "install the extra `ocr`, or run OCR over the file"
    assert left_out(pdf) == {f"pages 2 to 5, 7 to 12 of 13 without a text layer: {remedy}": 10}


def test_a_scan_is_refused_with_the_remedy() -> None:
    pdf = Pdf()
    pdf.page(FULL_PAGE, images=f"/Im1 {pdf.picture(10, 10, bytes(100))} 0 R")
    with pytest.raises(Unreadable, match="page 1 of 1 without a text layer: install the extra `ocr`"):
        read(pdf)


def test_embedded_files_are_counted() -> None:
    pdf = Pdf()
    pdf.page(text("The boiler is checked in May.", 72, 700))
    number = pdf.add(f"<< /Type /Filespec /F (a.txt) /UF (a.txt) /EF << /F {pdf.stream(b'Hidden.')} 0 R >> >>".encode())
    pdf.catalog = f"/Names << /EmbeddedFiles << /Names [(a.txt) {number} 0 R] >> >>".encode()
    assert left_out(pdf) == {"embedded files: save them beside it": 1}


def test_heads_and_feet_of_every_page_are_read_once() -> None:
    pdf = Pdf()
    for number in range(6):
        pdf.page(text("Handbook of Kestrel", 72, 770), text(f"Rule {number} holds.", 72, 700), text("Internal", 72, 20))
    found = read(pdf)
    assert found.count("Handbook of Kestrel") == found.count("Internal") == 1
    assert all(f"Rule {number} holds." in found for number in range(6))


@pytest.mark.parametrize("content", [b"%PDF-1.4\n\xff\xfe", b"no PDF at all", b""])
def test_what_is_broken_says_so(content: bytes) -> None:
    with pytest.raises(Unreadable, match="is no PDF, or is broken: open it in a viewer"):
        read_pdf(content)


@pytest.mark.parametrize(("user", "is_read"), [("secret", False), ("", True)])
def test_a_password_is_named_and_an_owner_s_does_not_matter(user: str, is_read: bool) -> None:
    pdf = Pdf()
    pdf.page(text("The boiler is checked in May.", 72, 700))
    writer, locked = PdfWriter(clone_from=BytesIO(pdf.written())), BytesIO()
    writer.encrypt(user, "owner", algorithm="RC4-128")
    writer.write(locked)
    if is_read:
        assert read_pdf(locked.getvalue()).text == "The boiler is checked in May."
        return
    with pytest.raises(Unreadable, match="is protected by a password: save it without one"):
        read_pdf(locked.getvalue())
