"""Judged questions in every form that is read, and each mistake with its file and line."""

import json
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.quality.judgments import JudgedQuestion, read_judgments, source_of, write_documents
from retrieval.sources import sources
from retrieval.sources.config import FolderSource

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"


def lines(path: Path, *values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in values))
    return path


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    lines(
        folder / "corpus.jsonl",
        {"_id": "a/1", "title": "Iron", "text": "Fe."},
        {"_id": ".b", "title": "", "text": "Gold is Au.", "metadata": {}},
    )
    queries = [{"_id": "q1", "text": "iron?"}, {"_id": "q2", "text": "lead?"}, {"_id": "train", "text": "tin?"}]
    lines(folder / "queries.jsonl", *queries)
    lines(folder / "qrels/test.tsv", "query-id\tcorpus-id\tscore", "q1\ta/1\t2", "q1\t.b\t0", "q2\t.b\t0")
    return folder


def test_questions_of_a_project(tmp_path: Path) -> None:
    judged = read_judgments(
        lines(
            tmp_path / "questions.jsonl",
            {"id": "one", "question": "Which?", "sources": ["a.md", "b.md"], "answers": ["x"]},
            "",
            {"question": "What?", "sources": ["c.md"]},
            {"id": 7, "question": "Nobody knows?", "sources": []},
            {"id": 8, "question": "Nobody knows either?"},
        )
    )
    assert judged.questions == [
        JudgedQuestion("one", "Which?", {"a.md": 1, "b.md": 1}),
        JudgedQuestion("3", "What?", {"c.md": 1}),
    ]
    assert (judged.num_without, judged.corpus) == (2, None)


def test_the_quickstarts_questions_name_its_documents() -> None:
    judged = read_judgments(QUICKSTART / "data" / "questions.jsonl")
    assert len(judged.questions) + judged.num_without == 241
    held = {document.source for document in sources.all_documents([FolderSource(path=QUICKSTART / "docs")])}
    assert {source for question in judged.questions for source in question.grades} <= held


def test_a_beir_folder_and_its_documents(beir: Path, tmp_path: Path) -> None:
    judged = read_judgments(beir)
    assert judged.questions == [JudgedQuestion("q1", "iron?", {"a%2F1.md": 2})]
    assert (judged.num_without, judged.corpus) == (1, beir / "corpus.jsonl")
    (tmp_path / "out").mkdir()
    assert write_documents(beir / "corpus.jsonl", tmp_path / "out") == 2
    written = {
        document.source: document.read() for document in sources.all_documents([FolderSource(path=tmp_path / "out")])
    }
    assert written == {source_of("a/1"): "# Iron\n\nFe.", source_of(".b"): "Gold is Au."}


def test_qrels_without_a_heading(beir: Path) -> None:
    lines(beir / "qrels/test.tsv", "q1\ta/1\t1", "q2\t.b\t3")
    assert [question.grades for question in read_judgments(beir).questions] == [{"a%2F1.md": 1}, {"%2Eb.md": 3}]


TAGGED = """<top>
<num> Number: 301
<title> International Organized
Crime
<desc> Description: ...
</top>
<top>
<num>302</num>
<title>Polio</title>
</top>
"""


def test_trec_topics_in_both_forms(tmp_path: Path) -> None:
    qrels = lines(tmp_path / "qrels", "301 0 a.md 2", "301 0 b.md -1", "302 0 c.md 0")
    tagged, tabbed = (
        tmp_path / "topics.txt",
        lines(tmp_path / "topics.tsv", "301\tInternational Organized Crime", "302\tPolio"),
    )
    tagged.write_text(TAGGED)
    expected = [JudgedQuestion("301", "International Organized Crime", {"a.md": 2})]
    for topics in (tagged, tabbed):
        judged = read_judgments(topics, qrels)
        assert (judged.questions, judged.num_without) == (expected, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ('{"sources": ["a.md"]}', "question: Field required"),
        ('{"question": " ", "sources": ["a.md"]}', "question: "),
        ('{"question": "x", "sources": "a.md"}', "sources: "),
        ('{"id": "1", "question": "x", "sources": ["a.md"]}', "'1' stands in line 1 too"),
    ],
)
def test_a_bad_question_names_its_line(tmp_path: Path, line: str, reason: str) -> None:
    path = lines(tmp_path / "q.jsonl", {"id": "1", "question": "x", "sources": ["a.md"]}, line)
    with pytest.raises(TandemError) as raised:
        read_judgments(path)
    assert f"{path}:2: " in raised.value.seen and reason in raised.value.seen
    assert '"sources"' in raised.value.accepted


def test_ten_mistakes_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", *["{"] * 12)
    with pytest.raises(TandemError, match=r"q\.jsonl:10: .*; and 2 more\.") as raised:
        read_judgments(path)
    assert "q.jsonl:11" not in str(raised.value)


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("qrels/test.tsv", "q1\ta/1\tgood\n", r"test\.tsv:1: .*does not end in a grade"),
        ("qrels/test.tsv", "q1\ta/1\t1\nq1 a/1 1\n", r"test\.tsv:2: .*does not end in a grade"),
        ("qrels/test.tsv", "q1\ta/1\t1\nq9\ta/1\t1\n", r"test\.tsv:2: judges the question 'q9'"),
        ("qrels/test.tsv", "q1\ta/1\t1\nq1\ta/1\t2\n", r"test\.tsv:2: .*another grade before"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n', r"queries\.jsonl:2: 'q1' stands"),
        ("queries.jsonl", '{"id": "q1", "text": "a"}\n', r"queries\.jsonl:1: _id: Field required"),
        ("qrels/test.tsv", "q1\ta/1\t0\n", "has a relevant source"),
    ],
)
def test_a_bad_beir_folder(beir: Path, file: str, content: str, expected: str) -> None:
    (beir / file).write_text(content)
    with pytest.raises(TandemError, match=expected):
        read_judgments(beir)


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_beir_folder_that_lacks_a_file(beir: Path, file: str) -> None:
    (beir / file).unlink()
    with pytest.raises(TandemError, match=Path(file).name):
        read_judgments(beir)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "a/1", "text": "again"}', "'a/1' stands in line 1 too"),
        ('{"_id": "c"}', "text: Field required"),
        (json.dumps({"_id": "x" * 300, "text": "t"}), "too long for a file's name"),
    ],
)
def test_a_bad_document_names_its_line(beir: Path, tmp_path: Path, line: str, reason: str) -> None:
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write(line + "\n")
    with pytest.raises(TandemError, match=rf"corpus\.jsonl:3: .*{reason}"):
        write_documents(beir / "corpus.jsonl", tmp_path)


def test_bad_trec_files(tmp_path: Path) -> None:
    qrels = lines(tmp_path / "qrels", "301 0 a.md 1")
    with pytest.raises(TandemError, match=r"topics:1: has no number and question"):
        read_judgments(lines(tmp_path / "topics", "301 Crime"), qrels)
    (tmp_path / "topics").write_text(TAGGED.replace("<title>Polio</title>", ""))
    with pytest.raises(TandemError, match=r"topics:7: the topic has no <title>"):
        read_judgments(tmp_path / "topics", qrels)
    with pytest.raises(TandemError, match=r"qrels:1: .*does not end in a grade"):
        read_judgments(lines(tmp_path / "topics", "301\tCrime"), lines(tmp_path / "qrels", "301 a.md 1"))


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(b'{"question": "a", "sources": ["b"]}\n\xff\n')
    with pytest.raises(TandemError, match=r"q\.jsonl:2: the text is not UTF-8"):
        read_judgments(tmp_path / "q.jsonl")
    with pytest.raises(TandemError, match=r"nowhere\.jsonl cannot be read"):
        read_judgments(tmp_path / "nowhere.jsonl")
