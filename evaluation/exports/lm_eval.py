"""Questions as tasks of lm-evaluation-harness: `NAME`, and `NAME_choice` for those with choices.

The harness asks and reports; lm_eval_task.py grades, by the rules that `tandem compare` has. Questions with choices are
compared by log-likelihood, which only `local-completions` has; all others are generated, by any of its models.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from evaluation.exports.export import Export
from evaluation.questions.question import Question, slices

GENERATED, CHOICE = "questions.jsonl", "choices.jsonl"
MODULE = '''"""Where these tasks find their questions. Grading is Tandem's: install it beside lm-eval."""

from pathlib import Path

from evaluation.exports import lm_eval_task

FOLDER = Path(__file__).resolve().parent


def generated(**_: object) -> object:
    return lm_eval_task.load(FOLDER / "questions.jsonl")


def chosen(**_: object) -> object:
    return lm_eval_task.load(FOLDER / "choices.jsonl")
'''


class _Function(str):
    """The name of a Python function, in the harness's YAML."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


def export_lm_eval(questions: Sequence[Question], name: str, max_tokens: int) -> Export:
    """A folder for `lm-eval run --include_path`: a task file, questions and a module.

    Args:
        name: the task's.
        max_tokens: the longest answer, in tokens.
    """
    export = Export("lm-eval")
    for question in questions:
        if question.kind == "rubric":
            export.leave_out(question, "lm-eval has no judge that grades by a rubric")
    generated = [question for question in questions if question.kind not in ("rubric", "choice")]
    chosen = [question for question in questions if question.kind == "choice"]
    if generated:
        export.files |= {f"{name}.yaml": _yaml(_generation(name, generated, max_tokens)), GENERATED: _rows(generated)}
    if chosen:
        export.files |= {f"{name}_choice.yaml": _yaml(_choice(f"{name}_choice")), CHOICE: _rows(chosen)}
        export.notes.append(
            f"The task {name}_choice compares log-likelihoods: of lm-eval's models for an endpoint only "
            "`local-completions` has them."
        )
    export.num_exported = len(generated) + len(chosen)
    if export.files:
        export.files["tandem_task.py"] = MODULE
        export.note_paraphrases([*generated, *chosen])
    return export


def _generation(name: str, questions: Sequence[Question], max_tokens: int) -> dict[str, Any]:
    metrics = ["right", "refused", "unclear", *(f"right_{each}" for each in slices(questions))]
    return {
        "task": name,
        "custom_dataset": _Function("tandem_task.generated"),
        "output_type": "generate_until",
        "generation_kwargs": {"until": [], "max_gen_toks": max_tokens, "temperature": 0.0, "do_sample": False},
        "process_results": _Function("evaluation.exports.lm_eval_task.grade_answer"),
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": metric.startswith("right")}
            for metric in metrics
        ],
        **_common(),
    }


def _choice(name: str) -> dict[str, Any]:
    return {
        "task": name,
        "custom_dataset": _Function("tandem_task.chosen"),
        "output_type": "multiple_choice",
        "doc_to_choice": _Function("evaluation.exports.lm_eval_task.letters_of"),
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        **_common(),
    }


def _common() -> dict[str, Any]:
    return {
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": _Function("evaluation.exports.lm_eval_task.prompt_of"),
        "doc_to_target": _Function("evaluation.exports.lm_eval_task.target_of"),
        "metadata": {"version": 1.0},
    }


def _yaml(task: dict[str, Any]) -> str:
    return yaml.dump(task, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _rows(questions: Iterable[Question]) -> str:
    return "".join(
        json.dumps(question.model_dump(mode="json", exclude_unset=True), ensure_ascii=False) + "\n"
        for question in questions
    )
