"""`tandem questions approve`: draft questions one at a time: y (take it), n (leave it out), e (edit), s (skip), q."""

from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from cluster.errors import TandemError
from evaluation.drafts.documents import DraftDocument, read_documents
from evaluation.drafts.draft_files import Draft, read_drafts, write_drafts
from tandem.commands.options import DEFAULT, DraftFile, ProjectFile
from tandem.console import Console
from tandem.project.project import load

CHOICES = "y = take it, n = leave it out, e = edit, s = skip, q = stop"
AROUND_A_SPAN = 150


def approve(draft: DraftFile, config: ProjectFile = DEFAULT) -> None:
    """Approve or reject drafted questions one at a time.

    Every decision is kept at once: stop at any time, and run the command again to continue.
    """
    approved, left_out, undecided = approve_drafts(draft, _read_documents(config))
    console = Console()
    console.result(f"{approved:,} approved, {left_out:,} left out, {undecided:,} to decide on.", None)
    if not undecided:
        console.hint(f"take them over: tandem questions accept {draft} --out questions.jsonl")


def approve_drafts(path: Path, documents: list[DraftDocument]) -> tuple[int, int, int]:
    """Ask about every draft that nobody has decided on; each decision is written at once, so one can stop anywhere.

    Args:
        documents: where the passages around the answers are read from; those that are missing are not shown.

    Returns:
        How many are approved, left out and undecided.
    """
    drafts = read_drafts(path)
    waiting = [place for place, draft in enumerate(drafts) if draft.approved is None]
    for number, place in enumerate(waiting, start=1):
        typer.echo(f"\n{number} of {len(waiting)}", err=True)
        decided = _decide(drafts[place], documents)
        if decided is None:
            break
        if decided is not drafts[place]:
            drafts[place] = decided
            write_drafts(path, drafts)
    states = [draft.approved for draft in drafts]
    return states.count(True), states.count(False), states.count(None)


def _read_documents(config: Path) -> list[DraftDocument]:
    """The documents whose passages are shown; none where there is no project."""
    if config == DEFAULT and not config.exists():
        return []
    return list(read_documents(load(config).retrieval).documents)


def _decide(draft: Draft, documents: list[DraftDocument]) -> Draft | None:
    """The draft as it was decided on, the same one where it is skipped, None to stop."""
    _show(draft, documents)
    while True:
        choice = _ask(f"{CHOICES}:")
        if choice is None or choice.lower() == "q":
            return None
        if choice.lower() == "s":
            return draft
        if choice.lower() in ("y", "n"):
            return draft.model_copy(update={"approved": choice.lower() == "y"})
        if choice.lower() == "e":
            draft = _edit(draft)
            _show(draft, [])


def _edit(draft: Draft) -> Draft:
    """Enter keeps what stands there. What is no question is said and asked for again."""
    question = _ask(f"Question [{draft.question}]:") or draft.question
    answers = _ask(f"Answers, with | between them [{' | '.join(draft.answers)}]:")
    changes: dict[str, Any] = {"question": question}
    if answers:
        # Where the old answer stood says nothing about the new one.
        changes |= {"answers": [answer.strip() for answer in answers.split("|")], "reference": None, "span": None}
    try:
        return Draft.model_validate(draft.model_dump(exclude_unset=True) | changes)
    except ValidationError as error:
        typer.echo(f"Not kept: {error.errors(include_url=False)[0]['msg']}", err=True)
        return draft


def _ask(text: str) -> str | None:
    """A line from the terminal; None at its end."""
    typer.echo(text, nl=False, err=True)
    typer.echo(" ", nl=False, err=True)
    try:
        return input().strip()
    except EOFError:
        return None
    except UnicodeDecodeError as error:
        raise TandemError("The line is not UTF-8.", "Text in UTF-8.", "Set the terminal to UTF-8.") from error


def _show(draft: Draft, documents: list[DraftDocument]) -> None:
    typer.echo(f"Question: {draft.question}\nAnswer:   {' | '.join(draft.answers)}", err=True)
    if draft.span is None:
        return
    for document in documents:
        if document.source == draft.span.source:
            start, end = max(0, draft.span.start - AROUND_A_SPAN), draft.span.end + AROUND_A_SPAN
            typer.echo(f"In {document.source}: ...{' '.join(document.text[start:end].split())}...", err=True)
