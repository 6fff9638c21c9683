"""What a model card says of how a version is asked; the rest of it is in test_train.py."""

from pathlib import Path
from typing import Any

import pytest

from training.config import TrainingConfig
from training.publish.model_card import write_model_card


def card(folder: Path, changed: dict[str, Any], **told: Any) -> str:
    lines = [{"step": 1, "loss": 1.0, "learning_rate": 1e-3}]
    config = TrainingConfig.model_validate({"data": "rows.jsonl", **changed})
    metrics = {"num_rows": 3.0, "num_steps": 1.0, "num_steps_done": 1.0}
    write_model_card(folder, "depot", config, model="base", data_digest="0", lines=lines, metrics=metrics, **told)
    return (folder / "README.md").read_text()


@pytest.mark.parametrize("changed", [{}, {"method": "dora"}])
def test_settings_of_the_template_are_named_for_those_who_serve_without_tandem(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    named = 'pass `chat_template_kwargs: {"enable_thinking": false}` with each request'
    assert named in card(tmp_path, changed, chat_template_kwargs={"enable_thinking": False})
    assert "chat_template_kwargs:" not in card(tmp_path, changed)


def test_a_model_without_a_template_is_not_asked_by_chat(tmp_path: Path) -> None:
    asked = card(tmp_path, {"objective": "text"}, is_chat=False)
    assert 'client.completions.create(model="base:depot", prompt="...")' in asked and "chat.completions" not in asked
    assert 'messages=[{"role": "user", "content": "..."}])' in card(tmp_path, {"objective": "text"})
