"""Texts are UTF-8, or in an encoding that somebody states, or refused: never a guess."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from retrieval.sources.config import FolderSource, ObjectSource
from retrieval.sources.document import Unreadable
from retrieval.sources.parsing.parse import parse
from retrieval.sources.parsing.text import decode, fenced
from retrieval.sources.sources import all_documents

UMLAUTS = "Bäckerei Müller, Straße 5 – 3 €"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_needs_no_setting(encoding: str) -> None:
    for suffix in (".txt", ".csv", ".html", ".py", ".json"):
        assert "Müller" in parse(f'["{UMLAUTS}"]'.encode(encoding), suffix)


@pytest.mark.parametrize(
    ("content", "stated"),
    [
        (UMLAUTS.encode("cp1252"), "cp1252"),
        ("年假有几天".encode("gb18030"), "gb18030"),
        ("有給休暇".encode("shift_jis"), "shift_jis"),
        ("Политика".encode("koi8-r"), "koi8-r"),
        (UMLAUTS.encode("utf-16-le"), "utf-16-le"),
    ],
)
def test_another_encoding_is_read_where_the_source_states_it_and_refused_else(content: bytes, stated: str) -> None:
    for suffix in (".txt", ".csv", ".html"):
        read = parse(content, suffix, stated)
        assert content.decode(stated).split()[0].strip(",") in read
        with pytest.raises(Unreadable, match=r"set `encoding` of its source|NUL"):
            parse(content, suffix)


@pytest.mark.parametrize("stated", ["ascii", "cp1252", "latin-1"])
def test_utf8_is_read_whatever_the_source_states(stated: str) -> None:
    assert decode(UMLAUTS.encode(), stated) == UMLAUTS


def test_a_stated_encoding_that_does_not_fit_is_named() -> None:
    with pytest.raises(Unreadable, match=r"is neither UTF-8 nor ascii, the `encoding` of its source \(byte 1\)"):
        decode(b"B\xe4ckerei", "ascii")
    with pytest.raises(Unreadable, match=r"control character in latin-1.*it may be cp1252"):
        decode(UMLAUTS.encode("cp1252"), "latin-1")
    with pytest.raises(Unreadable, match=r"begins as utf-16-le and is not \(byte 4\)"):
        decode(b"\xff\xfea\0b")


def test_the_encoding_is_a_setting_of_folders_and_object_stores(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(UMLAUTS.encode("cp1252"))
    versions = set()
    for encoding in ("cp1252", "cp1250", None):
        [document] = all_documents([FolderSource(path=tmp_path, encoding=encoding)])
        versions.add(document.version())
        if encoding:
            assert "Müller" in document.read()
    assert len(versions) == 3
    assert ObjectSource(path="s3://bucket/folder", encoding="shift_jis").encoding == "shift_jis"
    for name in ("hex", "rot13", "latin-99", "idna", "unicode_escape", "utf-7", ""):
        with pytest.raises(ValidationError, match="is no encoding of texts"):
            FolderSource(path=tmp_path, encoding=name)


def test_encodings_in_7_bits_pass_for_utf_8_and_are_none() -> None:
    content = "有給休暇".encode("iso2022_jp")
    assert decode(content, "iso2022_jp") == "有給休暇"
    for encoding in (None, "cp1252"):
        with pytest.raises(Unreadable, match="set `encoding` of its source, such as iso2022_jp"):
            decode(content, encoding)


def test_escapes_of_terminals_divide_no_word() -> None:
    assert decode(b"\x1b[1;31mERROR\x1b[0m disk \x1b]8;;http://x\x07full\x1b]8;;\x1b\\ \x1b[2K") == "ERROR disk full "


def test_a_program_is_one_block_whatever_stands_in_it() -> None:
    source = "# no heading\nx = '''\n```\n````\n'''\n"
    assert fenced(source, "python") == f"`````python\n{source.strip()}\n`````\n"
    assert parse(b"# a comment\nname: x\n", ".YAML") == "```yaml\n# a comment\nname: x\n```\n"
    assert parse(b"\n \n", ".log") == ""
