"""The `tandem` command: its verbs by panel, and how a verb is loaded when it is called.

Exit codes: 0 success, 2 bad input (one paragraph, nothing left behind), 3 done, but a part of it failed and is
named, 4 an earlier verdict no longer stands, 1 a fault of ours, 130 interrupted (Ctrl-C), 143 ended (SIGTERM).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from cluster import interrupts
from cluster.errors import TandemError
from cluster.full_disk import explain_full_disk
from cluster.jobs.wheel import package_version
from tandem.console import print_error


@dataclass(frozen=True)
class Verb:
    """One line of the help, and the function behind it, which is imported when the verb is called."""

    name: str
    help: str
    """What the verb's own help says first."""
    function: str = ""
    """As module:name below tandem.commands; a group has none."""
    verbs: tuple["Verb", ...] = ()
    """Those of a group."""
    default: str | None = None
    """The verb of a group that is meant where the first word names none."""
    details: str = ""
    """What the help of a group says after `help`."""


DATA = (
    Verb("check", "Check every training row and test question, and show which tokens are trained.",
         "data.data:check_data"),
    Verb("texts", "Write the documents of the index as rows for `training.objective: text`.", "data.texts:write_texts"),
    Verb("ratings", "Write the answers that callers rated as rows for `training.objective: kto`.",
         "data.ratings:write_ratings"),
)  # fmt: skip
SEARCH_DETAILS = (
    'The word `for` may be left out: `tandem search "When does it open?"` is `tandem search for "When does it open?"`, '
    "and `tandem search for --help` lists its options."
)
SEARCH = (
    Verb("for", "Show the passages that a question finds.", "data.search:search"),
    Verb("eval", "Measure how well dense, BM25 and hybrid search answer judged questions.",
         "data.search_eval:evaluate_search"),
    Verb("sweep", "Try chunk sizes, modes and fusions on judged questions, and print the best setting.",
         "data.search_sweep:sweep_search"),
)  # fmt: skip
QUESTIONS = (
    Verb("build", "Draft test questions from the documents.", "data.questions:build"),
    Verb("approve", "Approve or reject drafted questions one at a time.", "data.questions_approve:approve"),
    Verb("accept", "Write the approved questions of a draft to a questions file.", "data.questions:accept"),
    Verb("split", "Split a questions file into training rows and test questions.", "data.questions:split"),
    Verb("check", "Check the test questions for duplicates, outdated answers and leaks.",
         "data.questions_check:check_questions"),
    Verb("export", "Write the test questions in the format of lm-eval, promptfoo or ragas.",
         "data.questions_export:export"),
)  # fmt: skip
KEYS = (
    Verb("create", "Create an API key and print it once.", "serve.keys:create_key"),
    Verb("list", "List the API keys and what each may do.", "serve.keys:list_keys"),
    Verb("revoke", "Revoke an API key.", "serve.keys:revoke_key"),
)
ADAPTERS = (
    Verb("list", "List every published version, and show which one is live.", "serve.adapters:list_adapters"),
    Verb("check", "Serve a version, compare it with the trainer, and make it live where both agree.",
         "serve.adapters_check:check_adapter"),
    Verb("promote", "Make a version the live one.", "serve.adapters:promote_adapter"),
    Verb("split", "Split an adapter's callers between several versions.", "serve.adapters:split_adapter"),
    Verb("push", "Copy an adapter's versions to a bucket.", "serve.adapters:push_adapter"),
)  # fmt: skip
JOBS = (
    Verb("list", "List the jobs of the cluster, the newest first.", "cluster.jobs:list_jobs"),
    Verb("show", "Show one job: its command, its status and the end of its log.", "cluster.jobs:show_job"),
    Verb("logs", "Print the log of a job.", "cluster.jobs:print_log"),
    Verb("stop", "Stop a job.", "cluster.jobs:stop_job"),
)
RENDER = (
    Verb("rayjob", "Write a RayJob that trains on a cluster made for it.", "cluster.render:render_ray_job"),
    Verb("rayservice", "Write a RayService that serves the project.", "cluster.render:render_ray_service"),
    Verb("raycluster", "Write a RayCluster that stays and takes jobs.", "cluster.render:render_ray_cluster"),
    Verb("serve-config", "Write the file for `serve deploy`.", "cluster.render:render_serve_config"),
    Verb("check", "Check rendered manifests against every rule that needs no cluster.",
         "cluster.render_check:check_files"),
)  # fmt: skip

PANELS = {
    "Start": (
        Verb("init", "Write a project file for a folder of documents and a model.", "start.init:init"),
        Verb("ask", "Answer one question from the project's documents, with citations.", "start.ask:ask"),
        Verb("demo", "Measure base, tuned, retrieval and both on examples/quickstart.", "start.demo:demo"),
        Verb("doctor", "Check this machine, or every node of the cluster, and say how to fix what is wrong.",
             "start.doctor:doctor"),
    ),
    "Data": (
        Verb("data", "Check the training rows and the test questions, or write rows.", verbs=DATA),
        Verb("questions", "Draft, approve, split, check and export the test questions.", verbs=QUESTIONS),
        Verb("index", "Bring the document index up to date.", "data.index:index"),
        Verb("search", 'Search the documents (tandem search "..."), or measure how good the search is.',
             verbs=SEARCH, default="for", details=SEARCH_DETAILS),
        Verb("forget", "Remove a document from the index and keep it out.", "data.forget:forget"),
    ),
    "Train": (
        Verb("plan", "Estimate the memory, disk and time that training takes.", "train.plan:plan"),
        Verb("train", "Train an adapter and publish it as a new version.", "train.train:train"),
        Verb("export", "Write a published version to a folder.", "train.export:export"),
    ),
    "Serve": (
        Verb("serve", "Serve base, adapters and retrieval at one OpenAI-compatible endpoint.", "serve.serve:serve"),
        Verb("plan-serve", "Estimate the hardware that an endpoint takes for a given load.",
             "serve.plan_serve:plan_serve"),
        Verb("mcp", "Let an agent search the project's documents over MCP.", "serve.mcp:serve_documents"),
        Verb("keys", "Create, list and revoke the endpoint's API keys.", verbs=KEYS),
        Verb("adapters", "List, check and promote published adapters.", verbs=ADAPTERS),
    ),
    "Compare": (
        Verb("compare", "Measure base, tuned, retrieval and both on your questions, and recommend one.",
             "compare:compare_command"),
    ),
    "Cluster": (
        Verb("jobs", "List, follow and stop the jobs of the cluster.", verbs=JOBS),
        Verb("render", "Write and check manifests for Kubernetes.", verbs=RENDER),
    ),
}  # fmt: skip
"""In the order of use, as the help shows them."""


ENDPOINT_OPTIONS = ("--serve", "--requests-per-s", "--questions-per-day", "--measure", "--costs")
"""Options of `tandem plan` before it became two verbs."""


def main() -> None:
    """Run the command; a TandemError is one paragraph and exit code 2, and so is a full disk wherever it was met.

    Ctrl-C and SIGTERM close every `with` block. Whatever exception that becomes on its way, it is no error.
    """
    with interrupts.raised():
        try:
            app()
        except BaseException as error:
            if (code := interrupts.exit_code()) is not None:
                sys.exit(code)
            explained = _explain(error)
            if explained is None:
                raise
            print_error(explained)
            sys.exit(2)


def _explain(error: BaseException) -> TandemError | None:
    """The error for the user; None where it is a fault of ours, or the end of the command."""
    if isinstance(error, TandemError):
        return error
    if not isinstance(error, Exception):
        return None
    return explain_full_disk(error, Path.cwd(), "Make room there, and run the command again.")


class VerbGroup(TyperGroup):
    """Lists its verbs without importing them, and imports the verb that is called."""

    def __init__(self, *, verb: Verb | None = None, **settings: Any) -> None:
        panels = {"Commands": verb.verbs} if verb else PANELS
        self.verbs = {each.name: each for verbs in panels.values() for each in verbs}
        self.default = verb.default if verb else None
        lines = {each.name: _line(each, panel) for panel, verbs in panels.items() for each in verbs}
        super().__init__(**{**settings, "commands": lines})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if self.default and args and args[0] not in (*self.verbs, *ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name == "plan":
            _refuse_endpoint_options(rest)
        return name, load_verb(self.verbs[name]) if name else command, rest


def load_verb(verb: Verb) -> TyperCommand | TyperGroup:
    """Import a verb's function and make a command of it: parameters as options, the docstring as help."""
    if verb.verbs:
        return VerbGroup(
            verb=verb, name=verb.name, help=f"{verb.help}\n\n{verb.details}".strip(), no_args_is_help=True,
            subcommand_metavar="{QUESTION | COMMAND [ARGS]...}" if verb.default else None,
        )  # fmt: skip
    module, _, name = verb.function.partition(":")
    function = getattr(import_module(f"tandem.commands.{module}"), name)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(verb.name, help=_unwrap(function.__doc__ or verb.help))(function)
    return cast(TyperCommand, get_command(single))


def _unwrap(text: str) -> str:
    """Each paragraph on one line: the help would keep the line ends of a docstring."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _line(verb: Verb, panel: str) -> TyperCommand:
    """A verb as the help of its group lists it."""
    return TyperCommand(verb.name, help=verb.help, rich_help_panel=panel)


def _refuse_endpoint_options(words: Sequence[str]) -> None:
    """`tandem plan --serve` was what `tandem plan-serve` is. Raises TandemError for its options."""
    options = [word.partition("=")[0] for word in words]
    if misplaced := next((option for option in options if option in ENDPOINT_OPTIONS), None):
        raise TandemError(
            f"{misplaced} is about an endpoint, and what is planned is a training.",
            "`tandem plan-serve` plans an endpoint. It takes the same options, without --serve.",
            "Run `tandem plan-serve`.",
        )


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"tandem {package_version()}")
        raise typer.Exit


app = typer.Typer(
    name="tandem",
    cls=VerbGroup,
    help="Fine-tune, retrieve, or both: does each for real and measures which one wins on your own questions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def tandem(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of `tandem` itself."""
