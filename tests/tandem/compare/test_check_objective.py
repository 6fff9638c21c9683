"""Arms that cannot be made from the rows of an objective are refused before anything is started."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from tandem.compare.check import _draw_shots, check_arms, check_data
from tandem.console import Console
from tandem.project.project import Project, load
from training.config import TrainingConfig
from training.data.rows import check_rows

MODEL = Path(__file__).parents[3] / "examples" / "quickstart" / "model"


def project(folder: Path, objective: str, arms: list[str], model: Path = MODEL) -> Project:
    (folder / "rows.jsonl").write_text('{"text": "A text."}\n')
    (folder / "tandem.yaml").write_text(json.dumps({
        "project": "p", "model": str(model), "storage": "./runs",
        "training": {"objective": objective, "data": "rows.jsonl"}, "evaluation": {"arms": arms},
    }))  # fmt: skip
    return load(folder / "tandem.yaml")


@pytest.mark.parametrize("objective", ["dpo", "kto", "text"])
def test_raft_needs_answers_that_are_learnt(tmp_path: Path, objective: str) -> None:
    with pytest.raises(TandemError, match=f"names `raft`, and `training.objective` is {objective}"):
        check_arms(project(tmp_path, objective, ["base", "raft"]))


def test_few_shot_needs_answers_to_show(tmp_path: Path) -> None:
    with pytest.raises(TandemError, match=r"names `few_shot`, and `training.objective` is text"):
        check_arms(project(tmp_path, "text", ["base", "few_shot"]))


def test_a_model_without_a_chat_template_cannot_be_asked(tmp_path: Path) -> None:
    check_arms(project(tmp_path, "text", ["base", "tuned"]))
    model = tmp_path / "bare"
    shutil.copytree(MODEL, model)
    (model / "chat_template.jinja").unlink()
    with pytest.raises(TandemError, match="has no chat template, so that its arms cannot be asked questions"):
        check_arms(project(tmp_path, "text", ["base", "tuned"], model))


def test_undesired_answers_are_never_shown(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"Q{n}?", "completion": f"A{n}", "label": n % 2 == 0} for n in range(8)]
    path = tmp_path / "kto.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = check_rows(TrainingConfig(data=path, objective="kto")).rows
    shots = _draw_shots(read, project(tmp_path, "kto", ["base"]))
    assert shots and {shot.answer for shot in shots} <= {"A0", "A2", "A4", "A6"}


def test_few_shot_without_an_example_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    asked = project(tmp_path, "dpo", ["base", "few_shot"])
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Q?", "chosen": "A", "rejected": "B"}\n' * 2)
    (tmp_path / "questions.jsonl").write_text('{"id": "1", "slice": "a", "question": "Why?", "answers": ["so"]}\n')
    config = asked.evaluation.model_copy(update={"questions": tmp_path / "questions.jsonl"})
    with pytest.raises(TandemError, match="has no example to show"):
        check_data(
            Project(asked.path, asked.settings.model_copy(update={"evaluation": config})), Console(), ["few_shot"]
        )
