"""The `tandem` command: parse, call, print. Every verb reads the project file and loads only what it needs.

Exit codes: 0 success, 2 bad input (one paragraph, nothing left behind), 3 done, but a part of it failed and is
named, 1 a fault of ours, 130 interrupted.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cluster.errors import TandemError
from tandem.console import Console, print_error


class SearchGroup(TyperGroup):
    """`tandem search QUESTION` is `tandem search for QUESTION`; `eval` stands beside it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, ["for", *args] if args and args[0] not in known else args)


app = typer.Typer(
    name="tandem",
    help="Fine-tune, retrieve, or both: does each for real and measures which one wins on your own questions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The training data.", no_args_is_help=True)
adapters_app = typer.Typer(help="Published adapters.", no_args_is_help=True)
search_app = typer.Typer(
    cls=SearchGroup,
    help='Show the passages that a question finds: tandem search "...". Or measure: tandem search eval FILE.',
    no_args_is_help=True,
)
app.add_typer(search_app, name="search")
app.add_typer(data_app, name="data")
app.add_typer(adapters_app, name="adapters")

ProjectFile = Annotated[Path, typer.Option("-c", "--config", help="The project file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Tenant = Annotated[str | None, typer.Option(help="Search as a caller of this tenant.")]
Labels = Annotated[list[str] | None, typer.Option(help="Search as one who holds this label; may be repeated.")]
PARTLY_FAILED = 3
DEFAULT = Path("tandem.yaml")
QUICKSTART = Path(__file__).resolve().parent.parent / "examples" / "quickstart" / "tandem.yaml"


def main() -> None:
    """Run the command; a TandemError is one paragraph and exit code 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except TandemError as error:
        print_error(error)
        sys.exit(2)


def _interrupt(*_: object) -> None:
    """SIGTERM ends a command the way Ctrl-C does: every `with` block closes what it opened."""
    raise KeyboardInterrupt


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Measure base, tuned, retrieval and both on examples/quickstart."""
    if not QUICKSTART.is_file():
        raise TandemError(
            f"The quickstart is not at {QUICKSTART}.",
            "A checkout of the repository, where examples/quickstart stands.",
            "Clone the repository and run `make demo` there, or `tandem compare` on a project of your own.",
        )
    compare(QUICKSTART, as_json)


@app.command()
def compare(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Train, index and serve, ask every arm every question, and recommend one."""
    from evaluation.report import make_table
    from tandem.pipeline import compare as run
    from tandem.project import load

    console = Console(as_json)
    report, done = run(load(config), console)
    console.table(make_table(report))
    console.result(f"Recommendation: {report.recommendation.text}", report.model_dump(mode="json"))
    console.hint(f"open {done.path / 'report.html'} in a browser.")
    if report.recommendation.outcome == "failures":
        raise typer.Exit(PARTLY_FAILED)


@app.command()
def init(
    documents: Annotated[Path | None, typer.Argument(help="A folder with your documents.")] = None,
    model: Annotated[str | None, typer.Option(help="A hub id such as Qwen/Qwen3-0.6B, or a folder.")] = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Write a project file for a folder of documents and a model."""
    from tandem.init import ask_for, write_project

    console = Console()
    write_project(config, *ask_for(documents, model))
    console.result(f"Wrote {config}.", None)
    console.hint('ask your documents something: tandem ask "..."')


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    model: Annotated[str | None, typer.Option(help="Such as base, base:adapter, base+collection.")] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Answer one question from the project's documents, with citations."""
    from tandem.asking import as_text
    from tandem.asking import ask as run
    from tandem.project import load

    console = Console(as_json)
    answer = run(load(config), question, model, console)
    console.result(as_text(answer), answer)


@app.command()
def serve(config: ProjectFile = DEFAULT) -> None:
    """Serve base, adapters and retrieval at one OpenAI-compatible endpoint, until Ctrl-C."""
    from tandem.pipeline import serve_forever
    from tandem.project import load

    serve_forever(load(config), Console())


@app.command("plan")
def plan_training(
    memory_gib: Annotated[float | None, typer.Option(help="Plan for a GPU with this memory, not this machine.")] = None,
    host_gib: Annotated[float | None, typer.Option(help="Main memory for each worker's offloaded state.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Another number of workers than the project's.")] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Say what training will take, before anything is loaded: memory for each ZeRO stage, disk, tokens, time."""
    from tandem.planning import as_text, plan, tables, to_json
    from tandem.project import load

    console, project = Console(as_json), load(config)
    found = plan(project.training, project.model, memory_gib, host_gib, workers)
    for table in tables(found):
        console.table(table)
    console.result(as_text(found), to_json(found))
    if found.refusal:
        raise found.refusal
    console.hint("train: tandem train")


@app.command()
def train(
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last training that did not end.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Train an adapter, publish it as a new version, and make it live where vLLM serves it as it was trained."""
    from cluster.session import ray_session
    from tandem import parity
    from tandem.pipeline import check_rank, interrupted_training, recorded
    from tandem.pipeline import train as run
    from tandem.project import load

    console, project = Console(as_json), load(config)
    check_rank(project)
    interrupted = interrupted_training(project) if resume else None
    with recorded(project, "train", console, interrupted) as folder, ray_session(project.cluster):
        version = run(project, folder, console, resuming=resume)
        parity.ensure(project, version, console)
    console.result(f"{version.name}@{version.version} at {version.path}", version.manifest.model_dump(mode="json"))
    if version.manifest.kind == "merged":
        console.hint(f"serve this whole model: set `serving.models: {{{version.name}: {version.path}}}`.")
    else:
        console.hint(f"ask it: tandem ask --model base:{version.name} '...', or measure it: tandem compare")


@app.command()
def export(
    to: Annotated[Path, typer.Option(help="A folder that is empty or does not exist yet.")],
    adapter: Annotated[str | None, typer.Argument(help="Such as support or support@7; else the project's.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="Write a whole model instead of an adapter.")] = False,
    config: ProjectFile = DEFAULT,
) -> None:
    """Write a published version to a folder of its own."""
    from tandem.exporting import export as run
    from tandem.project import load

    found = run(load(config), adapter, to, merged=merged)
    Console().result(f"{found.name}@{found.version} is at {to}", None)


@app.command()
def index(
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and follow every change until Ctrl-C.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Bring the collection up to date with the documents. Exit code 3 where a document could not be read."""
    from dataclasses import asdict

    from tandem.indexing import as_text, table
    from tandem.pipeline import follow, milvus
    from tandem.pipeline import index as run
    from tandem.project import load

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
    from retrieval.filter_json import loads
    from retrieval.rights import Rights
    from retrieval.search import Searcher
    from tandem.hits import as_text, to_json
    from tandem.pipeline import milvus
    from tandem.project import load

    console, project = Console(as_json), load(config)
    rights = Rights(tenant, frozenset(label or ()))
    asked = loads(where) if where else None
    with milvus(project) as uri:
        found = Searcher(project.retrieval, uri).search(
            project.collection, question, top_k=top_k, rights=rights, where=asked
        )
    console.result(as_text(found), to_json(found))


@app.command()
def forget(
    source: Annotated[str, typer.Argument(help="The document, as `tandem search` names it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let the next `tandem index` take it in again.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a document from the collection for good: the index leaves it out, also while its file is there."""
    from retrieval.forgetting import forget as run
    from retrieval.forgetting import take_back
    from tandem.adapters import trained_on
    from tandem.pipeline import milvus
    from tandem.project import load

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
    adapters = trained_on(project, source)
    told = f"{source} is forgotten: {num_rows} rows are removed from {project.collection}."
    still = f"\nThese were trained on it and still know it: {', '.join(adapters)}." if adapters else ""
    value = {"source": source, "forgotten": True, "num_rows": num_rows, "adapters": adapters}
    console.result(told + still, value)
    console.hint("remove its file too; `tandem forget --undo` lets it in again.")


@search_app.command("eval")
def search_eval(
    judged: Annotated[Path, typer.Argument(help="Questions with sources (JSONL), a BEIR folder, or TREC topics.")],
    qrels: Annotated[Path | None, typer.Option(help="The judgements of a TREC topics file.")] = None,
    tenant: Tenant = None,
    label: Labels = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Measure dense, BM25 and hybrid search on judged questions: recall, MRR, nDCG, latency."""
    from retrieval.rights import Rights
    from tandem.project import load
    from tandem.searching import advice, as_text, evaluate, tables, to_json

    console, project = Console(as_json), load(config)
    found = evaluate(project, judged, qrels, console, Rights(tenant, frozenset(label or ())))
    for table in tables(found):
        console.table(table)
    console.result(as_text(found), to_json(found))
    console.hint(advice(found, project.retrieval.mode))


@search_app.command("sweep")
def search_sweep(
    judged: Annotated[Path, typer.Argument(help="Questions with sources (JSONL), a BEIR folder, or TREC topics.")],
    qrels: Annotated[Path | None, typer.Option(help="The judgements of a TREC topics file.")] = None,
    chunk_tokens: Annotated[
        list[int] | None, typer.Option(help="A chunk size; may be given again. Default: 100, 200, 400.")
    ] = None,
    tenant: Tenant = None,
    label: Labels = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Try chunk sizes, modes and fusions on judged questions, on Ray, and print the best setting."""
    from retrieval.rights import Rights
    from retrieval.sweep import CHUNK_TOKENS
    from tandem.project import load
    from tandem.sweeping import advice, as_text, sweep, table, to_json

    console, project = Console(as_json), load(config)
    rights = Rights(tenant, frozenset(label or ()))
    found = sweep(project, judged, qrels, chunk_tokens or CHUNK_TOKENS, console, rights)
    console.table(table(found))
    console.result(as_text(found), to_json(found))
    console.hint(advice(found))


@data_app.command("check")
def data_check(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Read every training row and every question: what is wrong with file and line, lengths, duplicates, what is
    learnt."""
    from tandem.datacheck import refuse, show, to_json
    from tandem.pipeline import look_at_data
    from tandem.project import load

    console, project = Console(as_json), load(config)
    checked, num_questions = look_at_data(project)
    if checked and not as_json:
        show(checked)
    if not checked or len(checked.bad) <= project.training.max_bad_rows:
        text = f"Every row that is not left out and {num_questions} questions can be used."
        console.result(text, to_json(checked, num_questions))
        return
    if as_json:
        console.result("", to_json(checked, num_questions))
    refuse(checked, project.training.max_bad_rows)


@adapters_app.command("list")
def adapters_list(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Show every published version, and which one is live."""
    from tandem.adapters import list_versions
    from tandem.project import load

    text, value = list_versions(load(config))
    Console(as_json).result(text, value)


@adapters_app.command("check")
def adapters_check(
    adapter: Annotated[str, typer.Argument(help="Name and version, such as support@7.")], config: ProjectFile = DEFAULT
) -> None:
    """Serve a version and compare its log-probabilities with the trainer's; where they agree it becomes live."""
    from cluster.session import ray_session
    from tandem.adapters import find
    from tandem.parity import serve_and_check
    from tandem.project import load

    project, console = load(config), Console()
    version = find(project, adapter)
    with ray_session(project.cluster):
        serve_and_check(project, version, console)
    console.result(f"{version.name}@{version.version} is live.", None)


@adapters_app.command("promote")
def adapters_promote(
    adapter: Annotated[str, typer.Argument(help="Name and version, such as support@7.")], config: ProjectFile = DEFAULT
) -> None:
    """Make a version the live one."""
    from tandem.adapters import promote
    from tandem.project import load

    Console().result(promote(load(config), adapter), None)
