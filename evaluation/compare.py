"""The comparison: check the questions, ask every arm over HTTP, grade, conclude, write the reports.

arms = make_arms(config.arms, tuned="base:quickstart@1", collection="quickstart")
report = measure(config, "http://127.0.0.1:8000/v1", arms, run, print, trained=version.path / "trained.jsonl")
print(report.recommendation.text)
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from cluster.digests import digest_json
from cluster.provenance import git_commit, machine, versions
from cluster.runs import Run
from evaluation.arms import Arm
from evaluation.ask import Asked, ask_all
from evaluation.config import EvaluationConfig
from evaluation.grading import grade
from evaluation.leaks import refuse_leaks
from evaluation.questions import OVERALL, Question, load, slices
from evaluation.report import write_reports
from evaluation.results import ArmResult, Reply, Report, Row
from evaluation.summary import make_cells, make_differences
from evaluation.verdict import recommend


def measure(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    run: Run,
    on_progress: Callable[[str], None],
    *,
    trained: Path | None = None,
) -> Report:
    """Measure the arms on the configured questions and write report.json and report.html into the run's folder.

    Args:
        base_url: the URL of an OpenAI-compatible endpoint, with /v1.
        trained: what the adapter was trained on, `trained.jsonl` in its version; None where no arm is tuned.

    Raises:
        TandemError: where the questions are not usable or were trained on. Failing calls are counted.
    """
    questions = check_questions(config, trained)
    titles = ", ".join(arm.title for arm in arms)
    on_progress(f"asking {len(questions):,} questions of {len(arms)} arms ({titles})")
    started = time.monotonic()
    asked = ask_all(config, base_url, arms, questions, on_progress)
    report = conclude(config, arms, questions, asked, run, duration_s=time.monotonic() - started)
    for path in write_reports(report, run.path):
        on_progress(f"wrote {path}")
    for arm in arms:
        cell = report.cell(arm.name, OVERALL)
        counts = {"n": cell.accuracy.n, "failed": cell.num_failed}
        run.log_metrics({"arm": arm.name, "accuracy": cell.accuracy.share, **counts})
    return report


def check_questions(config: EvaluationConfig, trained: Path | None = None) -> list[Question]:
    """The configured questions, checked, and none of them trained on. Cheap: call it before anything is started."""
    questions = load(config.questions)
    if trained is not None:
        refuse_leaks(questions, trained)
    return questions


def conclude(
    config: EvaluationConfig,
    arms: Sequence[Arm],
    questions: Sequence[Question],
    asked: Asked,
    run: Run,
    duration_s: float,
) -> Report:
    """Grade the replies and put the report together. Apart from times, the same replies give the same report."""
    rows = [_graded(question, arms, asked) for question in questions]
    results = [_arm_result(arm, rows, asked) for arm in arms]
    cells, differences = make_cells(rows, arms), make_differences(rows, arms, config.seed)
    return Report(
        run=run.id,
        created=datetime.fromisoformat(run.started),
        duration_s=duration_s,
        machine=machine(),
        versions=versions(),
        git_commit=git_commit(),
        config=config,
        questions_digest=digest_json([question.model_dump(mode="json") for question in questions]),
        arms=results,
        slices=slices(questions),
        cells=cells,
        differences=differences,
        recommendation=recommend(results, cells, differences, config.max_failed_share),
        rows=rows,
    )


def _graded(question: Question, arms: Sequence[Arm], asked: Asked) -> Row:
    replies = asked.replies[question.id]
    return Row(question=question, replies={arm.name: _with_grade(question, arm, replies[arm.name]) for arm in arms})


def _with_grade(question: Question, arm: Arm, reply: Reply) -> Reply:
    if reply.text is None:
        return reply
    return reply.model_copy(update={"grade": grade(question, reply.text, reply.citations, arm.retrieves)})


def _arm_result(arm: Arm, rows: Sequence[Row], asked: Asked) -> ArmResult:
    replies = [row.replies[arm.name] for row in rows]
    warm_up = asked.warm_ups[arm.name]
    return ArmResult(
        name=arm.name,
        title=arm.title,
        model=arm.model,
        answered_as=sorted({reply.model for reply in replies if reply.model}),
        warm_up_s=warm_up.latency_s,
        warm_up_failed=warm_up.failed,
        failures=dict(Counter(reply.failed for reply in replies if reply.failed)),
    )
