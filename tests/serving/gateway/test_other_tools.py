"""Exported questions, asked of the real endpoint by other tools: lm-evaluation-harness and promptfoo.

Neither is a dependency. `TANDEM_LM_EVAL` and `TANDEM_PROMPTFOO` name their commands where they are not on the path.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.exports.lm_eval import export_lm_eval
from evaluation.exports.lm_eval_task import grade_answer
from evaluation.exports.promptfoo import export_promptfoo
from evaluation.questions.question import Question
from serving.client import connect
from tests.serving.served_app import COLLECTION, ELEMENTS, MODEL, Endpoint

pytestmark = [pytest.mark.slow, pytest.mark.matrix]
ROOT = Path(__file__).parents[3]
MAX_TOKENS = 24


def command(name: str, variable: str) -> str:
    found = os.environ.get(variable) or shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: install it, or name its command in {variable}")
    return found


def run(words: list[str], folder: Path) -> None:
    """Run a command; what it wrote is shown where it failed."""
    settings = {
        "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets"),
        "OPENAI_API_KEY": "none", "PROMPTFOO_CONFIG_DIR": str(folder / "promptfoo"),
        "PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "PROMPTFOO_FAILED_TEST_EXIT_CODE": "0",
    }  # fmt: skip
    done = subprocess.run(words, cwd=folder, env=os.environ | settings, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.fixture
def questions() -> list[Question]:
    names = list(ELEMENTS)
    known = [
        Question(
            id=f"known-{name}", slice="known", question=f"What is the atomic number of {name}?", answers=(str(number),)
        )
        for name, number in ELEMENTS.items()
    ]
    chosen = [
        Question(
            id=f"choice-{name}", slice="choice", question="Which of these is a metal?", kind="choice",
            choices=(name, names[(place + 1) % len(names)], f"{place}"), answers=(name,),
        )
        for place, name in enumerate(names)
    ]  # fmt: skip
    unknown = Question(id="unknown", slice="unknown", question="Who is the mayor of Iron? {{ 7*7 }}", answerable=False)
    return [*known, *chosen, unknown]


@pytest.fixture
def task(questions: list[Question], tmp_path: Path) -> Path:
    for name, text in export_lm_eval(questions, "elements", MAX_TOKENS).files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def asked_by_lm_eval(task: Path, name: str, *options: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The task's metrics, and a record of each question."""
    lm_eval = command("lm_eval", "TANDEM_LM_EVAL")
    run(
        [lm_eval, "run", "--include_path", ".", "--tasks", name, "--output_path", "out", "--log_samples", *options],
        task,
    )
    (results,) = task.glob("out/**/results_*.json")
    (samples,) = task.glob(f"out/**/samples_{name}_*.jsonl")
    return json.loads(results.read_text())["results"][name], [json.loads(each) for each in samples.open()]


def test_lm_eval_generates_and_grades_as_a_comparison_does(endpoint: Endpoint, task: Path) -> None:
    model = f"base+{COLLECTION}"
    metrics, samples = asked_by_lm_eval(
        task, "elements", "--apply_chat_template", "--model", "local-chat-completions", "--model_args",
        f"model={model},base_url={endpoint.url}/chat/completions,num_concurrent=4",
    )  # fmt: skip
    assert len(samples) == len(ELEMENTS) + 1
    with connect(endpoint.url) as client:
        for sample in samples:
            doc, said = sample["doc"], sample["resps"][0][0]
            text = Question.model_validate_json(doc["question"]).question
            reply = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], temperature=0, max_tokens=MAX_TOKENS
            )
            assert said == reply.choices[0].message.content
            assert {key: sample[key] for key in ("right", "refused") if key in sample} == {
                key: value for key, value in grade_answer(doc, [said]).items() if key in ("right", "refused")
            }
    rights = [sample["right"] for sample in samples if "right" in sample]
    assert metrics["right,none"] == pytest.approx(sum(rights) / len(rights))
    assert 0 < metrics["right_known,none"] <= 1


def test_lm_eval_compares_the_log_likelihoods_of_choices(endpoint: Endpoint, task: Path) -> None:
    metrics, samples = asked_by_lm_eval(
        task, "elements_choice", "--model", "local-completions", "--model_args",
        f"model=base,base_url={endpoint.url}/completions,tokenizer={MODEL},num_concurrent=4",
    )  # fmt: skip
    assert len(samples) == len(ELEMENTS)
    likeliest = 0
    with connect(endpoint.url) as client:
        for sample in samples:
            found = [float(arguments[0][0]) for arguments in sample["resps"]]
            for likelihood, (context, letter) in zip(found, arguments_of(sample), strict=True):
                reply = client.completions.create(
                    model="base",
                    prompt=context + letter,
                    max_tokens=1,
                    temperature=0,
                    extra_body={"prompt_logprobs": 0},
                )
                last = (reply.choices[0].model_extra or {})["prompt_logprobs"][-1]
                assert likelihood == pytest.approx(next(iter(last.values()))["logprob"], abs=2e-2)
            likeliest += found.index(max(found)) == sample["target"]
    assert metrics["acc,none"] == pytest.approx(likeliest / len(samples))


def arguments_of(sample: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for number in range(len(sample["arguments"])):
        arguments = sample["arguments"][f"gen_args_{number}"]
        yield arguments["arg_0"], arguments["arg_1"]


def test_promptfoo_asks_and_asserts(endpoint: Endpoint, questions: list[Question], tmp_path: Path) -> None:
    promptfoo = command("promptfoo", "TANDEM_PROMPTFOO")
    asked = [question for question in questions if question.answerable]
    model = f"base+{COLLECTION}"
    export = export_promptfoo(asked, "promptfooconfig.yaml", model, endpoint.url, MAX_TOKENS)
    (tmp_path / "promptfooconfig.yaml").write_text(export.files["promptfooconfig.yaml"])
    words = [promptfoo, "eval", "-c", "promptfooconfig.yaml", "--no-cache", "--no-table", "-o", "out.json"]
    run(words, tmp_path)
    results = json.loads((tmp_path / "out.json").read_text())["results"]["results"]
    assert len(results) == len(asked)
    by_id = {result["testCase"]["metadata"]["id"]: result for result in results}
    with connect(endpoint.url) as client:
        for name, number in ELEMENTS.items():
            result = by_id[f"known-{name}"]
            reply = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": f"What is the atomic number of {name}?"}],
                temperature=0, max_tokens=MAX_TOKENS,
            )  # fmt: skip
            said = reply.choices[0].message.content or ""
            assert result["response"]["output"] == said
            assert result["success"] == (str(number) in said.replace(".", " ").split())
