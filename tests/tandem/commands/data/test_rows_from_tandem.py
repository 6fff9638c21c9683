"""`tandem data texts` and `tandem data ratings`: rows for training out of what Tandem has."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.errors import TandemError
from cluster.storage.storage import Storage
from tandem.cli import app
from tests.training.conftest import write_model
from training.config import TrainingConfig
from training.data.rows import check_rows


def run(folder: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "-c", str(folder / "tandem.yaml")])
    if isinstance(done.exception, TandemError):
        raise done.exception
    return done


def project(folder: Path, **sections: Any) -> Path:
    model = write_model(folder / "model")
    settings = {"project": "p", "model": str(model), "storage": str(folder / "runs"), **sections}
    (folder / "tandem.yaml").write_text(yaml.safe_dump(settings))
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "deep").mkdir(parents=True)
    (docs / "a.md").write_text("# Ärzte\n\nSiehe oben.\n")
    (docs / "deep" / "b.html").write_text("<html><body><p>Out of a page.</p></body></html>")
    (docs / "empty.txt").write_text("  \n")
    (docs / "latin.txt").write_bytes(b"Gr\xfc\xdfe")
    return project(tmp_path, retrieval={"sources": [str(docs)]})


def test_texts_are_rows_that_can_be_trained_on(documents: Path, tmp_path: Path) -> None:
    out = tmp_path / "data" / "texts.jsonl"
    done = run(documents, "data", "texts", str(out))
    assert done.exit_code == 3, done.output
    assert "latin.txt is not UTF-8" in done.output
    rows = rows_of(out)
    assert [row["id"] for row in rows] == ["a.md", "deep/b.html"]
    assert rows[0]["text"].strip() == "# Ärzte\n\nSiehe oben." and "Out of a page." in rows[1]["text"]
    read = check_rows(TrainingConfig(data=out, objective="text")).rows
    assert [row.sources for row in read] == [("a.md",), ("deep/b.html",)]
    with pytest.raises(TandemError, match="is there already"):
        run(documents, "data", "texts", str(out))
    assert run(documents, "data", "texts", str(out), "--force").exit_code == 3
    assert sorted(path.name for path in out.parent.iterdir()) == ["texts.jsonl"]


def test_what_was_forgotten_and_what_only_some_may_see_is_left_out(documents: Path, tmp_path: Path) -> None:
    (tmp_path / "docs" / "latin.txt").unlink()
    source = {"path": str(tmp_path / "docs"), "access": ["staff"]}
    secret = project(tmp_path / "secret", retrieval={"sources": [source]})
    out = tmp_path / "texts.jsonl"
    with pytest.raises(TandemError, match="No document has a text that may be trained on"):
        run(secret, "data", "texts", str(out))
    assert not out.exists()
    assert run(secret, "data", "texts", str(out), "--restricted").exit_code == 0
    assert len(rows_of(out)) == 2
    storage = Storage(tmp_path / "runs")
    storage.forgotten("p").update(lambda _: b'{"forgotten": ["a.md"]}')
    done = run(documents, "data", "texts", str(out), "--force", "--json")
    assert json.loads(done.stdout)["left_out"] == {"forgotten": 1, "empty": 1}
    assert [row["id"] for row in rows_of(out)] == ["deep/b.html"]


def answer(id: str, time: str, question: Any = None, text: Any = "It is 26.", collection: str = "") -> dict[str, Any]:
    question = [{"role": "user", "content": f"Question {id}?"}] if question is None else question
    return {"time": time, "key": "k", "id": id, "model": "base", "collection": collection, "sources": [],
            "question": question, "answer": text}  # fmt: skip


def rating(id: str, time: str, thumb: str) -> dict[str, Any]:
    return {"time": time, "key": "k", "id": id, "rating": thumb, "comment": ""}


def keep(folder: Path, *files: list[dict[str, Any]]) -> None:
    (folder / "runs" / "logs").mkdir(parents=True)
    for number, lines in enumerate(files):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "runs" / "logs" / f"kept-node-{number}.jsonl").write_text(text + '{"id": "half a li')


def test_ratings_are_rows_that_can_be_trained_on(tmp_path: Path) -> None:
    keep(
        project(tmp_path),
        [answer("b", "2"), answer("a", "1"), rating("a", "3", "down"), answer("never rated", "4")],
        [
            rating("b", "5", "down"), rating("b", "9", "up"), rating("b", "7", "down"), rating("unknown", "5", "up"),
            answer("from documents", "6", collection="docs"), rating("from documents", "7", "up"),
            answer("a completion", "6", question="Once"), rating("a completion", "7", "up"),
            answer("a call", "6", text=""), rating("a call", "7", "up"),
        ],
    )  # fmt: skip
    out = tmp_path / "ratings.jsonl"
    done = run(tmp_path, "data", "ratings", str(out), "--json")
    assert rows_of(out) == [
        {
            "id": id,
            "messages": [
                {"role": "user", "content": f"Question {id}?"},
                {"role": "assistant", "content": "It is 26."},
            ],
            "label": label,
        }
        for id, label in (("a", False), ("b", True))
    ]
    assert json.loads(done.stdout)["left_out"] == {
        "no chat was asked": 1, "the answer was given from documents": 1, "the answer has no text": 1,
        "the answer was not kept": 1,
    }  # fmt: skip
    read = check_rows(TrainingConfig(data=out, objective="kto")).rows
    assert [row.label for row in read] == [False, True]


def test_a_rated_answer_is_learnt_behind_the_prompt_that_was_shown(tmp_path: Path) -> None:
    shown = {"tools": [{"type": "function", "function": {"name": "look"}}], "chat_template_kwargs": {"style": "short"}}
    keep(
        project(tmp_path),
        [answer("a", "1") | shown, rating("a", "2", "up"), answer("b", "1"), rating("b", "2", "down")],
    )
    out = tmp_path / "ratings.jsonl"
    run(tmp_path, "data", "ratings", str(out))
    first, second = check_rows(TrainingConfig(data=out, objective="kto")).rows
    assert first.conversation.tools and dict(first.conversation.template_kwargs) == {"style": "short"}
    assert not second.conversation.tools and not second.conversation.template_kwargs


def test_a_check_counts_desired_and_undesired_answers(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(
        json.dumps({"prompt": f"Question {number}?", "completion": "Yes.", "label": number < 3}) + "\n"
        for number in range(4)
    ))  # fmt: skip
    project(tmp_path, training={"data": str(tmp_path / "rows.jsonl"), "objective": "kto"})
    assert "3 desired answers, 1 undesired ones" in run(tmp_path, "data", "check").output


def test_without_ratings_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"No rated answer in .* can be trained on"):
        run(project(tmp_path), "data", "ratings", str(tmp_path / "out.jsonl"))
    keep(tmp_path, [answer("a", "1", collection="docs"), rating("a", "2", "up")])
    with pytest.raises(TandemError, match="1 the answer was given from documents"):
        run(tmp_path, "data", "ratings", str(tmp_path / "out.jsonl"))
