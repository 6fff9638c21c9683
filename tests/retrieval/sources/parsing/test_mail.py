"""Messages, and what is attached to them."""

from email.message import EmailMessage
from pathlib import Path

import pytest

from retrieval.sources.document import PartialText, Unreadable
from retrieval.sources.parsing.parse import MAX_ATTACHED_DEPTH, parse
from tests.retrieval.sources.parsing.office.containers import Tree, container
from tests.retrieval.sources.parsing.office.packages import docx


def message(subject: str = "Kündigung", text: str = "Hallo Ada, größer.\n") -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = subject, "Jörg <j@example.org>", "ada@example.org"
    mail.set_content(text)
    return mail


def test_subject_people_and_text() -> None:
    assert parse(message().as_bytes(), ".eml") == (
        "# Kündigung\n\nFrom: Jörg <j@example.org>\nTo: ada@example.org\n\nHallo Ada, größer."
    )
    raw = b"Subject: =?iso-8859-1?Q?Gr=FC=DFe?=\nContent-Type: text/plain; charset=iso-8859-1\n"
    raw += b"Content-Transfer-Encoding: quoted-printable\n\nM=FCller"
    assert parse(raw, ".eml") == "# Grüße\n\nMüller"


def test_of_two_ways_to_say_it_the_one_that_says_more_is_read() -> None:
    mail = message(text="This message needs a reader of HTML.")
    mail.add_alternative("<p>The <b>whole</b> text of the message is only here, dear Ada</p>", subtype="html")
    read = parse(mail.as_bytes(), ".eml")
    assert "whole" in read and "needs a reader" not in read
    mail = message(text="All of the words")
    mail.add_alternative("<p>All of the words</p>", subtype="html")
    assert parse(mail.as_bytes(), ".eml").count("All of the words") == 1


def test_attachments_are_read_by_the_readers_of_their_kind(tmp_path: Path) -> None:
    mail = message()
    word = docx(tmp_path / "a.docx", "<w:p><w:r><w:t>in the letter</w:t></w:r><w:del/></w:p>")
    mail.add_attachment(word, maintype="application", subtype="octet-stream", filename="letter.docx")
    mail.add_attachment("a;b\n1;2\n", subtype="csv", filename="table.csv")
    mail.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="photo.png")
    mail.add_attachment(b"no archive", maintype="application", subtype="zip", filename="broken.docx")
    mail.add_attachment(message("Re: inner", "forwarded text"))
    read = parse(mail.as_bytes(), ".eml")
    for text in (
        "## Attachment: letter.docx\n\nin the letter", "| a | b |", "forwarded text", "# Re: inner", "photo.png",
        "Hallo Ada",
    ):  # fmt: skip
        assert read.count(text) == 1, text
    assert isinstance(read, PartialText)
    assert sorted(read.left_out) == [
        "not its attachments (.docx: cannot be opened as docx: File is not a zip file) (1)",
        "not its attachments (.png: is of a kind that is not read) (1)",
        "not its tracked deletions (1)",
    ]


def test_messages_in_messages_end_somewhere() -> None:
    mail = message("innermost", "innermost text")
    for number in range(MAX_ATTACHED_DEPTH + 1):
        outer = message(f"level {number}", f"text {number}")
        outer.add_attachment(mail)
        mail = outer
    read = parse(mail.as_bytes(), ".eml")
    assert "text 0" in read and "innermost" not in read
    assert isinstance(read, PartialText) and f"lies in more than {MAX_ATTACHED_DEPTH} messages" in read.left_out[0]


def test_what_is_no_message_and_what_has_a_wrong_charset() -> None:
    with pytest.raises(Unreadable, match="it has no header"):
        parse(b"", ".eml")
    read = parse(b"Subject: x\nContent-Type: text/plain; charset=utf-8\n\nM\xfcller", ".eml")
    assert isinstance(read, PartialText)
    assert read.left_out == ("not its characters that are not in the charset of the message (1)",)
    assert parse(b"Subject: x\nContent-Type: text/plain; charset=no-such\n\ntext", ".eml").endswith("text")


def outlook(**texts: str) -> Tree:
    names = {"subject": "0037", "sender": "0C1A", "to": "0E04", "text": "1000"}
    found: Tree = {f"__substg1.0_{names[name]}001F": text.encode("utf-16-le") for name, text in texts.items()}
    return {"__properties_version1.0": bytes(32), **found}


def test_a_message_of_outlook() -> None:
    attached: Tree = {
        "__substg1.0_3707001F": "table.csv".encode("utf-16-le"),
        "__substg1.0_37010102": b"a;b\n" + b"1;2\n" * 1100,
    }
    inner: Tree = {"__substg1.0_3701000D": outlook(subject="Inner", text="forwarded")}
    tree = outlook(subject="Kündigung", sender="Jörg", to="Ada", text="Hallo\r\nAda") | {
        "__attach_version1.0_#00000000": attached, "__attach_version1.0_#00000001": inner,
    }  # fmt: skip
    read = parse(container(tree), ".msg")
    assert read.startswith("# Kündigung\n\nFrom: Jörg\nTo: Ada\n\nHallo\nAda\n\n## Attachment: table.csv\n\n| a | b |")
    assert "# Inner\n\nforwarded" in read
    with pytest.raises(Unreadable, match="cannot be opened as msg"):
        parse(b"text", ".msg")


def test_text_of_outlook_in_a_code_page() -> None:
    page = b"\x03\x00\xfd\x3f" + bytes(4) + (1251).to_bytes(8, "little")
    tree: Tree = {"__properties_version1.0": bytes(32) + page, "__substg1.0_1000001E": "Политика".encode("cp1251")}
    assert parse(container(tree), ".msg") == "Политика"
    page_text = b"<p>\xcf\xee\xeb</p><meta charset=windows-1251>"
    tree = {"__properties_version1.0": bytes(32), "__substg1.0_10130102": page_text}
    assert parse(container(tree), ".msg") == "Пол"


HEAD = "Subject: S\nContent-Type: multipart/{}; boundary=X\n\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        # Two groups of alternatives, as mailing lists make them; and one that holds several parts, as Apple Mail does.
        (
            HEAD.format("mixed")
            + "".join(
                f"--X\nContent-Type: multipart/alternative; boundary={y}\n\n--{y}\n\n{word} gnu\n--{y}\n"
                f"Content-Type: text/html\n\n<p>{word} gnu\n--{y}--\n"
                for y, word in (("Y", "first"), ("Z", "second"))
            )
            + "--X--\n",
            "first second",
        ),
        (
            HEAD.format("alternative")
            + "--X\n\nfirst\n--X\nContent-Type: multipart/mixed; boundary=Y\n\n--Y\nContent-Type: text/html\n\n<p>first"
            "\n--Y\nContent-Type: text/html\n\n<p>second\n--Y--\n--X--\n",
            "first second",
        ),
        # The plain text says only, and in many words, that there is another.
        (
            HEAD.format("alternative") + "--X\n\nThis message cannot be shown by a program of this kind.\n--X\n"
            "Content-Type: text/html\n\n<p>Invoice 4711\n--X--\n",
            "Invoice 4711",
        ),
        (HEAD.format("mixed") + "--X\nContent-Type: text/markdown\n\n# first\n--X--\n", "first"),
        (
            HEAD.format("report")
            + "--X\n\nfirst\n--X\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n"
            "\nFinal-Recipient: rfc822; z@y\n--X--\n",
            "first mx z@y",
        ),
        ("\ufeff\n\nSubject: first\n\nsecond", "first second"),
        (b"Subject: S\nContent-Type: text/plain; charset=gb2312\n\n" + "镕基".encode("gbk"), "镕基"),
        (b"Subject: S\nContent-Type: text/plain; charset=iso-8859-1\n\n5 \x80", "€"),
        (b"Subject: S\nContent-Type: text/plain; charset=iso-8859-8-i\n\n" + "שלום".encode("iso8859-8"), "שלום"),
    ],
)
def test_every_part_of_a_message_is_read(content: str | bytes, words: str) -> None:
    read = parse(content if isinstance(content, bytes) else content.encode(), ".eml")
    assert all(read.count(word) == 1 for word in words.split()) and not isinstance(read, PartialText)


def test_words_of_another_format_are_counted() -> None:
    mail = message(text="one two three four")
    mail.add_alternative("<p>one two five", subtype="html")
    read = parse(mail.as_bytes(), ".eml")
    assert isinstance(read, PartialText) and "another format of the text has (1)" in read.left_out[0]
