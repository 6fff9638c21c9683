"""The verbs of documents: `tandem index`, `forget`, `search`, `search eval` and `search sweep`."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tandem.console import Console
from tandem.options import (
    DEFAULT,
    PARTLY_FAILED,
    AsJson,
    Detach,
    JudgedFile,
    Labels,
    ProjectFile,
    Qrels,
    SentVariables,
    Shared,
    Submit,
    Tenant,
    Write,
)


class SearchGroup(TyperGroup):
    """`tandem search QUESTION` is `tandem search for QUESTION`; `eval` stands beside it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, ["for", *args] if args and args[0] not in known else args)


documents_app = typer.Typer()
search_app = typer.Typer(
    cls=SearchGroup,
    help='Show the passages that a question finds: tandem search "...". Or measure: tandem search eval FILE.',
    no_args_is_help=True,
)


@documents_app.command()
def index(
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and follow every change until Ctrl-C.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
    submit: Submit = False,
    detach: Detach = False,
    write: Write = None,
    env: SentVariables = None,
    shared: Shared = None,
) -> None:
    """Bring the collection up to date with the documents. Exit code 3 where a document could not be read."""
    from tandem.submitting import Wishes, submitted

    if submitted(Wishes(submit, detach, write, env or (), shared or ()), "index", ["--watch"] * watch, config, as_json):
        return
    from dataclasses import asdict

    from tandem.indexing import as_text, table
    from tandem.pipeline.documents import follow, milvus
    from tandem.pipeline.documents import index as run
    from tandem.project.project import load

    console, project = Console(as_json), load(config)
    with milvus(project) as uri:
        if watch:
            follow(project, uri, console)
            return
        report = run(project, uri, console)
    console.table(table(report))
    console.result(as_text(report), asdict(report))
    console.hint("see what it finds: tandem search '...'")
    if report.failed:
        raise typer.Exit(PARTLY_FAILED)


@search_app.command("for")
def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int | None, typer.Option(help="Number of passages.")] = None,
    tenant: Tenant = None,
    label: Labels = None,
    where: Annotated[
        str | None, typer.Option("--filter", help='JSON: {"type": "eq", "key": "year", "value": 2024}')
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Show the passages that a question would be answered from; `for` may be left out."""
    from retrieval.filters.filter_json import loads
    from retrieval.filters.rights import Rights
    from retrieval.search.search import Searcher
    from tandem.hits import as_text, to_json
    from tandem.pipeline.documents import milvus
    from tandem.project.project import load

    console, project = Console(as_json), load(config)
    rights = Rights(tenant, frozenset(label or ()))
    asked = loads(where) if where else None
    with milvus(project) as uri:
        found = Searcher(project.retrieval, uri).search(
            project.collection, question, top_k=top_k, rights=rights, where=asked
        )
    console.result(as_text(found), to_json(found))


@documents_app.command()
def forget(
    source: Annotated[str, typer.Argument(help="The document, as `tandem search` names it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let the next `tandem index` take it in again.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a document from the collection for good: the index leaves it out, also while its file is there."""
    from evaluation.asking.answer_cache import forget as forget_answers
    from retrieval.index.forgetting import forget as run
    from retrieval.index.forgetting import take_back
    from tandem.adapters import trained_on
    from tandem.pipeline.documents import milvus
    from tandem.project.project import load

    console, project = Console(as_json), load(config)
    kept = project.storage.forgotten(project.collection)
    if undo:
        take_back(project.collection, source, kept)
        console.result(
            f"{source} is taken in again by the next `tandem index`.", {"source": source, "forgotten": False}
        )
        return
    with milvus(project) as uri:
        num_rows = run(project.collection, source, uri, kept, project.retrieval.milvus)
    adapters, num_answers = trained_on(project, source), forget_answers(project.storage.answers(project.name), source)
    told = f"{source} is forgotten: {num_rows} rows are removed from {project.collection}"
    told += f", and {num_answers} answers of comparisons that were given from it." if num_answers else "."
    still = f"\nThese were trained on it and still know it: {', '.join(adapters)}." if adapters else ""
    value = {
        "source": source,
        "forgotten": True,
        "num_rows": num_rows,
        "num_answers": num_answers,
        "adapters": adapters,
    }
    console.result(told + still, value)
    console.hint("remove its file too; `tandem forget --undo` lets it in again.")


@search_app.command("eval")
def search_eval(
    judged: JudgedFile,
    qrels: Qrels = None,
    tenant: Tenant = None,
    label: Labels = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Measure dense, BM25 and hybrid search on judged questions: recall, MRR, nDCG, latency."""
    from retrieval.filters.rights import Rights
    from tandem.project.project import load
    from tandem.searching import advice, as_text, evaluate, tables, to_json

    console, project = Console(as_json), load(config)
    found = evaluate(project, judged, qrels, console, Rights(tenant, frozenset(label or ())))
    for table in tables(found):
        console.table(table)
    console.result(as_text(found), to_json(found))
    console.hint(advice(found, project.retrieval.mode))


@search_app.command("sweep")
def search_sweep(
    judged: JudgedFile,
    qrels: Qrels = None,
    chunk_tokens: Annotated[
        list[int] | None, typer.Option(help="A chunk size; may be given again. Default: 100, 200, 400.")
    ] = None,
    tenant: Tenant = None,
    label: Labels = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Try chunk sizes, modes and fusions on judged questions, on Ray, and print the best setting."""
    from retrieval.filters.rights import Rights
    from retrieval.quality.sweep import CHUNK_TOKENS
    from tandem.project.project import load
    from tandem.sweeping import advice, as_text, sweep, table, to_json

    console, project = Console(as_json), load(config)
    rights = Rights(tenant, frozenset(label or ()))
    found = sweep(project, judged, qrels, chunk_tokens or CHUNK_TOKENS, console, rights)
    console.table(table(found))
    console.result(as_text(found), to_json(found))
    console.hint(advice(found))
