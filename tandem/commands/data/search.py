"""`tandem search "question"`: each passage with its place and with what every stage made of it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cluster.errors import TandemError
from retrieval.filters.filter_json import parse_filter_text as read_filter
from retrieval.filters.rights import Rights
from retrieval.search.hits import Hit
from retrieval.search.search import Searcher, SearchResult
from retrieval.store.collection import MAX_COLLECTIONS, SEPARATOR
from retrieval.store.milvus_lite import running_server
from serving.api.model_name import is_collection
from tandem.commands.options import DEFAULT, AsJson, Labels, ProjectFile, Tenant
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.pipeline.endpoint_search import NotAnswered, search_at_endpoint
from tandem.project.project import Project, load


def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int | None, typer.Option(help="Number of passages.")] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(help="Search this collection of the store; may be repeated. Default: the project's."),
    ] = None,
    tenant: Tenant = None,
    label: Labels = None,
    where: Annotated[
        str | None,
        typer.Option("--filter", help='Which documents, as JSON: {"type": "eq", "key": "year", "value": 2024}'),
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say who searched, and what embedded the question.")
    ] = False,
) -> None:
    """Show the passages that a question finds.

    The project's endpoint answers from the same passages, and is asked where it runs. The word `for` may be left out.
    """
    console, project = Console(as_json), load(config)
    rights = Rights(tenant, frozenset(label or ()))
    asked = SEPARATOR.join(collection or [project.collection])
    if not is_collection(asked):
        raise TandemError(
            f"The collections {', '.join(collection or ())} cannot be searched together.",
            f"Accepted are up to {MAX_COLLECTIONS} different names of up to 63 characters a-z, 0-9, _ and single -.",
            "Correct --collection.",
        )
    condition = read_filter(where) if where else None

    def note(text: str) -> None:
        if verbose:
            console.stage("search", text)

    try:
        result = search_at_endpoint(project, question, top_k, rights, json.loads(where) if where else None, asked)
        note(f"the endpoint at {project.serving.own_url} searched")
        console.result(as_text(result), to_json(result))
        return
    except NotAnswered as reason:
        note(f"searched here; the endpoint was not asked or not used, since {reason}")
    with _store(project) as (uri, started_ms):
        searcher = Searcher(project.retrieval, uri)
        result = searcher.search(asked, question, top_k=top_k, rights=rights, where=condition)
        console.result(as_text(result, started_ms), to_json(result, started_ms))
        searcher.close()
    console.progress("keeping an export of the embedding model, so that the next search starts sooner")
    if reason_not := searcher.keep_export():
        note(f"questions are embedded by sentence-transformers: {reason_not}")


def as_text(result: SearchResult, store_start_ms: float | None = None) -> str:
    """The passages, then how long each stage took, and what did not answer."""
    passages = [_passage(rank, hit) for rank, hit in enumerate(result.hits, start=1)] or ["Nothing was found."]
    took = ", ".join(f"{name.removesuffix('_ms')} {value:.1f} ms" for name, value in result.timings.items())
    missing = [f"Without {leg}: {reason}" for leg, reason in result.missing.items()]
    if store_start_ms is not None:
        missing.append(f"Milvus Lite was started first, in {store_start_ms / 1000:.1f} s.")
    return "\n\n".join([*passages, "\n".join([f"({took})", *missing])])


def to_json(result: SearchResult, store_start_ms: float | None = None) -> dict[str, Any]:
    """Everything; scores are null where a stage did not see the passage."""
    hits = [{**asdict(hit), "last": hit.last_position, "citation": hit.citation} for hit in result.hits]
    started = {} if store_start_ms is None else {"store_start_ms": store_start_ms}
    return {"hits": hits, "timings": {**result.timings, **started}, "missing": dict(result.missing)}


@contextmanager
def _store(project: Project) -> Iterator[tuple[str, float | None]]:
    """The store's URI, and the milliseconds that its start took where it had to be started."""
    is_started = project.retrieval.uri == "local" and running_server(project.storage.milvus) is None
    started = time.perf_counter()
    with milvus(project) as uri:
        yield uri, round(1000 * (time.perf_counter() - started), 2) if is_started else None


def _passage(rank: int, hit: Hit) -> str:
    scores = ", ".join(f"{stage} {score:.3f}" for stage, score in asdict(hit.scores).items() if score is not None)
    lines = [f"[{rank}] {hit.title}", f"    {hit.citation} ({scores})"]
    if hit.also_in:
        lines.append(f"    also in {', '.join(hit.also_in)}")
    return "\n".join([*lines, hit.text])
