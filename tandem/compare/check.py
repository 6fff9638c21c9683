"""Read and check everything that a comparison needs, once, before anything is started."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random

from cluster.errors import TandemError
from cluster.fingerprints.models import find_model
from evaluation.arms import Shot, make_arms
from evaluation.asking.addresses import check_url
from evaluation.asking.corrections import Correction, load_corrections
from evaluation.config import ArmName, EvaluationConfig, built_in
from evaluation.measure import check_questions
from evaluation.questions.leaks import find_leaks_among, raise_for_leaks
from evaluation.questions.question import Question, slices
from serving.engine.model_files import read_chat_templates
from tandem.compare.chat_template import check_thinking_arms
from tandem.compare.corrections_run import check_corrections
from tandem.console import Console
from tandem.pipeline.training import CheckedRows, check_sources, read_rows
from tandem.project.project import Project
from training.data.data_check import DataCheck, check_training_data
from training.data.progress import Report
from training.data.rows import TrainingRow
from training.model.base_weights import check_base_weights
from training.publish.publish import trained_row


@dataclass(frozen=True)
class CheckedData:
    """What a comparison reads from a project's files; the steps get it as a value and read none of them again.

    `rows` is None where no arm needs training rows. No question is among the rows that are trained on.
    """

    questions: Sequence[Question]
    rows: CheckedRows | None = None
    shots: Sequence[Shot] = ()
    """What the arm `few_shot` sees in front of each question."""

    corrections: Sequence[Correction] = ()
    """Corrections of documents, each of which fits its document; none where nothing is retrieved."""

    needs_endpoint: bool = True
    """Whether something is asked of the project's own endpoint; else neither Ray nor an engine is started."""


def check_data(project: Project, console: Console, arms: Collection[ArmName]) -> CheckedData:
    """Read every row, question and correction.

    Args:
        arms: the names of the arms that will be asked.

    Raises:
        TandemError: a file cannot be used, a question was trained on, or an arm lacks what it needs.
    """
    check_sources(project)
    if project.tunes:
        check_base_weights(project.model)
    shows_rows = any(built_in(arm) == "few_shot" for arm in arms) and bool(project.training.data)
    rows = read_rows(project, console.slow_progress) if project.tunes or shows_rows else None
    to_train = rows.report.rows if rows and project.tunes else ()
    questions = check_questions(project.evaluation)
    raise_for_leaks(find_leaks_among(questions, map(trained_row, to_train)), len(questions))
    check_arms(project)
    corrections = _corrections(project)
    text = f"{len(to_train)} training rows, {len(questions)} questions in {len(slices(questions))} slices"
    console.stage("check", text)
    shots = _draw_shots(rows.report.rows, project) if rows and shows_rows else []
    if shows_rows and not shots:
        raise TandemError(
            "The arm `few_shot` has no example to show: no training row is one question and one answer alone.",
            "A row with one question and one answer, without tools, settings of the template, a label of a bad answer "
            "or an answer that lost.",
            "Add such rows to `training.data`, or take `few_shot` out of `evaluation.arms`.",
        )
    return CheckedData(questions, rows, shots, corrections, _needs_endpoint(project, arms, questions))


def check_arms(project: Project) -> None:
    """Raises TandemError where an arm needs what the project does not have, before anything is paid for."""
    check_objective(project)
    has_documents, has_rows = project.retrieves, bool(project.training.data)
    make_arms(
        project.evaluation.arms, tuned="tuned", raft="raft", collection="there" if has_documents else None,
        endpoints=project.evaluation.endpoints, shots=[Shot("", "")] if has_rows else (),
    )  # fmt: skip
    check_thinking_arms(project)
    for name, url in _other_urls(project.evaluation).items():
        check_url(url, name)


def check_objective(project: Project) -> None:
    """Raises TandemError where an arm cannot be made from the rows of the project's objective."""
    objective, arms = project.training.objective, {built_in(arm) for arm in project.evaluation.arms}
    if "raft" in arms and objective != "sft":
        raise TandemError(
            f"`evaluation.arms` names `raft`, and `training.objective` is {objective}.",
            "The arm `raft` is trained on questions and answers, made anew with what retrieval finds: sft.",
            "Set `training.objective: sft`, or take `raft` out of `evaluation.arms`.",
        )
    if objective != "text" or not project.training.data:
        return
    if "few_shot" in arms:
        raise TandemError(
            "`evaluation.arms` names `few_shot`, and `training.objective` is text.",
            "Rows with a question and an answer, which the arm shows in front of each question.",
            "Take `few_shot` out of `evaluation.arms`.",
        )
    if project.tunes and find_model(project.model) and not read_chat_templates(project.model):
        raise TandemError(
            f"The model {project.model} has no chat template, so that its arms cannot be asked questions.",
            "A model that was made for chat. Without a template it can be trained on texts and served at "
            "/v1/completions.",
            "Name an instruct model, or put chat_template.jinja beside the tokenizer.",
        )


def _other_urls(config: EvaluationConfig) -> dict[str, str]:
    """The URLs of other endpoints that are asked, by the setting that they are in."""
    urls = {f"evaluation.endpoints.{arm}": config.endpoints[arm].url for arm in config.arms if arm in config.endpoints}
    return urls | ({"evaluation.judge": config.judge.url} if config.judge and config.judge.url else {})


def _needs_endpoint(project: Project, arms: Collection[ArmName], questions: Sequence[Question]) -> bool:
    config = project.evaluation
    if any(arm not in config.endpoints for arm in arms):
        return True
    # Beside rubrics a judge is asked about values and numbers of which the rules cannot say whether they are right.
    judged = any(question.answerable and question.kind in ("rubric", "value", "number") for question in questions)
    return judged and config.judge is not None and config.judge.url is None


def look_at_data(project: Project, progress: Report | None = None) -> tuple[DataCheck | None, int]:
    """What training would make of its rows, None where the project trains nothing, and the number of questions."""
    has_rows = bool(project.training.data) or project.tunes
    report = check_training_data(project.training, project.model, progress) if has_rows else None
    # A project that only trains has no questions; a project that compares cannot do without.
    has_questions = project.evaluation.questions is not None or report is None
    return report, len(check_questions(project.evaluation)) if has_questions else 0


def _corrections(project: Project) -> Sequence[Correction]:
    if project.evaluation.corrections is None or not project.retrieves:
        return ()
    corrections = load_corrections(project.evaluation.corrections)
    check_corrections(project.retrieval, corrections)
    return corrections


def _draw_shots(rows: Sequence[TrainingRow], project: Project) -> list[Shot]:
    """Training rows with one question and one answer, drawn once: the same examples in front of every question."""
    plain = [place for place, row in enumerate(rows) if row.is_plain]
    config = project.evaluation
    drawn = Random(config.seed).sample(plain, min(config.few_shot, len(plain)))
    return [Shot(*(message["content"] for message in rows[place].messages)) for place in drawn]
