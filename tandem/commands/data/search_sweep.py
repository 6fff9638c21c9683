"""`tandem search sweep FILE`: the best chunk size, mode and fusion for judged questions, as a table and as settings."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from cluster.errors import TandemError
from cluster.session import ray_session
from retrieval.config import RetrievalConfig
from retrieval.filters.rights import Rights
from retrieval.index.forgetting.forgotten import ForgottenList
from retrieval.quality.judgments import JudgedSet, write_documents
from retrieval.quality.judgments import read_judgments as read_judged
from retrieval.quality.sweep import CHUNK_TOKENS, SearchSetting, Sweep, sweep_settings
from retrieval.sources.config import FolderSource
from tandem.commands.options import DEFAULT, AsJson, JudgedFile, Labels, ProjectFile, Qrels, Tenant
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import Project, load

SHOWN = ("recall@10", "MRR@10", "nDCG@10")


def sweep_search(
    judged: JudgedFile,
    qrels: Qrels = None,
    chunk_tokens: Annotated[
        list[int] | None, typer.Option(help="A chunk size in tokens; may be repeated. Default: 100, 200, 400.")
    ] = None,
    tenant: Tenant = None,
    label: Labels = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Try chunk sizes, modes and fusions on judged questions, and print the best setting.

    The settings are tried on Ray.
    """
    console, project = Console(as_json), load(config)
    rights = Rights(tenant, frozenset(label or ()))
    result = sweep(project, judged, qrels, chunk_tokens or CHUNK_TOKENS, console, rights)
    console.table(make_table(result))
    console.result(as_text(result), to_json(result))
    console.hint(advise(result))


def sweep(
    project: Project,
    path: Path,
    qrels: Path | None,
    chunk_tokens: Sequence[int],
    console: Console,
    rights: Rights,
) -> Sweep:
    """Try the project's documents, or those of a BEIR folder, with every chunk size, mode and fusion."""
    _check_chunk_tokens(chunk_tokens)
    judged = read_judged(path, qrels)
    forgotten = ForgottenList(project.storage.forgotten(project.collection)).read()
    with _documents(project, judged) as config, milvus(project) as uri, ray_session(project.cluster):
        result = sweep_settings(
            config, project.collection, uri, judged, chunk_tokens, console.progress, rights, forgotten
        )
    console.stage("sweep", f"{len(judged.questions)} questions, {len(result.tried)} settings")
    return result


def make_table(result: Sweep) -> Table:
    """Every setting, the best first."""
    table = Table("", "chunk tokens", "mode", "fusion", "dense weight", "chunks", *SHOWN, title="Tried", box=SIMPLE)
    for trial in result.tried:
        ranking = trial.setting.ranking
        weight = "" if ranking.dense_weight is None else f"{ranking.dense_weight:g}"
        cells = [str(trial.setting.chunk_tokens), ranking.mode, ranking.fusion or "", weight, str(trial.num_chunks)]
        table.add_row("now" if trial is result.own else "", *cells, *(f"{trial.means[metric]:.3f}" for metric in SHOWN))
    return table


def as_text(result: Sweep) -> str:
    """The best setting, and whether it is better than the present one beyond chance."""
    best = f"Best: {_in_words(result.best.setting)}."
    if result.best is result.own:
        return f"{best} It is the present one."
    if result.low is None:
        return f"{best} One question says nothing about chance."
    verdict = "which is beyond chance" if result.separated else "which may be chance"
    return (
        f"{best} Its nDCG@10 is {result.gain:+.3f} from the present one ({result.low:+.3f} to {result.high:+.3f}, "
        f"widened for {len(result.tried)} settings), {verdict}."
    )


def advise(result: Sweep) -> str:
    """What to write into the project file."""
    if not result.separated:
        return "keep the present setting, or judge more questions."
    setting = result.best.setting
    values = {"chunk_tokens": setting.chunk_tokens, **_chosen(setting)}
    values_text = ", ".join(f"{name}: {value}" for name, value in values.items())
    return f"set `retrieval: {{{values_text}}}` in the project file, then `tandem index`."


def to_json(result: Sweep) -> dict[str, Any]:
    """Every setting with its means and the scores of each question."""
    return {
        "best": _setting_json(result.best.setting),
        "own": _setting_json(result.own.setting),
        "gain": result.gain, "low": result.low, "high": result.high, "separated": result.separated,
        "tried": [
            {
                **_setting_json(trial.setting), "num_chunks": trial.num_chunks, "metrics": trial.means,
                "scores": trial.scores,
            }
            for trial in result.tried
        ],
    }  # fmt: skip


@contextmanager
def _documents(project: Project, judged: JudgedSet) -> Iterator[RetrievalConfig]:
    """The project's settings, with the documents of a BEIR folder in place of its own where there are some."""
    if judged.corpus is None:
        yield project.retrieval
        return
    with tempfile.TemporaryDirectory() as folder:
        write_documents(judged.corpus, Path(folder))
        yield project.retrieval.model_copy(update={"sources": (FolderSource(path=Path(folder)),)})


def _check_chunk_tokens(chunk_tokens: Sequence[int]) -> None:
    least, most = (limit for each in RetrievalConfig.model_fields["chunk_tokens"].metadata for limit in _bounds(each))
    for size in chunk_tokens:
        if not least <= size <= most:
            raise TandemError(
                f"A chunk of {size} tokens.", f"`--chunk-tokens` is from {least} to {most}.", "Name another size."
            )


def _bounds(limit: Any) -> list[int]:
    return [value for name in ("ge", "le") if (value := getattr(limit, name, None)) is not None]


def _in_words(setting: SearchSetting) -> str:
    chosen = _chosen(setting)
    mode = chosen.pop("mode")
    return f"{mode}{''.join(f', {name} {value}' for name, value in chosen.items())}, {setting.chunk_tokens} tokens"


def _chosen(setting: SearchSetting) -> dict[str, Any]:
    return {name: value for name, value in vars(setting.ranking).items() if value is not None}


def _setting_json(setting: SearchSetting) -> dict[str, Any]:
    return {"chunk_tokens": setting.chunk_tokens, **vars(setting.ranking)}
