"""`tandem questions approve`: draft questions one at a time: y (take it), n (leave it out), e (edit), s (skip), q."""

from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.box import SIMPLE
from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from cluster.errors import TandemError
from evaluation.drafts.documents import DraftDocument, read_documents
from evaluation.drafts.draft_files import Draft, edit_draft, read_drafts, write_drafts
from tandem.commands.options import DEFAULT, DraftFile, ProjectFile
from tandem.console import Console
from tandem.project.project import load

CHOICES = "y = take it, n = leave it out, e = edit, s = skip, q = stop"
AROUND_A_SPAN, LINES_AROUND = 600, 6
MIN_SIDE_BY_SIDE = 100


def approve(draft: DraftFile, config: ProjectFile = DEFAULT) -> None:
    """Approve or reject drafted questions one at a time.

    Each is shown beside the passage that it was made from.
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
            _show(draft, documents)


def _edit(draft: Draft) -> Draft:
    """Enter keeps a value. What is no question is said, and nothing is changed."""
    changes: dict[str, Any] = {}
    if question := _ask(f"Question [{draft.question}]:"):
        changes["question"] = question
    for name in ("answers", "sources"):
        separated = " | ".join(getattr(draft, name))
        if values := _ask(f"{name.capitalize()}, with | between them, - for none [{separated}]:"):
            changes[name] = () if values == "-" else tuple(value.strip() for value in values.split("|"))
    if part := _ask(f"Slice [{draft.slice}]:"):
        changes["slice"] = part
    try:
        return edit_draft(draft, **changes)
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
    """The draft beside the passage that it was made from; below each other where the terminal is narrow."""
    console = RichConsole(stderr=True, highlight=False)
    passage, words = _passage(draft, documents), _words(draft)
    if passage is None:
        console.print(words)
        return
    table = Table(box=SIMPLE, show_header=False, expand=True, padding=(0, 1))
    if console.width >= MIN_SIDE_BY_SIDE:
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        table.add_row(passage, words)
    else:
        table.add_row(passage)
        table.add_row(words)
    console.print(table)


def _words(draft: Draft) -> Text:
    """What a person decides on, a line each."""
    answers = " | ".join(draft.answers) if draft.answerable else "none: the documents do not say"
    lines = (
        ("Question", draft.question), ("Answer", answers), ("Reference", draft.reference), ("Slice", draft.slice),
        ("The model's answer with the passage", draft.with_passage), ("Without it", draft.without_passage),
    )  # fmt: skip
    text = Text()
    for name, value in lines:
        if value is not None:
            text.append(f"{name}: ", style="bold")
            text.append(f"{' '.join(value.split())}\n")
    return text


def _passage(draft: Draft, documents: list[DraftDocument]) -> Text | None:
    """The lines around the span, as they are in the document, with the span marked; None where it cannot be shown."""
    span = draft.span
    document = next((each for each in documents if span is not None and each.source == span.source), None)
    if span is None or document is None or span.end > len(document.text):
        return None
    text, start, end = document.text, span.start, span.end
    for _ in range(LINES_AROUND):
        start, end = max(0, text.rfind("\n", 0, max(0, start - 1)) + 1), text.find("\n", end + 1)
        end = len(text) if end < 0 else end
    start, end = max(start, span.start - AROUND_A_SPAN), min(end, span.end + AROUND_A_SPAN)
    shown = Text(f"{document.source}\n", style="bold")
    shown.append("..." if start else "", style="not bold")
    shown.append(_visible(text[start : span.start]), style="not bold")
    shown.append(_visible(text[span.start : span.end]), style="reverse not bold")
    shown.append(_visible(text[span.end : end]), style="not bold")
    return shown.append("..." if end < len(text) else "", style="not bold")


def _visible(text: str) -> str:
    """Without characters that would move the terminal's cursor."""
    return "".join(char for char in text if char in "\n\t" or char.isprintable())
