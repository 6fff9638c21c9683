"""`tandem search eval FILE`: how well each mode finds what judged questions ask for, as tables and advice."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from retrieval.config import Mode
from retrieval.filters.rights import Rights
from retrieval.index.indexing import index_documents
from retrieval.quality.evaluate import COMPARED, NDCG, ModeDifference, ModeResult, SearchEvaluation
from retrieval.quality.evaluate import evaluate_search as evaluate_modes
from retrieval.quality.judgments import read_judgments as read_judged
from retrieval.quality.judgments import write_documents
from retrieval.sources.config import FolderSource
from tandem.commands.options import DEFAULT, AsJson, JudgedFile, Labels, ProjectFile, Qrels, Tenant
from tandem.console import Console
from tandem.pipeline.documents import embedding_session, identity, milvus
from tandem.project.project import Project, load


def evaluate_search(
    judged: JudgedFile,
    qrels: Qrels = None,
    tenant: Tenant = None,
    label: Labels = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Measure how well dense, BM25 and hybrid search answer judged questions.

    Shows recall, MRR, nDCG, latency and the cost of embedding for each mode, and which differences are beyond chance.
    """
    console, project = Console(as_json), load(config)
    evaluation = evaluate(project, judged, qrels, console, Rights(tenant, frozenset(label or ())))
    for table in make_tables(evaluation):
        console.table(table)
    console.result(as_text(evaluation), to_json(evaluation))
    console.hint(advise(evaluation, project.retrieval.mode))


def evaluate(project: Project, path: Path, qrels: Path | None, console: Console, rights: Rights) -> SearchEvaluation:
    """Measure every mode on judged questions, as a caller with these rights.

    The documents of a BEIR folder are indexed first, into a collection of their own that is named after the folder and
    stays; other questions are asked of the project's collection as it is.
    """
    judged = read_judged(path, qrels)
    with milvus(project) as uri:
        collection = _index_corpus(project, judged.corpus, uri, console) if judged.corpus else project.collection
        evaluation = evaluate_modes(project.retrieval, uri, collection, judged, console.progress, rights)
    console.stage(
        "eval", f"{len(evaluation.questions)} questions in {len(evaluation.modes)} modes, to {evaluation.collection}"
    )
    return evaluation


def make_tables(evaluation: SearchEvaluation) -> Iterator[Table]:
    """Metrics, latency and cost of each mode; then the differences with their intervals."""
    metrics = list(evaluation.modes[0].scores)
    costs = ["p50 ms", "p95 ms", "embedding s / 1000"]
    table = Table("mode", *metrics, *costs, title="Found, by source", box=SIMPLE)
    for mode in evaluation.modes:
        means = (f"{mode.means[metric]:.3f}" for metric in metrics)
        per_thousand = 1000 * mode.embed_s / len(evaluation.questions)
        costs = [f"{mode.latency_p50_ms:.1f}", f"{mode.latency_p95_ms:.1f}", f"{per_thousand:.1f}"]
        table.add_row(mode.mode, *means, *costs)
    yield table
    if not evaluation.differences:
        return
    table = Table("difference", *COMPARED, title="Paired differences with 95 % intervals; * excludes 0", box=SIMPLE)
    pairs = dict.fromkeys((each.first, each.second) for each in evaluation.differences)
    for first, second in pairs:
        metric = {each.metric: each for each in evaluation.differences if (each.first, each.second) == (first, second)}
        cells = (_interval(metric[name]) for name in COMPARED)
        table.add_row(f"{first} - {second}", *cells)
    yield table


def as_text(evaluation: SearchEvaluation) -> str:
    """What the tables do not say."""
    lines = [f"{len(evaluation.questions)} questions to the collection {evaluation.collection}."]
    if evaluation.num_without:
        lines.append(f"{evaluation.num_without} questions name no relevant source and are left out.")
    if evaluation.missing:
        shown = ", ".join(evaluation.missing[:3])
        lines.append(
            f"{len(evaluation.missing)} relevant sources are not in the collection and count as missed: {shown}."
        )
    return "\n".join(lines)


def advise(evaluation: SearchEvaluation, own: Mode) -> str:
    """What to do next where the project searches in mode `own`: another mode, if one is better beyond chance."""
    better = [
        (each.first if each.difference > 0 else each.second, abs(each.difference))
        for each in evaluation.differences
        if each.metric == NDCG and each.separated and own == (each.second if each.difference > 0 else each.first)
    ]
    if better:
        mode, gain = max(better, key=lambda pair: pair[1])
        return f"set `retrieval.mode: {mode}` in the project file: its {NDCG} is {gain:.3f} above that of {own}."
    if not evaluation.differences:
        return "this server has no BM25: a newer one, or Milvus Lite, can be measured in all three modes."
    return f"no mode is better than {own} beyond chance; `--json` shows the rank of each question's sources."


def to_json(evaluation: SearchEvaluation) -> dict[str, Any]:
    """Everything, with the scores and the best relevant rank of each question."""
    return {
        "collection": evaluation.collection,
        "num_questions": len(evaluation.questions),
        "num_without": evaluation.num_without,
        "missing": evaluation.missing,
        "modes": {mode.mode: _mode_json(mode, len(evaluation.questions)) for mode in evaluation.modes},
        "differences": [{**vars(each), "separated": each.separated} for each in evaluation.differences],
        "questions": [
            {
                "id": question.id, "question": question.question, "grades": question.grades,
                "modes": {mode.mode: _question_json(mode, number, question.grades) for mode in evaluation.modes},
            }
            for number, question in enumerate(evaluation.questions)
        ],
    }  # fmt: skip


def _index_corpus(project: Project, corpus: Path, uri: str, console: Console) -> str:
    """The collection of a BEIR folder, up to date with its documents."""
    name = re.sub(r"[^a-z0-9_]+", "-", f"{project.collection}-{corpus.absolute().parent.name}".lower())[:63].strip("-")
    with tempfile.TemporaryDirectory() as folder:
        console.progress(f"reading {corpus}")
        num_documents = write_documents(corpus, Path(folder))
        config = project.retrieval.model_copy(update={"sources": (FolderSource(path=Path(folder)),)})
        with embedding_session(project):
            report = index_documents(config, name, uri, console.progress, owner=identity(project))
    empty = f", {len(report.failed)} could not be used" if report.failed else ""
    console.stage("index", f"{name}: {num_documents} documents of {corpus}{empty}")
    return name


def _interval(difference: ModeDifference) -> str:
    mean = f"{difference.difference:+.3f}"
    if difference.low is None:
        return mean
    return f"{mean} ({difference.low:+.3f} to {difference.high:+.3f}){' *' if difference.separated else ''}"


def _mode_json(mode: ModeResult, num_questions: int) -> dict[str, Any]:
    return {
        "metrics": mode.means, "latency_p50_ms": mode.latency_p50_ms, "latency_p95_ms": mode.latency_p95_ms,
        "embed_s_per_1000": 1000 * mode.embed_s / num_questions,
    }  # fmt: skip


def _question_json(mode: ModeResult, number: int, grades: dict[str, int]) -> dict[str, Any]:
    ranks = (rank for rank, source in enumerate(mode.rankings[number], start=1) if source in grades)
    return {"best_rank": next(ranks, None), **{metric: values[number] for metric, values in mode.scores.items()}}
