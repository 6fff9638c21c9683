"""What is said about questions before they are asked: near pairs, answers that are gone, what was not looked at."""

from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_question
from evaluation.drafts.check import check_question_set, describe_check
from evaluation.drafts.documents import MAX_BYTES, read_documents
from evaluation.questions.files import load_questions
from evaluation.questions.question import Question
from retrieval.config import RetrievalConfig
from tandem.project.project import load as load_project

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"


def ask(name: str, answer: str, *sources: str, text: str | None = None) -> Question:
    return Question(id=name, slice="s", question=text or f"{name}?", answers=(answer,), sources=sources)


def read(folder: Path, **texts: str):
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text)
    return read_documents(RetrievalConfig.model_validate({"sources": [str(folder)]}))


def test_the_quickstart_has_nothing_to_complain_of() -> None:
    project = load_project(QUICKSTART / "tandem.yaml")
    checked = check_question_set(load_questions(project.evaluation.questions), read_documents(project.retrieval), [])
    assert (checked.alike, checked.stale, checked.unknown_sources, checked.num_not_looked_up) == ((), (), (), 0)
    assert checked.slices == {"seen": 48, "unseen": 48, "changed": 50, "unanswerable": 47, "form": 48}


def test_an_answer_that_is_gone_from_its_document_is_named(tmp_path: Path) -> None:
    documents = read(tmp_path, hall="The hall has 1,240\nseats, and 26 doors.", room="It has 126 seats.")
    questions = [
        ask("here", "1240", "hall.md"), ask("gone", "26", "room.md"), ask("either", "126", "hall.md", "room.md"),
        ask("nowhere", "26", "attic.md"), ask("unsourced", "26"),
    ]  # fmt: skip
    checked = check_question_set(questions, documents, [])
    assert checked.stale == ("gone",)
    assert checked.unknown_sources == (("nowhere", "attic.md"),)
    assert checked.num_not_looked_up == 2
    lines = "\n".join(describe_check(checked))
    assert "1 questions have an answer that does not stand in their documents: gone" in lines
    assert "2 answers were not looked for in a document" in lines


def test_near_pairs_leaks_and_what_could_not_be_compared_are_said(tmp_path: Path) -> None:
    questions = [ask("a", "1", text="What is the code of iron?"), ask("b", "1", text="Please, what is a code of Iron")]
    rows = [{"id": "t", "question_sha256": [digest_question("what is the code of iron?")]}]
    checked = check_question_set(questions, read(tmp_path), iter(rows))
    assert checked.alike == (("a", "b", 1.0),)
    assert (checked.num_trained, checked.num_exact_only) == (1, 1)
    lines = "\n".join(describe_check(checked))
    assert "1 questions are trained on: a is training row t" in lines
    assert "published before near leaks were looked for" in lines


def test_a_thousand_slices_are_cut_short(tmp_path: Path) -> None:
    questions = [ask(f"q{n}", "1").model_copy(update={"slice": f"s{n}"}) for n in range(1000)]
    assert "s19 1 and 980 more" in next(describe_check(check_question_set(questions, read(tmp_path), [])))


def test_documents_of_several_folders_and_what_is_not_read(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / ".git").mkdir(parents=True)
        (tmp_path / name / ".git" / "hidden.md").write_text("hidden")
        (tmp_path / name / "a.md").write_text(name)
        (tmp_path / name / "b.PDF").write_text("%PDF")
    sources = [
        str(tmp_path / "one"),
        str(tmp_path / "two"),
        "s3://bucket/three",
        {"sitemap": "https://site.test/s.xml"},
    ]
    found = read_documents(RetrievalConfig.model_validate({"sources": sources}))
    assert [(each.source, each.text) for each in found.documents] == [("one/a.md", "one"), ("two/a.md", "two")]
    assert found.not_read == (
        "three (no folder on this machine)", "https://site.test (no folder on this machine)", "2 files with .pdf",
    )  # fmt: skip
    assert [each.source for each in found.find("two/a.md")] == ["two/a.md"]
    assert [each.source for each in found.find("a.md")] == ["one/a.md", "two/a.md"]


def test_files_that_cannot_be_read_are_named_and_stop_nothing(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="names no documents"):
        read_documents(RetrievalConfig())
    with pytest.raises(TandemError, match=r"There is no .*gone"):
        read_documents(RetrievalConfig.model_validate({"sources": [str(tmp_path / "gone")]}))
    (tmp_path / "a.txt").write_bytes("Zürich".encode("latin-1"))
    (tmp_path / "b.md").write_bytes(b"\x00\x01 not a text")
    (tmp_path / "c.md").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "d.md").write_text("# Read\n")
    (tmp_path / "e.md").symlink_to(tmp_path / "gone.md")
    found = read_documents(RetrievalConfig.model_validate({"sources": [str(tmp_path)]}))
    assert [each.source for each in found.documents] == ["d.md"]
    assert found.not_read == (
        "a.txt (not UTF-8 at byte 2)", "b.md (not a text)", "c.md (16.0 MiB, and at most 16 are read)",
    )  # fmt: skip
