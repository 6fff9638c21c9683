"""The options that several verbs have, and their defaults."""

from pathlib import Path
from typing import Annotated

import typer

ProjectFile = Annotated[Path, typer.Option("-c", "--config", help="The project file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Tenant = Annotated[str | None, typer.Option(help="Search as a caller of this tenant.")]
Labels = Annotated[list[str] | None, typer.Option(help="Search as one who holds this label; may be repeated.")]
JudgedFile = Annotated[Path, typer.Argument(help="Questions with sources (JSONL), a BEIR folder, or TREC topics.")]
Qrels = Annotated[Path | None, typer.Option(help="The judgements of a TREC topics file.")]
Despite = Annotated[str | None, typer.Option(help="Why it goes live although a gate failed; the reason is kept.")]
Submit = Annotated[bool, typer.Option("--submit", help="Run it as a job of the cluster at `cluster.address`.")]
Detach = Annotated[bool, typer.Option("--detach", help="With --submit: do not wait for its end.")]
Write = Annotated[Path | None, typer.Option(help="With --submit: write a folder for `ray job submit` instead.")]
SentVariables = Annotated[
    list[str] | None, typer.Option("--env", help="With --submit: send this variable's value; may be repeated.")
]
Shared = Annotated[
    list[Path] | None,
    typer.Option(help="With --submit: a folder that the nodes have too, so that nothing below it is sent."),
]
PARTLY_FAILED = 3
VERDICT_CHANGED = 4
DEFAULT = Path("tandem.yaml")
