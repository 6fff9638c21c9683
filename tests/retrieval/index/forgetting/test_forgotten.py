"""The list of what was forgotten: how it is kept, and which documents it means."""

import json
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.storage.objects import Folder, SharedRecord
from retrieval.index.forgetting.forgotten import MOST_KEPT, Forgotten, ForgottenDocument, ForgottenList, Sighting
from retrieval.index.forgetting.text_identity import identity_of
from retrieval.sources.document import Origin

TEXT = identity_of("Jane earns 90,000 euros.")


@pytest.fixture
def kept(tmp_path: Path) -> ForgottenList:
    return ForgottenList(SharedRecord(Folder(tmp_path), "forgotten/help.json"))


def write(kept: ForgottenList, content: object, name: str = "help") -> None:
    path = Path(str(kept.record.place), "forgotten", f"{name}.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_earlier_versions_read_what_is_written(kept: ForgottenList) -> None:
    kept.add(ForgottenDocument(("hr/jane.md",), (Origin("/srv/hr", "jane.md"),), (TEXT,)))
    kept.add(ForgottenDocument(("old.md",)))
    written = json.loads(kept.record.read() or b"")
    assert written["forgotten"] == ["hr/jane.md", "old.md"]
    assert written["documents"] == [{"names": ["hr/jane.md"], "origins": [["/srv/hr", "jane.md"]], "texts": [TEXT]}]


@pytest.mark.parametrize("content", [
    "", "[]", "{}", '{"forgotten": "a.md"}', '{"forgotten": [1]}', '{"forgotten": [], "documents": {}}x',
    '{"forgotten": [], "documents": [{}]}', '{"forgotten": [], "documents": {}}',
    '{"forgotten": [], "documents": [{"names": [], "origins": [], "texts": []}]}',
    '{"forgotten": [], "documents": [{"names": ["a"], "origins": [["b"]], "texts": []}]}',
    '{"forgotten": [], "documents": [{"names": ["a"], "origins": [], "texts": [3]}]}', '{"forgotten": null}',
])  # fmt: skip
def test_a_damaged_list_is_not_taken_for_an_empty_one(content: str, kept: ForgottenList) -> None:
    for name in ("help", "other"):
        write(kept, {"forgotten": []})
        write(kept, content, name)
        with pytest.raises(TandemError, match=f"forgotten/{name}.json cannot be read"):
            kept.read()


@pytest.mark.parametrize(
    ("name", "origin", "means"),
    [
        ("jane.md", Origin("/srv/hr", "jane.md"), True),
        ("people/jane.md", Origin("/srv/hr", "jane.md"), True),
        ("hr/jane.md", Origin("/srv", "hr/jane.md"), True),
        ("jane.md", Origin("/srv/handbook", "jane.md"), False),
        ("jane.md", Origin("/srv/hr", "people/jane.md"), False),
        ("jane.md", Origin("/srv/hr/people", "jane.md"), False),
        ("jane.md", Origin("s3://srv/hr", "jane.md"), False),
        ("jane.md", None, False),
    ],
)
def test_a_place_is_one_however_it_is_called(name: str, origin: Origin | None, means: bool) -> None:
    forgotten = Forgotten((ForgottenDocument(("jane.md",), (Origin("/srv/hr", "jane.md"),), (TEXT,)),))
    assert bool(forgotten.find(name, origin)) is means


def test_a_folder_that_has_gone_is_known_by_its_name_and_one_that_is_there_is_not(tmp_path: Path) -> None:
    there, gone = tmp_path / "a" / "docs", tmp_path / "gone" / "docs"
    there.mkdir(parents=True)
    moved = Origin(str(tmp_path / "b" / "docs"), "hr/jane.md")
    for root, means in [(there, False), (gone, True)]:
        document = ForgottenDocument(("hr/jane.md",), (Origin(str(root), "hr/jane.md"),), key="x")
        assert bool(Forgotten((document,), "x").find("hr/jane.md", moved)) is means
        assert not Forgotten((document,), "y").find("hr/jane.md", moved), "another collection has other folders"
        for path in ("jane.md", "x/hr/jane.md", "hr/jane.md.md"):
            assert not Forgotten((document,), "x").find("hr/jane.md", Origin(str(tmp_path / "b" / "docs"), path))
    narrowed = Origin(str(tmp_path / "b" / "docs" / "hr"), "jane.md")
    assert Forgotten((document,), "x").find("jane.md", narrowed)


@pytest.mark.parametrize(
    ("name", "origin", "means"),
    [
        ("jane.md", Origin("/srv/hr", "jane.md"), True),
        ("hr/jane.md", Origin("/srv/hr", "jane.md"), True),
        ("jane.md", None, True),
        ("hr/jane.md", Origin("/srv/hr", "old/jane.md"), False),
        ("shop/jane.md", Origin("sqlite:///x#t.id", "#jane.md"), False),
        ("https://host/jane.md", Origin("https://host", "/jane.md"), False),
    ],
)
def test_what_an_earlier_version_wrote_is_known_by_its_name(
    name: str, origin: Origin | None, means: bool, kept: ForgottenList
) -> None:
    write(kept, {"forgotten": ["jane.md"]})
    assert bool(kept.read().find(name, origin)) is means
    other = ForgottenList(SharedRecord(kept.record.place, "forgotten/other.json"))
    assert not other.read().find(name, origin), "another collection may have a document of that name"


def test_the_name_of_a_source_may_have_come_or_gone_since_an_earlier_version(kept: ForgottenList) -> None:
    write(kept, {"forgotten": ["hr/jane.md"]})
    assert kept.read().find("jane.md", Origin("/srv/hr", "jane.md"))
    assert not kept.read().find("jane.md", Origin("/srv/handbook", "jane.md"))


def test_what_is_met_is_learned_by_the_list_that_has_it(kept: ForgottenList) -> None:
    other = ForgottenList(SharedRecord(kept.record.place, "forgotten/other.json"))
    kept.add(ForgottenDocument(("jane.md",), (Origin("/srv/hr", "jane.md"),), (TEXT,)))
    write(kept, {"forgotten": ["jane.md", "tom.md"]}, "third")
    copy = Origin("s3://bucket", "jd.txt")
    found = other.read().find_text(TEXT, copy)
    assert found is not None
    other.learn([Sighting(found, "b/jd.txt", copy)])
    assert kept.read().find("anything", copy) == ForgottenDocument(
        ("jane.md", "b/jd.txt"), (Origin("/srv/hr", "jane.md"), copy), (TEXT,), "forgotten/help.json"
    )
    assert other.record.read() is None
    third = ForgottenList(SharedRecord(kept.record.place, "forgotten/third.json"))
    named = third.read().find("tom.md", Origin("/x", "tom.md"))
    assert named is not None
    third.learn([Sighting(named, "tom.md", Origin("/x", "tom.md"), "text")])
    assert third.read().find("renamed", Origin("/x", "tom.md")) and third.read().find("jane.md", None)


def test_what_is_kept_of_one_document_is_bounded(kept: ForgottenList) -> None:
    kept.add(ForgottenDocument(("log.md",), (Origin("/srv", "log.md"),), ("first",)))
    for number in range(MOST_KEPT + 20):
        (document,) = kept.read().documents
        kept.learn([Sighting(document, "log.md", Origin("/srv", "log.md"), f"text {number}")])
    (document,) = kept.read().documents
    assert len(document.texts) == MOST_KEPT and document.texts[0] == "first" and document.texts[-1] == "text 119"


def test_two_documents_of_one_name_stand_beside_each_other(kept: ForgottenList) -> None:
    kept.add(ForgottenDocument(("f.jsonl#2",), (), ("first",)))
    kept.add(ForgottenDocument(("f.jsonl#2",), (), ("second",)))
    kept.add(ForgottenDocument(("a.md",), (Origin("/srv", "a.md"),), ("third",)))
    kept.add(ForgottenDocument(("a.md",), (Origin("/srv", "a.md"),), ("fourth",)))
    assert [document.texts for document in kept.read().documents] == [("first",), ("second",), ("third", "fourth")]
