"""One document has one name, however it is spelled."""

import unicodedata

import pytest

from evaluation.questions.sources import document_name, same_document

SAME = [
    ["docs/a.md", "./docs/a.md", "docs//a.md", "docs/./a.md", "other/../docs/a.md", "docs\\a.md", ".\\docs\\a.md",
     "/docs/a.md", " docs/a.md ", "docs%2Fa.md", "docs/a.md#install", "docs/a.md#", "file:///docs/a.md",
     "file://localhost/docs/a.md"],
    ["a b.md", "a%20b.md", "./a%20b.md", "file:///a%20b.md"],
    [unicodedata.normalize("NFC", "Café/Übersicht.md"), unicodedata.normalize("NFD", "Café/Übersicht.md"),
     "Caf%C3%A9/%C3%9Cbersicht.md", "Cafe%CC%81/U%CC%88bersicht.md"],
    ["https://example.org/guide", "http://example.org/guide", "HTTPS://Example.ORG/guide/", "https://example.org:443/guide",
     "https://example.org/guide#top", "https://example.org/./x/../guide", "http://example.org:80/guide"],
    ["https://example.org", "https://example.org/", "http://example.org#top"],
    ["C:\\docs\\a.md", "c:/docs/a.md"],
]  # fmt: skip
OTHERS = ["a.md", "b.md", "A.md", "x/a.md", "a.txt", "c#.md", "notes#1.md", "notes#2.md", "v1.2#3.md", "100%.md",
          "https://example.org/a.md", "https://example.com/a.md", "https://example.org/a.md?page=2", "s3://bucket/a.md",
          "https://example.org:8443/a.md", "https://[bad", "a.md?raw=1"]  # fmt: skip


@pytest.mark.parametrize("spellings", SAME, ids=lambda spellings: spellings[0])
def test_spellings_of_one_document(spellings: list[str]) -> None:
    assert len({document_name(each) for each in spellings}) == 1


def test_documents_that_differ_stay_apart() -> None:
    names = [document_name(each) for each in [*OTHERS, *(spellings[0] for spellings in SAME)]]
    assert len(set(names)) == len(names) and all(names)


@pytest.mark.parametrize("source", ["", " ", ".", "./", "/", "a/.."])
def test_what_names_no_document_is_none(source: str) -> None:
    assert document_name(source) == ""
    assert not same_document("a.md", source)


def test_a_name_is_its_own_name() -> None:
    for source in [*OTHERS, *(each for spellings in SAME for each in spellings)]:
        assert document_name(document_name(source)) == document_name(source)


def test_a_collection_may_know_a_document_by_a_longer_path() -> None:
    assert same_document("project/docs/a%20b.md", ".\\docs\\a b.md")
    assert not same_document("project/otherdocs/a.md", "docs/a.md")
    assert not same_document("a.md", "docs/a.md")
