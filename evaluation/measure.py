"""The measurement: check the questions, ask every arm over HTTP, grade, conclude, write the reports.

arms = make_arms(config.arms, tuned="base:quickstart@1", collection="quickstart")
report = measure(config, "http://127.0.0.1:8000/v1", arms, run, print, Setting(trained=[version.path]))
print(report.recommendation.text)
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from cluster.fingerprints.digests import digest_json
from cluster.fingerprints.provenance import describe_machine, git_commit, package_versions
from cluster.registry.gate_records import Candidate
from cluster.storage.runs import Run
from evaluation.arms import Arm
from evaluation.asking.answer_cache import AnswerCache
from evaluation.asking.ask import CollectedReplies, ask_all
from evaluation.asking.judge_calibration import read_calibration
from evaluation.asking.judge_calls import JudgedReplies, Words, judge_replies
from evaluation.asking.turns import KINDS
from evaluation.config import ArmName, EvaluationConfig
from evaluation.drafts.draft_files import refuse_draft
from evaluation.grading.choices import balance_letters
from evaluation.grading.failures import with_failures
from evaluation.grading.grading import grade_reply
from evaluation.questions.files import load_general, load_questions
from evaluation.questions.leaks import refuse_leaks, source_overlap
from evaluation.questions.question import OVERALL, Question, slices
from evaluation.questions.repeats import describe_repeats, find_repeats
from evaluation.replies import Reply
from evaluation.reporting.report import write_reports
from evaluation.results import (
    ArmResult,
    BreakEven,
    Cell,
    Cost,
    Difference,
    Freshness,
    Gate,
    JudgeCheck,
    Recommendation,
    Report,
    Row,
    Staging,
)
from evaluation.verdicts.consistency import measure_consistency
from evaluation.verdicts.costs import costs_of_arms as arm_costs
from evaluation.verdicts.costs import find_break_even
from evaluation.verdicts.promotion_gates import BASE, judge_gates
from evaluation.verdicts.sampling.clusters import distinct_rows
from evaluation.verdicts.sampling.looks import Look, Looks, count_looks, describe_looks, make_look, write_look
from evaluation.verdicts.sampling.selection import selection_optimism
from evaluation.verdicts.sampling.stages import arms_out, looks_of_stages, make_stages
from evaluation.verdicts.summary import make_cells, make_differences
from evaluation.verdicts.verdict import DECIDED, recommend


@dataclass(frozen=True)
class MeasurementContext:
    """What is known of the arms beside their names.

    `versions`: what answers for an arm, in one string; without it an arm's answers are not kept. `answers`: the file
    that keeps them. `trained`: each `trained.jsonl` of what is tuned. Times are in seconds, of all workers together.
    `candidate`: a new version, which has to pass its gates, and the version that is live.
    """

    versions: Mapping[ArmName, str] = field(default_factory=dict)
    answers: Path | None = None
    trained: Sequence[Path] = ()
    training_s: Mapping[ArmName, float] = field(default_factory=dict)
    indexing_s: float | None = None
    index_version: str | None = None
    staging: Staging | None = None
    freshness: Sequence[Freshness] = ()
    candidate: Candidate | None = None


def measure(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    run: Run,
    on_progress: Callable[[str], None],
    setting: MeasurementContext | None = None,
    questions: Sequence[Question] | None = None,
) -> Report:
    """Measure the arms on the configured questions and write report.json and report.html into the run's folder.

    Args:
        base_url: the URL of an OpenAI-compatible endpoint, with /v1.
        questions: the configured questions, where they are checked already; else they are read and checked here.

    Raises:
        TandemError: where the questions are not usable or were trained on. Failing calls are counted.
    """
    setting = setting or MeasurementContext()
    questions = check_questions(config, setting.trained) if questions is None else questions
    for sentence in describe_repeats(find_repeats(questions)):
        on_progress(sentence)
    if num_stages(config, questions) > 1:
        rows, collected, judge = ask_in_stages(config, base_url, arms, run, questions, on_progress, setting)
    else:
        collected = ask_arms(config, base_url, arms, questions, on_progress, setting)
        rows, judge = grade_all(config, base_url, arms, questions, collected, on_progress)
    report = conclude(config, arms, rows, collected, run, setting, judge)
    write_report(report, run, on_progress)
    return report


def num_stages(config: EvaluationConfig, questions: Sequence[Question]) -> int:
    """In how many parts the questions are asked: in one where a judge grades them by a rubric."""
    return 1 if any(question.kind == "rubric" for question in questions) else config.stages


def ask_in_stages(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    run: Run,
    questions: Sequence[Question],
    on_progress: Callable[[str], None],
    setting: MeasurementContext,
) -> tuple[list[Row], CollectedReplies, JudgeCheck | None]:
    """One row for each question, in the questions' order; arms that cannot win any more are not asked the rest."""
    looks = count_looks(make_look(questions, arms, run.started), run.path.parent)
    between, _ = looks_of_stages(looks, config.stages)
    collected, rows, judge = CollectedReplies(), dict[str, Row](), None
    asked = list(arms)
    gated = setting.candidate
    protected = [name for name in (gated.arm, gated.live_arm, BASE) if name] if gated else []
    for stage in make_stages(questions, config.stages, config.seed):
        added = ask_arms(config, base_url, asked, stage, on_progress, setting)
        collected.merge(added)
        graded, judge = grade_all(config, base_url, arms, stage, added, on_progress, judge)
        rows |= {row.question.id: row for row in graded}
        differences = make_differences(
            distinct_rows(list(rows.values()), questions), asked, worth=config.worth, looks=between
        )
        out = arms_out(differences, config.worth, protected)
        if out and len(rows) < len(questions):
            titles = ", ".join(arm.title for arm in asked if arm.name in out)
            on_progress(f"after {len(rows):,} of {len(questions):,} questions these arms cannot win any more: {titles}")
            asked = [arm for arm in asked if arm.name not in out]
        asked = [replace(arm, thinks=True) if arm.name in collected.thinking else arm for arm in asked]
    return [rows[question.id] for question in questions], collected, judge


def check_questions(config: EvaluationConfig, trained: Sequence[Path] = ()) -> list[Question]:
    """The configured questions, checked, and none of them trained on; choices in the order of their letters. The rows
    that a judge is calibrated on are checked too. Cheap: call it before anything is started."""
    if config.questions:
        refuse_draft(config.questions)
    questions = load_questions(config.questions)
    if config.general:
        questions += load_general(config.general, questions)
    refuse_trained(questions, trained)
    if config.judge:
        read_calibration(config.judge.calibration)
    return balance_letters(questions)


def refuse_trained(questions: Sequence[Question], trained: Sequence[Path]) -> None:
    """Raise a TandemError where a question was trained on, by each `trained.jsonl` of what is tuned."""
    for path in trained:
        refuse_leaks(questions, path)


def ask_arms(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    questions: Sequence[Question],
    on_progress: Callable[[str], None],
    setting: MeasurementContext,
) -> CollectedReplies:
    """Every arm's replies, of which those that are known already are not asked again."""
    titles = ", ".join(arm.title for arm in arms)
    on_progress(f"asking {len(questions):,} questions of {len(arms)} arms ({titles})")
    with closing(AnswerCache(setting.answers)) if setting.answers else nullcontext() as answers:
        return ask_all(config, base_url, arms, questions, on_progress, answers, setting.versions)


def grade_all(
    config: EvaluationConfig,
    base_url: str,
    arms: Sequence[Arm],
    questions: Sequence[Question],
    collected: CollectedReplies,
    on_progress: Callable[[str], None],
    judge: JudgeCheck | None = None,
    words: Words | None = None,
) -> tuple[list[Row], JudgeCheck | None]:
    """One row for each question, every reply graded and every wrong one sorted; and the judge's record, if it was
    needed or is known from an earlier stage.

    Args:
        words: what the judge said of answers before.
    """
    replies = [(question, reply) for question in questions for reply in collected.all_of(question.id)]
    judged = judge_replies(config, base_url, replies, on_progress, judge, words)
    rows = [_graded(config, question, arms, collected, judged) for question in questions]
    return with_failures(rows), judged.check or judge


def conclude(
    config: EvaluationConfig,
    arms: Sequence[Arm],
    rows: Sequence[Row],
    collected: CollectedReplies,
    run: Run,
    setting: MeasurementContext,
    judge: JudgeCheck | None = None,
) -> Report:
    """Put the report together from graded rows. Apart from times, the same replies give the same report."""
    questions = [row.question for row in rows]
    repeats, counted = find_repeats(questions), distinct_rows(rows)
    look = make_look(questions, arms, run.started)
    results = [make_arm_result(config, arm, rows, collected) for arm in arms]
    verdict = conclude_verdict(config, arms, rows, results, setting, count_looks(look, run.path.parent))
    if verdict.recommendation.outcome in DECIDED:
        write_look(look, run.path)
    return Report(
        run=run.id,
        created=datetime.fromisoformat(run.started),
        duration_s=collected.duration_s,
        machine=describe_machine(),
        versions=package_versions(),
        git_commit=git_commit(),
        config=config,
        questions_digest=digest_json([question.model_dump(mode="json") for question in questions]),
        arms=results,
        slices=slices([row.question for row in counted]),
        cells=verdict.cells,
        differences=verdict.differences,
        consistency=measure_consistency(counted, arms) if any(row.again or row.paraphrased for row in rows) else [],
        freshness=list(setting.freshness),
        costs=verdict.costs,
        break_even=verdict.break_even,
        judge=judge,
        gates=_gates(counted, setting.candidate, config, look, run),
        candidate=setting.candidate,
        staging=setting.staging,
        num_from_trained_documents=_from_trained_documents(questions, setting.trained),
        index_version=setting.index_version,
        repeats=[list(ids) for ids in repeats.same],
        conflicts=[list(ids) for ids in repeats.conflicting],
        look=verdict.looks.number,
        error=verdict.looks.error,
        recommendation=verdict.recommendation,
        rows=list(rows),
    )


@dataclass(frozen=True)
class Verdict:
    """What graded rows say of the arms. `looks`: this look among earlier ones, with the error of its last test."""

    cells: list[Cell]
    differences: list[Difference]
    costs: list[Cost]
    break_even: list[BreakEven]
    recommendation: Recommendation
    looks: Looks


def conclude_verdict(
    config: EvaluationConfig,
    arms: Sequence[Arm],
    rows: Sequence[Row],
    results: Sequence[ArmResult],
    setting: MeasurementContext,
    looks: Looks,
) -> Verdict:
    """The numbers and the recommendation that follow from graded rows; nothing is read or written."""
    counted = distinct_rows(rows)
    questions = [row.question for row in rows]
    _, last = looks_of_stages(looks, num_stages(config, questions))
    cells, differences = make_cells(counted, arms), make_differences(counted, arms, worth=config.worth, looks=last)
    costs = arm_costs(rows, arms, config, setting.training_s, setting.indexing_s)
    turning = find_break_even(costs)
    recommendation = recommend(
        results,
        cells,
        differences,
        config.max_failed_share,
        max_unclear_share=config.max_unclear_share,
        worth=config.worth,
        costs=costs,
        break_even=turning,
        endpoints=config.endpoints,
        optimism=selection_optimism(counted, [arm for arm in arms if not _is_out(counted, arm)]),
        notes=[*describe_looks(looks), *describe_repeats(find_repeats(questions))],
    )
    return Verdict(cells, differences, costs, turning, recommendation, last)


def _is_out(rows: Sequence[Row], arm: Arm) -> bool:
    return any(row.replies[arm.name].not_asked for row in rows)


def write_report(report: Report, run: Run, on_progress: Callable[[str], None]) -> None:
    """The report's files in the run's folder, and a line of figures for each arm in its metrics."""
    for path in write_reports(report, run.path):
        on_progress(f"wrote {path}")
    for arm in report.arms:
        cell = report.cell(arm.name, OVERALL)
        counts = {"n": cell.accuracy.n, "failed": cell.num_failed}
        run.log_metrics({"arm": arm.name, "accuracy": cell.accuracy.share, **counts})


def _graded(
    config: EvaluationConfig,
    question: Question,
    arms: Sequence[Arm],
    collected: CollectedReplies,
    judged: JudgedReplies,
) -> Row:
    def graded(arm: Arm, replies: Sequence[Reply]) -> list[Reply]:
        return [
            grade_reply(
                question, reply, arm.retrieves, judged=judged.verdict(question, reply), has_line=config.answer_line
            )
            for reply in replies
        ]

    first, again, paraphrased = (
        {arm.name: graded(arm, replies) for arm in arms if (replies := collected.of(kind, question.id, arm.name))}
        for kind in KINDS
    )
    once = {arm.name: first[arm.name][0] if arm.name in first else Reply(not_asked=True) for arm in arms}
    return Row(question=question, replies=once, again=again, paraphrased=paraphrased)


def _gates(
    rows: Sequence[Row], candidate: Candidate | None, config: EvaluationConfig, look: Look, run: Run
) -> list[Gate]:
    """The candidate's gates, with the error that earlier looks at it left: those at other versions spent none of it."""
    if candidate is None:
        return []
    compared = {candidate.arm, candidate.live_arm or BASE}
    error = count_looks(look.of(compared), run.path.parent).error
    return judge_gates(rows, candidate.arm, candidate.live_arm, config, (candidate.version, candidate.live), error)


def _from_trained_documents(questions: Sequence[Question], trained: Sequence[Path]) -> int | None:
    ids = {id for rows in trained for id in source_overlap(questions, rows).questions}
    return len(ids) if trained else None


def make_arm_result(config: EvaluationConfig, arm: Arm, rows: Sequence[Row], collected: CollectedReplies) -> ArmResult:
    """An arm as it was measured, from its graded rows and what is known of asking it."""
    replies = [row.replies[arm.name] for row in rows]
    warm_up = collected.warm_ups.get(arm.name, Reply())
    return ArmResult(
        name=arm.name,
        title=arm.title,
        model=arm.model,
        answered_as=sorted({reply.model for reply in replies if reply.model}),
        warm_up_s=warm_up.latency_s,
        warm_up_failed=warm_up.failed,
        failures=dict(Counter(reply.missing for reply in replies if reply.missing)),
        num_reused=collected.reused.get(arm.name, 0),
        adjusted=_adjusted(arm, replies),
        thinking_tokens=config.thinking_tokens if arm.thinking or arm.name in collected.thinking else None,
        num_thinking=sum(reply.thinking is not None for reply in replies),
    )


def _adjusted(arm: Arm, replies: Sequence[Reply]) -> dict[str, str | None]:
    """The parameters that an arm was not sent as the others were: by its settings, and as its endpoint wanted it."""
    adjusted: dict[str, str | None] = {}
    if arm.endpoint:
        adjusted.update((name, new) for name, new in arm.endpoint.parameters.items())
    for reply in replies:
        adjusted |= reply.adjusted
    return adjusted
