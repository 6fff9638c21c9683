"""`tandem search eval FILE`: how well each mode finds what judged questions ask for, as tables and advice."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import Project

if TYPE_CHECKING:
    from rich.table import Table

    from retrieval.config import Mode
    from retrieval.filters.rights import Rights
    from retrieval.quality.evaluate import Difference, ModeResult, SearchEvaluation


def evaluate(
    project: Project, path: Path, qrels: Path | None, console: Console, rights: "Rights"
) -> "SearchEvaluation":
    """Measure every mode on judged questions, as a caller with these rights.

    The documents of a BEIR folder are indexed first, into a collection of their own that is named after the folder and
    stays; other questions are asked of the project's collection as it is.
    """
    from retrieval.quality.evaluate import evaluate as run
    from retrieval.quality.judgments import read

    judged = read(path, qrels)
    with milvus(project) as uri:
        collection = _indexed(project, judged.corpus, uri, console) if judged.corpus else project.collection
        found = run(project.retrieval, uri, collection, judged, console.progress, rights)
    console.stage("eval", f"{len(found.questions)} questions in {len(found.modes)} modes, to {found.collection}")
    return found


def tables(found: "SearchEvaluation") -> "Iterator[Table]":
    """Metrics, latency and cost of each mode; then the differences with their intervals."""
    from rich.box import SIMPLE
    from rich.table import Table

    from retrieval.quality.evaluate import COMPARED

    metrics = list(found.modes[0].scores)
    costs = ["p50 ms", "p95 ms", "embedding s / 1000"]
    table = Table("mode", *metrics, *costs, title="Found, by source", box=SIMPLE)
    for mode in found.modes:
        means = (f"{mode.means[metric]:.3f}" for metric in metrics)
        per_thousand = 1000 * mode.embed_s / len(found.questions)
        costs = [f"{mode.latency_p50_ms:.1f}", f"{mode.latency_p95_ms:.1f}", f"{per_thousand:.1f}"]
        table.add_row(mode.mode, *means, *costs)
    yield table
    if not found.differences:
        return
    table = Table("difference", *COMPARED, title="Paired differences with 95 % intervals; * excludes 0", box=SIMPLE)
    pairs = dict.fromkeys((each.first, each.second) for each in found.differences)
    for first, second in pairs:
        metric = {each.metric: each for each in found.differences if (each.first, each.second) == (first, second)}
        cells = (_interval(metric[name]) for name in COMPARED)
        table.add_row(f"{first} - {second}", *cells)
    yield table


def as_text(found: "SearchEvaluation") -> str:
    """What the tables do not say."""
    lines = [f"{len(found.questions)} questions to the collection {found.collection}."]
    if found.num_without:
        lines.append(f"{found.num_without} questions name no relevant source and are left out.")
    if found.missing:
        shown = ", ".join(found.missing[:3])
        lines.append(f"{len(found.missing)} relevant sources are not in the collection and count as missed: {shown}.")
    return "\n".join(lines)


def advice(found: "SearchEvaluation", own: "Mode") -> str:
    """What to do next where the project searches in mode `own`: another mode, if one is better beyond chance."""
    from retrieval.quality.evaluate import NDCG

    better = [
        (each.first if each.difference > 0 else each.second, abs(each.difference))
        for each in found.differences
        if each.metric == NDCG and each.separated and own == (each.second if each.difference > 0 else each.first)
    ]
    if better:
        mode, gain = max(better, key=lambda pair: pair[1])
        return f"set `retrieval.mode: {mode}` in the project file: its {NDCG} is {gain:.3f} above that of {own}."
    if not found.differences:
        return "this server has no BM25: a newer one, or Milvus Lite, can be measured in all three modes."
    return f"no mode is better than {own} beyond chance; `--json` shows the rank of each question's sources."


def to_json(found: "SearchEvaluation") -> dict[str, Any]:
    """Everything, with the scores and the best relevant rank of each question."""
    return {
        "collection": found.collection,
        "num_questions": len(found.questions),
        "num_without": found.num_without,
        "missing": found.missing,
        "modes": {mode.mode: _mode_json(mode, len(found.questions)) for mode in found.modes},
        "differences": [{**vars(each), "separated": each.separated} for each in found.differences],
        "questions": [
            {
                "id": question.id, "question": question.question, "grades": question.grades,
                "modes": {mode.mode: _question_json(mode, number, question.grades) for mode in found.modes},
            }
            for number, question in enumerate(found.questions)
        ],
    }  # fmt: skip


def _indexed(project: Project, corpus: Path, uri: str, console: Console) -> str:
    """The collection of a BEIR folder, up to date with its documents."""
    from retrieval.index.indexing import index
    from retrieval.quality.judgments import write_documents
    from retrieval.sources.config import FolderSource
    from tandem.pipeline.documents import embedding_session

    name = re.sub(r"[^a-z0-9_]+", "-", f"{project.collection}-{corpus.absolute().parent.name}".lower())[:63].strip("-")
    with tempfile.TemporaryDirectory() as folder:
        console.progress(f"reading {corpus}")
        num_documents = write_documents(corpus, Path(folder))
        config = project.retrieval.model_copy(update={"sources": (FolderSource(path=Path(folder)),)})
        with embedding_session(project):
            report = index(config, name, uri, console.progress)
    empty = f", {len(report.failed)} could not be used" if report.failed else ""
    console.stage("index", f"{name}: {num_documents} documents of {corpus}{empty}")
    return name


def _interval(each: "Difference") -> str:
    if each.low is None:
        return f"{each.difference:+.3f}"
    return f"{each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f}){' *' if each.separated else ''}"


def _mode_json(mode: "ModeResult", num_questions: int) -> dict[str, Any]:
    return {
        "metrics": mode.means, "latency_p50_ms": mode.latency_p50_ms, "latency_p95_ms": mode.latency_p95_ms,
        "embed_s_per_1000": 1000 * mode.embed_s / num_questions,
    }  # fmt: skip


def _question_json(mode: "ModeResult", number: int, grades: dict[str, int]) -> dict[str, Any]:
    ranks = (rank for rank, source in enumerate(mode.rankings[number], start=1) if source in grades)
    return {"best_rank": next(ranks, None), **{metric: values[number] for metric, values in mode.scores.items()}}
