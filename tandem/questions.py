"""`tandem questions`: draft them from the documents, approve, split and check them."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.errors import TandemError
from tandem.console import Console
from tandem.options import DEFAULT, PARTLY_FAILED, AsJson, ProjectFile

if TYPE_CHECKING:
    from evaluation.drafts.documents import Document
    from evaluation.drafts.drafting import Drafted, Writer
    from tandem.project.project import Project

questions_app = typer.Typer(help="The test questions.", no_args_is_help=True)
DraftFile = Annotated[Path, typer.Argument(help="What `tandem questions build` wrote.")]
Seed = Annotated[int, typer.Option(help="Another seed, another choice.")]


@questions_app.command("build")
def build(
    out: Annotated[Path, typer.Option(help="The draft to write.")] = Path("questions.draft.jsonl"),
    number: Annotated[int, typer.Option(min=1, help="Most questions to draft.")] = 200,
    model: Annotated[str | None, typer.Option(help="A model that drafts from prose, such as base.")] = None,
    url: Annotated[str | None, typer.Option(help="Its endpoint with /v1. Without: the project's own.")] = None,
    seed: Seed = 0,
    config: ProjectFile = DEFAULT,
) -> None:
    """Draft questions from the documents, into a file that a person approves line by line."""
    from evaluation.drafts.documents import read_documents
    from evaluation.drafts.draft_files import write_drafts
    from evaluation.drafts.drafting import draft
    from tandem.project.project import load

    project, console = load(config), Console()
    _refuse_to_replace(out)
    writer = _writer(project, model, url)
    documents = read_documents(project.retrieval)
    console.stage("read", f"{len(documents.documents):,} documents")
    drafted = draft(documents, number, writer, seed, console.progress)
    if not drafted.drafts:
        raise _nothing_drafted(drafted)
    write_drafts(out, drafted.drafts)
    console.result(f"Drafted {len(drafted.drafts):,} questions into {out}.{_left_out(drafted)}", None)
    for kind in documents.not_read:
        console.stage("read", f"not read: {kind}")
    console.hint(f"go through them: tandem questions approve {out}")
    if drafted.gave_up:
        console.stage("draft", f"the model was not asked any more: {drafted.gave_up}")
        raise typer.Exit(PARTLY_FAILED)


@questions_app.command("approve")
def approve(draft: DraftFile, config: ProjectFile = DEFAULT) -> None:
    """Decide on the drafts one at a time; stop whenever you like and go on later."""
    from tandem.approving import approve as run

    approved, left_out, undecided = run(draft, _documents(config))
    console = Console()
    console.result(f"{approved:,} approved, {left_out:,} left out, {undecided:,} to decide on.", None)
    if not undecided:
        console.hint(f"take them over: tandem questions accept {draft} --out questions.jsonl")


@questions_app.command("accept")
def accept(
    draft: DraftFile,
    out: Annotated[Path, typer.Option(help="The questions file to write.")] = Path("questions.jsonl"),
) -> None:
    """Write the approved questions of a draft to a file that `evaluation.questions` can name."""
    from evaluation.drafts.draft_files import approved
    from evaluation.drafts.splitting import as_lines

    questions = approved(draft)
    _write_new({out: as_lines(questions)})
    Console().result(f"{out} holds {len(questions):,} questions.", None)


@questions_app.command("split")
def split(
    file: Annotated[Path, typer.Argument(help="A questions file.")],
    out_train: Annotated[Path, typer.Option(help="Rows for `training.data`.")],
    out_test: Annotated[Path, typer.Option(help="Questions for `evaluation.questions`.")],
    test: Annotated[float, typer.Option(help="Share of the questions to test with, between 0 and 1.")] = 0.3,
    seed: Seed = 0,
) -> None:
    """Part questions into rows to train on and questions to test with; no document is on both sides."""
    from evaluation.drafts.draft_files import refuse_draft
    from evaluation.drafts.splitting import as_lines, as_training_rows
    from evaluation.drafts.splitting import split as run
    from evaluation.questions.files import load_questions

    refuse_draft(file)
    found = run(load_questions(file), test, seed)
    _write_new({out_train: as_training_rows(found.train), out_test: as_lines(found.test)})
    Console().result(
        f"{len(found.train):,} rows to train on in {out_train}, {len(found.test):,} questions in {out_test}; "
        f"{found.num_groups:,} groups, the largest of {found.num_in_largest:,}.",
        None,
    )


@questions_app.command("check")
def check(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Say what is wrong with the questions: near pairs, answers that are gone from the documents, leaks."""
    from dataclasses import asdict

    from evaluation.drafts.check import check as run
    from evaluation.drafts.check import describe
    from evaluation.drafts.documents import Documents, read_documents
    from evaluation.drafts.draft_files import refuse_draft
    from evaluation.questions.files import load_questions
    from evaluation.questions.leaks import refuse
    from tandem.project.project import load

    project, console = load(config), Console(as_json)
    files = _files(project)
    for file in filter(None, files):
        refuse_draft(file)
    questions = [question for file in files for question in load_questions(file)]
    documents = read_documents(project.retrieval) if project.retrieval.sources else Documents((), ())
    checked = run(questions, documents, _trained(project))
    value = asdict(checked) | {
        "leaks": [{"question": each.question.id, "row": each.row, "kind": each.kind, "similarity": each.similarity}
                  for each in checked.leaks]
    }  # fmt: skip
    console.result("\n".join(describe(checked)), value)
    refuse(checked.leaks, len(questions))


def _files(project: "Project") -> list[Path | None]:
    """The questions, and those on what the model knew before where there are any."""
    general = project.evaluation.general
    return [project.evaluation.questions, *([general] if general else [])]


def _trained(project: "Project") -> Iterator[dict[str, Any]]:
    """What would be trained on, and what the newest version of the project's adapter was trained on."""
    from cluster.registry.registry import Registry
    from evaluation.questions.leaks import read_trained
    from training.data.rows import read_rows
    from training.publish.publish import trained_row

    rows = map(trained_row, read_rows(project.training).rows) if project.training.data else iter(())
    registry = Registry.of(project.storage)
    versions = registry.versions(project.adapter) if project.adapter in registry.names() else []
    files = [version.path / "trained.jsonl" for version in versions[-1:]]
    return chain(rows, *(read_trained(file) for file in files if file.exists()))


def _documents(config: Path) -> "list[Document]":
    """For `approve`, which also works where there is no project: then passages are not shown."""
    from evaluation.drafts.documents import read_documents
    from tandem.project.project import load

    if config == DEFAULT and not config.exists():
        return []
    return list(read_documents(load(config).retrieval).documents)


def _writer(project: "Project", model: str | None, url: str | None) -> "Writer | None":
    from evaluation.drafts.drafting import Writer

    if model is None:
        if url is not None:
            raise TandemError("--url names an endpoint and no model.", "Both, or --model alone.", "Add --model.")
        return None
    return Writer(url or f"http://127.0.0.1:{project.serving.port}/v1", model)


def _nothing_drafted(drafted: "Drafted") -> TandemError:
    return TandemError(
        f"Nothing in the documents could be made a question of.{_left_out(drafted)} {drafted.gave_up or ''}".rstrip(),
        "Facts such as `key: value`, bullets, tables, or prose and a model (--model) that reads it.",
        "Add --model, or write the questions by hand.",
    )


def _left_out(drafted: "Drafted") -> str:
    reasons = [f"{number:,} because {reason}" for reason, number in sorted(drafted.left_out.items()) if number]
    return f" Left out: {'; '.join(reasons)}." if reasons else ""


def _refuse_to_replace(path: Path) -> None:
    if path.exists():
        raise TandemError(f"There is already a file {path}.", "A new file.", "Remove it first, or name another one.")


def _write_new(texts: dict[Path, str]) -> None:
    """All of the files or none: what is there already stays."""
    from cluster.storage.files import write_atomically

    for path in texts:
        _refuse_to_replace(path)
    for path, text in texts.items():
        try:
            write_atomically(path, text)
        except OSError as error:
            raise TandemError(
                f"{path} cannot be written ({error.strerror}).", "A folder that you may write to.", "Name another."
            ) from error
