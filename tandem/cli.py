"""The `tandem` command: parse, call, print. Every verb reads the project file and loads only what it needs.

Exit codes: 0 success, 2 bad input (one paragraph, nothing left behind), 3 done, but a part of it failed and is
named, 4 an earlier verdict no longer stands, 1 a fault of ours, 130 interrupted.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import TandemError
from tandem.console import Console, print_error
from tandem.doctor import doctor
from tandem.documents import documents_app, search_app
from tandem.jobs import jobs_app
from tandem.keys import keys_app
from tandem.options import (
    DEFAULT,
    PARTLY_FAILED,
    VERDICT_CHANGED,
    AsJson,
    Despite,
    Detach,
    ProjectFile,
    SentVariables,
    Shared,
    Submit,
    Write,
)
from tandem.plans import plan
from tandem.questions import questions_app
from tandem.rendering import render_app

app = typer.Typer(
    name="tandem",
    help="Fine-tune, retrieve, or both: does each for real and measures which one wins on your own questions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="The training data.", no_args_is_help=True)
adapters_app = typer.Typer(help="Published adapters.", no_args_is_help=True)
app.command()(plan)
app.add_typer(documents_app)
app.add_typer(search_app, name="search")
app.add_typer(data_app, name="data")
app.add_typer(questions_app, name="questions")
app.add_typer(adapters_app, name="adapters")
app.add_typer(keys_app, name="keys")
app.add_typer(jobs_app, name="jobs")
app.add_typer(render_app, name="render")
app.command()(doctor)

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
    compare(spend_all=True, config=QUICKSTART, as_json=as_json)


@app.command()
def compare(
    spend_all: Annotated[
        bool, typer.Option("--all", help="Train and measure every arm, also where training could not repay it.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask again what is known from earlier comparisons.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            help="A run, or `last`: ask again only what documents touch that changed since. Exit code 4: the "
            "verdict has changed."
        ),
    ] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
    submit: Submit = False,
    detach: Detach = False,
    write: Write = None,
    env: SentVariables = None,
    shared: Shared = None,
) -> None:
    """Index and serve, ask every arm every question, train where it can pay, and recommend one."""
    from tandem.submitting import Wishes, submitted

    arguments = ["--all"] * spend_all + ["--fresh"] * fresh + (["--since", since] if since else [])
    if submitted(Wishes(submit, detach, write, env or (), shared or ()), "compare", arguments, config, as_json):
        return
    from evaluation.reporting.report import make_table, told
    from tandem.compare.compare import compare as run
    from tandem.project.project import load

    console = Console(as_json)
    report, done = run(load(config), console, spend_all, fresh, since)
    console.table(make_table(report))
    console.result(told(report), report.model_dump(mode="json"))
    console.hint(f"open {done.path / 'report.html'} in a browser.")
    if report.recommendation.outcome == "failures":
        raise typer.Exit(PARTLY_FAILED)
    if report.drift and not report.drift.stands:
        raise typer.Exit(VERDICT_CHANGED)


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
    from tandem.project.project import load

    console = Console(as_json)
    answer = run(load(config), question, model, console)
    console.result(as_text(answer), answer)


@app.command()
def serve(
    config: ProjectFile = DEFAULT,
    check: Annotated[bool, typer.Option("--check", help="Look at everything but the weights, and end.")] = False,
    write_config: Annotated[
        Path | None, typer.Option(help="Write a file for `serve deploy` and RayService, and end.")
    ] = None,
) -> None:
    """Serve base, adapters and retrieval at one OpenAI-compatible endpoint, until Ctrl-C."""
    from tandem import endpoint
    from tandem.pipeline.endpoint import serve_forever
    from tandem.project.project import load

    project, console = load(config), Console()
    if check:
        endpoint.check(project, console)
        console.result("The endpoint can be started.", None)
    if write_config:
        endpoint.write_config(project, config, write_config)
        console.result(str(write_config), None)
    if not check and not write_config:
        serve_forever(project, console)


@app.command()
def train(
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last training that did not end.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
    submit: Submit = False,
    detach: Detach = False,
    write: Write = None,
    env: SentVariables = None,
    shared: Shared = None,
) -> None:
    """Train an adapter, publish it as a new version, and make it live where vLLM serves it as it was trained."""
    from tandem.submitting import Wishes, submitted

    if submitted(
        Wishes(submit, detach, write, env or (), shared or ()), "train", ["--resume"] * resume, config, as_json
    ):
        return
    from cluster.session import ray_session
    from tandem.pipeline.parity_check import ensure_parity
    from tandem.pipeline.runs import recorded
    from tandem.pipeline.training import check_training, interrupted_training
    from tandem.pipeline.training import train as run
    from tandem.project.project import load

    console, project = Console(as_json), load(config)
    check_training(project)
    interrupted = interrupted_training(project) if resume else None
    with recorded(project, "train", console, interrupted) as folder, ray_session(project.cluster):
        version = run(project, folder, console, resuming=resume)
        ensure_parity(project, version, console)
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
    from tandem.project.project import load

    found = run(load(config), adapter, to, merged=merged)
    Console().result(f"{found.name}@{found.version} is at {to}", None)


@data_app.command("check")
def data_check(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Read every training row and every question: what is wrong with file and line, lengths, duplicates, what is
    learnt."""
    from tandem.compare.check import look_at_data
    from tandem.datacheck import refuse, show, to_json
    from tandem.project.project import load

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
    from tandem.project.project import load

    text, value = list_versions(load(config))
    Console(as_json).result(text, value)


@adapters_app.command("check")
def adapters_check(
    adapter: Annotated[str, typer.Argument(help="Name and version, such as support@7.")], config: ProjectFile = DEFAULT
) -> None:
    """Serve a version and compare its log-probabilities with the trainer's; where they agree it becomes live."""
    from cluster.session import ray_session
    from tandem.adapters import find
    from tandem.pipeline.parity_check import serve_and_check
    from tandem.project.project import load

    project, console = load(config), Console()
    version = find(project, adapter)
    with ray_session(project.cluster):
        serve_and_check(project, version, console)
    console.result(f"{version.name}@{version.version} is live.", None)


@adapters_app.command("promote")
def adapters_promote(
    adapter: Annotated[str, typer.Argument(help="Name and version, such as support@7.")],
    despite: Despite = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Make a version the live one; one that failed a gate only with a reason."""
    from tandem.adapters import promote
    from tandem.project.project import load

    Console().result(promote(load(config), adapter, despite), None)


@adapters_app.command("split")
def adapters_split(
    adapter: Annotated[str, typer.Argument(help="Name, such as support.")],
    shares: Annotated[list[str], typer.Argument(help="Versions with their shares, such as 7=90 8=10.")],
    despite: Despite = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Share the callers of an adapter out over versions; each caller keeps its own."""
    from tandem.adapters import split
    from tandem.project.project import load

    Console().result(split(load(config), adapter, shares, despite), None)


@adapters_app.command("push")
def adapters_push(
    adapter: Annotated[str, typer.Argument(help="Name, such as support.")],
    to: Annotated[
        str | None, typer.Option(help="A bucket, such as s3://bucket/adapters. Without: serving.adapter_registry.")
    ] = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Copy an adapter's versions, and which is live, to the bucket that endpoints take them from."""
    from tandem.adapters import push
    from tandem.project.project import load

    Console().result(push(load(config), adapter, to), None)
