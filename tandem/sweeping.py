"""`tandem search sweep FILE`: the best chunk size, mode and fusion for judged questions, as a table and as settings."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.session import ray_session
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import Project

if TYPE_CHECKING:
    from rich.table import Table

    from retrieval.config import RetrievalConfig
    from retrieval.filters.rights import Rights
    from retrieval.quality.judgments import Judged
    from retrieval.quality.sweep import Setting, Sweep

SHOWN = ("recall@10", "MRR@10", "nDCG@10")


def sweep(
    project: Project,
    path: Path,
    qrels: Path | None,
    chunk_tokens: Sequence[int],
    console: Console,
    rights: "Rights",
) -> "Sweep":
    """Try the project's documents, or those of a BEIR folder, with every chunk size, mode and fusion."""
    from retrieval.index.forgetting import read as read_forgotten
    from retrieval.quality.judgments import read
    from retrieval.quality.sweep import sweep as run

    _check(chunk_tokens)
    judged = read(path, qrels)
    forgotten = read_forgotten(project.storage.forgotten(project.collection))
    with _documents(project, judged) as config, milvus(project) as uri, ray_session(project.cluster):
        found = run(config, project.collection, uri, judged, chunk_tokens, console.progress, rights, forgotten)
    console.stage("sweep", f"{len(judged.questions)} questions, {len(found.tried)} settings")
    return found


def table(found: "Sweep") -> "Table":
    """Every setting, the best first."""
    from rich.box import SIMPLE
    from rich.table import Table

    shown = Table("", "chunk tokens", "mode", "fusion", "dense weight", "chunks", *SHOWN, title="Tried", box=SIMPLE)
    for one in found.tried:
        ranking = one.setting.ranking
        weight = "" if ranking.dense_weight is None else f"{ranking.dense_weight:g}"
        cells = [str(one.setting.chunk_tokens), ranking.mode, ranking.fusion or "", weight, str(one.num_chunks)]
        shown.add_row("now" if one is found.own else "", *cells, *(f"{one.means[metric]:.3f}" for metric in SHOWN))
    return shown


def as_text(found: "Sweep") -> str:
    """The best setting, and whether it is better than the present one beyond chance."""
    best = f"Best: {_in_words(found.best.setting)}."
    if found.best is found.own:
        return f"{best} It is the present one."
    if found.low is None:
        return f"{best} One question says nothing about chance."
    verdict = "which is beyond chance" if found.separated else "which may be chance"
    return (
        f"{best} Its nDCG@10 is {found.gain:+.3f} from the present one ({found.low:+.3f} to {found.high:+.3f}, widened "
        f"for {len(found.tried)} settings), {verdict}."
    )


def advice(found: "Sweep") -> str:
    """What to write into the project file."""
    if not found.separated:
        return "keep the present setting, or judge more questions."
    setting = found.best.setting
    values = {"chunk_tokens": setting.chunk_tokens, **_chosen(setting)}
    told = ", ".join(f"{name}: {value}" for name, value in values.items())
    return f"set `retrieval: {{{told}}}` in the project file, then `tandem index`."


def to_json(found: "Sweep") -> dict[str, Any]:
    """Every setting with its means and the scores of each question."""
    return {
        "best": _setting_json(found.best.setting),
        "own": _setting_json(found.own.setting),
        "gain": found.gain, "low": found.low, "high": found.high, "separated": found.separated,
        "tried": [
            {**_setting_json(one.setting), "num_chunks": one.num_chunks, "metrics": one.means, "scores": one.scores}
            for one in found.tried
        ],
    }  # fmt: skip


@contextmanager
def _documents(project: Project, judged: "Judged") -> "Iterator[RetrievalConfig]":
    """The project's settings, with the documents of a BEIR folder in place of its own where there are some."""
    from retrieval.quality.judgments import write_documents
    from retrieval.sources.config import FolderSource

    if judged.corpus is None:
        yield project.retrieval
        return
    with tempfile.TemporaryDirectory() as folder:
        write_documents(judged.corpus, Path(folder))
        yield project.retrieval.model_copy(update={"sources": (FolderSource(path=Path(folder)),)})


def _check(chunk_tokens: Sequence[int]) -> None:
    from retrieval.config import RetrievalConfig

    least, most = (limit for each in RetrievalConfig.model_fields["chunk_tokens"].metadata for limit in _bounds(each))
    for size in chunk_tokens:
        if not least <= size <= most:
            raise TandemError(
                f"A chunk of {size} tokens.", f"`--chunk-tokens` is from {least} to {most}.", "Name another size."
            )


def _bounds(limit: Any) -> list[int]:
    return [value for name in ("ge", "le") if (value := getattr(limit, name, None)) is not None]


def _in_words(setting: "Setting") -> str:
    chosen = _chosen(setting)
    mode = chosen.pop("mode")
    return f"{mode}{''.join(f', {name} {value}' for name, value in chosen.items())}, {setting.chunk_tokens} tokens"


def _chosen(setting: "Setting") -> dict[str, Any]:
    return {name: value for name, value in vars(setting.ranking).items() if value is not None}


def _setting_json(setting: "Setting") -> dict[str, Any]:
    return {"chunk_tokens": setting.chunk_tokens, **vars(setting.ranking)}
