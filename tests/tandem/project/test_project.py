"""The project file: mistakes name the file, the line and the nearest key."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from cluster.errors import TandemError
from retrieval.sources.config import FolderSource
from retrieval.sources.folders.listing import folder_documents
from tandem.project.project import Project, load


def project(folder: Path, text: str) -> Project:
    path = folder / "tandem.yaml"
    path.write_text(text)
    return load(path)


def test_the_smallest_file(tmp_path: Path) -> None:
    folder = tmp_path / "My Help Desk"
    folder.mkdir()
    loaded = project(folder, "model: Qwen/Qwen3-0.6B\n")
    assert loaded.name == loaded.adapter == loaded.collection == "my-help-desk"
    assert loaded.model == "Qwen/Qwen3-0.6B"
    assert loaded.storage.root == folder / "runs"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    loaded = project(tmp_path, "model: model\ntraining: {data: rows.jsonl}\nretrieval: {sources: [docs, /abs]}\n")
    assert loaded.model == str(tmp_path / "model")
    assert loaded.training.data[0].path == tmp_path / "rows.jsonl"
    assert [source.path for source in loaded.retrieval.sources] == [tmp_path / "docs", Path("/abs")]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("model: m\nretrieval:\n  topk: 3\n", 3, "Did you mean 'top_k'?"),
        ("model: m\n\nevalution: {}\n", 3, "Did you mean 'evaluation'?"),
        ("model: m\nretrieval:\n  top_k: zero\n", 3, "retrieval.top_k is 'zero'"),
        ("model: m\nretrieval: 5\n", 2, "retrieval is 5"),
        ("model: m\nmodel: n\n", 2, "second time"),
        ("model: m\n  x: 3\n", 2, "mapping values"),
        ("model: m\nretrieval:\n  sources:\n    - {path: a, tennant: b}\n", 4, "Did you mean 'tenant'?"),
        ("model: m\nretrieval:\n  sources:\n    - {path: 's3://a', pol_s: 5}\n", 4, "Did you mean 'poll_s'?"),
        (
            "model: m\nretrieval:\n  sources:\n    - sql: {url: x, query: q, id: i, text: [t]}\n      tennant: b\n",
            5,
            "retrieval.sources.0.tennant",
        ),
        (
            "model: m\nretrieval:\n  sources:\n    - sql:\n        querry: q\n        query: q\n",
            5,
            "Did you mean 'query'?",
        ),
        ("model: m\nretrieval:\n  sources:\n    - {tenant: b}\n", 4, "one of path, sql and sitemap"),
        (
            "model: m\nretrieval:\n  sources:\n    - path: a\n      tenant: ''\n",
            5,
            "Accepted: Whom the documents belong to",
        ),
        ('model: m\nretrieval: {sources: [{path: a, access: ["\\0"]}]}\n', 2, "holds a NUL character"),
        ("project: adapters\nmodel: m\n", 1, "folders of the storage"),
        ("project: Not A Name\nmodel: m\n", 1, "a name has 1 to 63"),
        ("model: ${TANDEM_NOT_SET}\n", 1, "TANDEM_NOT_SET is not set"),
        ("model: m\nserving: {models: {BASE: m}}\n", 2, "serving.models.BASE"),
    ],
)
def test_mistakes_name_their_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(TandemError) as caught:
        project(tmp_path, text)
    assert f"tandem.yaml:{line}: " in str(caught.value)
    assert says in str(caught.value)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    text = "model: m\nretrieval: {sources: [{path: a, sql: {url: 'postgresql://u:se/c@ret@h/d'}}]}\n"
    with pytest.raises(TandemError, match="one of path, sql and sitemap") as caught:
        project(tmp_path, text)
    assert "://***@h/d" in str(caught.value) and "ret@" not in str(caught.value)
    sql = "{url: 'postgresql://u:secret@h/d', query: q, id: i, text: t}"
    loaded = project(tmp_path, f"model: m\nretrieval: {{sources: [{{sql: {sql}}}]}}\n")
    assert "secret" not in str(loaded.resolved())


@pytest.mark.parametrize("text", ["", "- a\n", "text\n", "model: \xff", "project: p\n"])
def test_what_is_no_project_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tandem.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(TandemError):
        load(tmp_path / "tandem.yaml")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match="tandem init"):
        load(tmp_path / "tandem.yaml")


def test_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_MODEL", "Qwen/Qwen3-0.6B")
    assert project(tmp_path, "model: ${TANDEM_MODEL}\n").model == "Qwen/Qwen3-0.6B"


def test_a_former_name_of_an_arm_is_read_with_one_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "model: m\nretrieval: {mode: hybrid}\nevaluation:\n  arms:\n    - base\n    - hybrid\n"
    for _ in range(2):
        loaded = project(tmp_path, text)
        assert loaded.evaluation.arms == ("base", "tuned_retrieval") and loaded.retrieval.mode == "hybrid"
        assert loaded.resolved()["evaluation"]["arms"] == ["base", "tuned_retrieval"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"Note: {tmp_path}/tandem.yaml:6: `evaluation.arms` names the arm `hybrid`; "
        "it is now called `tuned_retrieval`. Change that line.\n"
    )


def test_both_names_of_an_arm_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"tandem\.yaml:2: .*`hybrid` is the former name of `tuned_retrieval`"):
        project(tmp_path, "model: m\nevaluation: {arms: [hybrid, tuned_retrieval]}\n")


def test_every_shipped_project_file_is_valid_and_of_today() -> None:
    files = sorted((Path(__file__).parents[3] / "examples").rglob("*.yaml"))
    assert {"all-arms.yaml", "tandem.yaml"} <= {file.name for file in files}
    notes: list[str] = []
    for file in files:
        load(file, on_note=notes.append)
    assert notes == []


def named(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tandem.yaml").write_text("model: m\n")
    return load(folder / "tandem.yaml").name


def test_folders_of_any_script_have_names_of_their_own(tmp_path: Path) -> None:
    """Kana that differ in a voiced mark, one letter of Han, spellings of one name by different systems."""
    folders = [
        "文档",
        "文檔",
        "Документы",
        "документ",
        "ドキュメント",
        "トキュメント",
        "한국",
        "مستندات",
        "📚",
        "ø 1",
        "ß 1",
        "2024 отчёт",
        "2024 план",
    ]
    names = [named(tmp_path / folder) for folder in folders]
    assert len(set(names)) == len(folders)
    assert all(re.fullmatch(r"[a-z0-9_]+(-[a-z0-9_]+)*", name) for name in names)
    assert names[0].startswith("project-") and names[-1].startswith("2024-")
    assert named(tmp_path / "1" / "Bu\u0308cher") == named(tmp_path / "2" / "Bücher") == "bucher"
    assert named(tmp_path / "3" / "ド") == named(tmp_path / "4" / "ト\u3099") != named(tmp_path / "5" / "ト")
    assert [named(tmp_path / each) for each in ("My Docs", "a – b", "a" * 80)] == ["my-docs", "a-b", "a" * 63]


@pytest.mark.parametrize("kept", ["runs/project", "runs/forgotten/project.json"])
def test_a_folder_keeps_the_name_that_an_earlier_version_gave_it(tmp_path: Path, kept: str) -> None:
    today = named(tmp_path / "文档")
    (tmp_path / "文档" / kept).mkdir(parents=True)
    assert named(tmp_path / "文档") == "project"
    (tmp_path / "文档" / "runs" / today).mkdir()
    assert named(tmp_path / "文档") == today


@pytest.mark.parametrize("storage", ["./runs", "{folder}/deep/er/kept"])
def test_the_project_file_and_its_storage_are_no_documents(tmp_path: Path, storage: str) -> None:
    """They hold addresses with passwords, answers, and the names of what was forgotten."""
    folder = Path(storage.format(folder=tmp_path))
    text = json.dumps({"model": "m", "storage": str(folder), "retrieval": {"sources": ["."]}})
    (tmp_path / "tandem.yaml").write_text(text)
    there = (tmp_path / "a.md", tmp_path / "other/runs/tandem.yaml", tmp_path / folder / "forgotten/x.json")
    for path in there:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if path.suffix == ".json" else "text: of a document")
    (source,) = load(tmp_path / "tandem.yaml").retrieval.sources
    assert isinstance(source, FolderSource)
    left_out = Counter[str]()
    found = [document.source for document in folder_documents(source, "", left_out)]
    assert found == ["a.md", "other/runs/tandem.yaml"]
    assert left_out == {"the project's own": 2}
