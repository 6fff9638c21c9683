"""`tandem search "question"`: each passage with its place and with what every stage made of it."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from retrieval.filters.filter_json import parse_filter_text as read_filter
from retrieval.filters.rights import Rights
from retrieval.search.hits import Hit
from retrieval.search.search import Searcher, SearchResult
from tandem.commands.options import DEFAULT, AsJson, Labels, ProjectFile, Tenant
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import load


def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int | None, typer.Option(help="Number of passages.")] = None,
    tenant: Tenant = None,
    label: Labels = None,
    where: Annotated[
        str | None,
        typer.Option("--filter", help='Which documents, as JSON: {"type": "eq", "key": "year", "value": 2024}'),
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show the passages that a question finds.

    The project's endpoint answers from the same passages. The word `for` may be left out.
    """
    console, project = Console(as_json), load(config)
    rights = Rights(tenant, frozenset(label or ()))
    condition = read_filter(where) if where else None
    with milvus(project) as uri:
        result = Searcher(project.retrieval, uri).search(
            project.collection, question, top_k=top_k, rights=rights, where=condition
        )
    console.result(as_text(result), to_json(result))


def as_text(result: SearchResult) -> str:
    """The passages, then how long each stage took, and what did not answer."""
    passages = [_passage(rank, hit) for rank, hit in enumerate(result.hits, start=1)] or ["Nothing was found."]
    took = ", ".join(f"{name.removesuffix('_ms')} {value:.1f} ms" for name, value in result.timings.items())
    missing = [f"Without {leg}: {reason}" for leg, reason in result.missing.items()]
    return "\n\n".join([*passages, "\n".join([f"({took})", *missing])])


def to_json(result: SearchResult) -> dict[str, Any]:
    """Everything; scores are null where a stage did not see the passage."""
    hits = [{**asdict(hit), "last": hit.last_position, "citation": hit.citation} for hit in result.hits]
    return {"hits": hits, "timings": result.timings, "missing": dict(result.missing)}


def _passage(rank: int, hit: Hit) -> str:
    scores = ", ".join(f"{stage} {score:.3f}" for stage, score in asdict(hit.scores).items() if score is not None)
    lines = [f"[{rank}] {hit.title}", f"    {hit.citation} ({scores})"]
    if hit.also_in:
        lines.append(f"    also in {', '.join(hit.also_in)}")
    return "\n".join([*lines, hit.text])
