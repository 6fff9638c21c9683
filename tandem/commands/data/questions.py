"""`tandem questions build`, `accept` and `split`: test questions from documents and drafts, as new files."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from evaluation.asking.addresses import check_url
from evaluation.drafts.documents import read_documents
from evaluation.drafts.draft_files import approved_questions, refuse_draft, write_drafts
from evaluation.drafts.drafting import draft_questions
from evaluation.drafts.prose import DraftingResult, DraftWriter
from evaluation.drafts.splitting import split_questions, to_jsonl, to_training_rows
from evaluation.questions.files import load_questions
from tandem.commands.options import DEFAULT, PARTLY_FAILED, DraftFile, ProjectFile
from tandem.console import Console
from tandem.pipeline.document_copies import without_forgotten
from tandem.project.project import Project, load

Seed = Annotated[int, typer.Option(help="The seed of the random choice.")]


def build(
    out: Annotated[Path, typer.Option(help="The draft to write.")] = Path("questions.draft.jsonl"),
    number: Annotated[int, typer.Option(min=1, help="The largest number of questions to draft.")] = 200,
    model: Annotated[
        str | None,
        typer.Option(help="A model that drafts from prose too, such as base, or an entry of `evaluation.endpoints`."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="The address of its endpoint, with or without /v1. Without: the project's endpoint."),
    ] = None,
    seed: Seed = 0,
    config: ProjectFile = DEFAULT,
) -> None:
    """Draft test questions from the documents.

    Writes a file with one draft a line, to be approved with `tandem questions approve`. Exit code 3: the model stopped
    answering, and the drafts so far are written.
    """
    project, console = load(config), Console()
    _refuse_to_replace(out)
    writer = _writer(project, model, url)
    documents = without_forgotten(project, read_documents(project.retrieval))
    console.stage("read", f"{len(documents.documents):,} documents")
    drafted = draft_questions(documents, number, writer, seed, console.progress)
    if not drafted.drafts:
        raise _nothing_drafted(drafted)
    write_drafts(out, drafted.drafts)
    console.result(f"Drafted {len(drafted.drafts):,} questions into {out}.{_left_out(drafted)}", None)
    for kind in (*documents.not_read, *(f"{source} (more than a million characters)" for source in drafted.too_long)):
        console.stage("read", f"not read: {kind}")
    console.hint(f"go through them: tandem questions approve {out}")
    if drafted.gave_up:
        console.stage("draft", f"the model was not asked any more: {drafted.gave_up}")
        raise typer.Exit(PARTLY_FAILED)


def accept(
    draft: DraftFile,
    out: Annotated[Path, typer.Option(help="The questions file to write.")] = Path("questions.jsonl"),
) -> None:
    """Write the approved questions of a draft to a questions file.

    `evaluation.questions` in the project file can name it.
    """
    questions = approved_questions(draft)
    _write_new({out: to_jsonl(questions)})
    Console().result(f"{out} holds {len(questions):,} questions.", None)


def split(
    file: Annotated[Path, typer.Argument(help="A questions file.")],
    out_train: Annotated[Path, typer.Option(help="Rows for `training.data`.")],
    out_test: Annotated[Path, typer.Option(help="Questions for `evaluation.questions`.")],
    test: Annotated[float, typer.Option(help="Share of the questions to test with, between 0 and 1.")] = 0.3,
    seed: Seed = 0,
) -> None:
    """Split a questions file into training rows and test questions.

    No document is on both sides.
    """
    refuse_draft(file)
    parts = split_questions(load_questions(file), test, seed)
    _write_new({out_train: to_training_rows(parts.train), out_test: to_jsonl(parts.test)})
    Console().result(
        f"{len(parts.train):,} rows to train on in {out_train}, {len(parts.test):,} questions in {out_test}; "
        f"{parts.num_groups:,} groups, the largest of {parts.num_in_largest:,}.",
        None,
    )


def _writer(project: Project, model: str | None, url: str | None) -> DraftWriter | None:
    if model is None:
        if url is not None:
            raise TandemError("--url names an endpoint and no model.", "Both, or --model alone.", "Add --model.")
        return None
    other = project.evaluation.endpoints.get(model) if url is None else None
    if other:
        check_url(other.url, f"evaluation.endpoints.{model}")
        return DraftWriter(other.url, other.model, other)
    return DraftWriter(url or f"http://127.0.0.1:{project.serving.port}/v1", model)


def _nothing_drafted(drafted: DraftingResult) -> TandemError:
    return TandemError(
        f"Nothing in the documents could be made a question of.{_left_out(drafted)} {drafted.gave_up or ''}".rstrip(),
        "Tables, `key: value`, settings, lists of terms, or prose and a model (--model) that reads it.",
        "Add --model, or write the questions by hand.",
    )


def _left_out(drafted: DraftingResult) -> str:
    reasons = [f"{number:,} because {reason}" for reason, number in sorted(drafted.left_out.items()) if number]
    return f" Left out: {'; '.join(reasons)}." if reasons else ""


def _refuse_to_replace(path: Path) -> None:
    if path.exists():
        raise TandemError(f"There is already a file {path}.", "A new file.", "Remove it first, or name another one.")


def _write_new(texts: dict[Path, str]) -> None:
    """All of the files or none: what is there already stays."""
    for path in texts:
        _refuse_to_replace(path)
    for path, text in texts.items():
        try:
            write_atomically(path, text)
        except OSError as error:
            raise TandemError(
                f"{path} cannot be written ({error.strerror}).", "A folder that you may write to.", "Name another."
            ) from error
