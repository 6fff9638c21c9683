import json
from pathlib import Path
from typing import Any

import pytest

from tandem.commands.train.training_plan import as_text, make_tables, plan_training, published_as, to_json
from tests.training.model.test_targets import small
from training.config import TrainingConfig

QUICKSTART = Path(__file__).parents[4] / "examples" / "quickstart"
MODEL = str(QUICKSTART / "model")


def planned(memory_gib: float | None = 80, workers: int | None = None, **settings: Any) -> dict[str, Any]:
    config = TrainingConfig(sequence_length=512, **settings)
    return json.loads(json.dumps(to_json(plan_training(config, MODEL, memory_gib, None, workers))))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"method": "full"}, "full"),
        ({"method": "dora"}, "dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_what_vllm_cannot_load_is_published_merged(settings: dict[str, Any], cause: str) -> None:
    said = published_as(TrainingConfig(**settings))
    assert said.startswith("merged")
    assert f"result of {cause} " in said
    assert published_as(TrainingConfig()).startswith("an adapter")


def test_the_data_is_counted() -> None:
    data = QUICKSTART / "data" / "train.jsonl"
    work = planned(data=str(data), epochs=2)["data"]
    assert work["num_rows"] == round(0.95 * len(data.read_text().splitlines()))
    assert work["num_steps"] == 2 * work["steps_per_epoch"]


def test_what_the_chat_template_makes_of_rows_is_warned_of(tmp_path: Path) -> None:
    rows = ['{"prompt": "Hi <|end|>", "completion": "Yo"}', '{"prompt": "Why?", "completion": "So."}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    config = TrainingConfig(data=tmp_path / "rows.jsonl")  # type: ignore[arg-type]
    found = plan_training(config, MODEL, 80, None, None)
    assert "Warning: Control tokens are in the text of 1 row." in as_text(found)
    assert to_json(found)["warnings"][0]["num_rows"] == 1
    refused = plan_training(config.model_copy(update={"control_tokens": "refuse"}), MODEL, 80, None, None)
    assert "1 of 2 training rows cannot be used" in as_text(refused)


def test_a_preference_training_is_not_planned_as_full_fine_tuning() -> None:
    for objective in ("dpo", "kto"):
        plan = plan_training(TrainingConfig(objective=objective), MODEL, 80, None, None)
        assert list(plan.others) == ["lora", "dora", "qlora"]
        assert len(list(make_tables(plan))) == 2


def test_without_data_it_says_so() -> None:
    found = plan_training(TrainingConfig(), MODEL, 80, None, None)
    assert found.work is None
    assert "the project names none" in as_text(found)
    missing = plan_training(TrainingConfig(data="nowhere.jsonl"), MODEL, 80, None, None)  # type: ignore[arg-type]
    assert "nowhere.jsonl" in as_text(missing)


def test_another_machine_and_other_workers() -> None:
    assert planned(workers=1)["chosen"]["zero_stage"] == 1
    assert planned(workers=1, precision="fp32")["chosen"]["zero_stage"] == 0
    assert planned(workers=4)["chosen"]["zero_stage"] == 1
    assert planned(workers=4)["workers"] == {"min": 4, "max": 4}


def test_what_does_not_fit_is_shown_and_refused() -> None:
    found = planned(memory_gib=0.5)
    assert found["chosen"] is None
    assert "Each worker on a GPU needs at least" in found["refusal"]
    assert "GiB of GPU memory" in found["refusal"]
    assert not any(choice["fits"] for choice in found["methods"]["lora"])
    assert {choice["zero_stage"] for choice in found["methods"]["qlora"]} == {0, 1, 2}


def test_a_mixture_of_experts_is_planned_as_it_is_trained(tmp_path: Path) -> None:
    small("qwen3_moe").save_pretrained(tmp_path)
    plan = plan_training(TrainingConfig(rank=4), str(tmp_path), 80, None, 1)
    assert plan.shapes.trained == 2 * 4 * 2 * (32 + 32 + 32 + 16)
    assert "`all-linear` gives no adapter to mlp.experts, mlp.gate" in as_text(plan)
    named = TrainingConfig(rank=4, target_modules=["gate_proj", "up_proj", "down_proj"], modules_to_save=["lm_head"])
    methods = to_json(plan_training(named, str(tmp_path), 80, None, 1))["methods"]
    assert methods["lora"] and not methods["dora"]  # PEFT has no DoRA for the weights of experts
    assert len(list(make_tables(plan))) == 2
