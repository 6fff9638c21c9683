"""`tandem questions export`: the test questions in the format of lm-evaluation-harness, promptfoo or ragas."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from evaluation.config import EvaluationConfig
from evaluation.drafts.documents import read_documents
from evaluation.drafts.draft_files import refuse_draft
from evaluation.exports.export import Export, Tool, name_of
from evaluation.exports.lm_eval import export_lm_eval
from evaluation.exports.promptfoo import export_promptfoo
from evaluation.exports.ragas import export_ragas
from evaluation.questions.files import load_questions
from evaluation.replies import Reply
from evaluation.verdicts.drift import read_report
from tandem.commands.options import DEFAULT, PARTLY_FAILED, AsJson, ProjectFile
from tandem.console import Console, print_note
from tandem.pipeline.document_copies import without_forgotten
from tandem.pipeline.runs import find_run
from tandem.project.project import Project, load

PORT = 8000
SHOWN_IDS = 10
OUT: dict[Tool, str] = {"lm-eval": "lm-eval", "promptfoo": "promptfooconfig.yaml", "ragas": "ragas.jsonl"}


def export(
    file: Annotated[Path, typer.Argument(help="A questions file.")],
    to: Annotated[Tool, typer.Option("--to", help="The tool whose format is written.")],
    out: Annotated[
        Path | None,
        typer.Option(help="What to write: a folder for lm-eval, else a file. Default: a name in the current folder."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    model: Annotated[str, typer.Option(help="The model that promptfoo asks.")] = "base",
    url: Annotated[
        str | None, typer.Option(help="The address of its endpoint, with /v1. Without: the project's endpoint.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="For ragas: a comparison, or `last`, whose answers are the responses.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="For ragas: the arm of that comparison.")] = None,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write the test questions in the format of lm-eval, promptfoo or ragas.

    A question that the other tool cannot take is named with the reason. Exit code 3: there are such questions, and the
    others are written.
    """
    refuse_draft(file)
    questions = load_questions(file)
    project = None if config == DEFAULT and not config.exists() else load(config)
    settings = project.evaluation if project else EvaluationConfig()
    url = url or f"http://127.0.0.1:{project.serving.port if project else PORT}/v1"
    out = out or Path(OUT[to])
    replies = _replies(project, to, run, arm)
    if to == "lm-eval":
        export = export_lm_eval(questions, name_of(file), settings.max_tokens)
    elif to == "promptfoo":
        judge = (settings.judge.model, settings.judge.url or url) if settings.judge else None
        export = export_promptfoo(questions, out.name, model, url, settings.max_tokens, judge)
    else:
        export = export_ragas(questions, out.name, _texts_of(project), replies)
    if not export.files:
        raise TandemError(
            f"None of the {len(questions):,} questions can be exported to {to}: {_left_out(export)}.",
            "Questions of a kind that the tool can grade.",
            "Choose another tool, or add such questions.",
        )
    folder = out if to == "lm-eval" else out.parent
    _write({folder / name: text for name, text in export.files.items()}, force)
    _print(export, len(questions), out, Console(as_json), _command(to, out, file, model, url))
    if export.left_out:
        raise typer.Exit(PARTLY_FAILED)


def _replies(project: Project | None, to: Tool, run: str | None, arm: str | None) -> Mapping[str, Reply] | None:
    """An arm's answers of a comparison, by question id."""
    if run is None and arm is None:
        return None
    if to != "ragas" or run is None or arm is None or project is None:
        raise TandemError(
            "--run and --arm name the answers of an export to ragas; here something is missing.",
            "Both of them, --to ragas, and a project file (-c) whose comparison it is.",
            "Give all of them, or neither --run nor --arm.",
        )
    report = read_report(find_run(project, run) / "report.json")
    if arm not in (names := [each.name for each in report.arms]):
        raise TandemError(f"{report.run} has no arm {arm!r}.", f"One of {', '.join(names)}.", "Name one of them.")
    return {row.question.id: row.replies[arm] for row in report.rows}


def _texts_of(project: Project | None) -> Callable[[str], Sequence[str]] | None:
    if project is None or not project.retrieval.sources:
        return None
    documents = without_forgotten(project, read_documents(project.retrieval))
    return lambda source: [document.text for document in documents.find(source)[:1]]


def _write(files: Mapping[Path, str], force: bool) -> None:
    """All of the files or none: without --force what is there already stays."""
    if there := [str(path) for path in files if path.exists() and not (force and path.is_file())]:
        raise TandemError(
            f"There is already {', '.join(there)}.",
            "A place where nothing is yet.",
            "Name another with --out, or --force.",
        )
    for number, (path, text) in enumerate(files.items()):
        try:
            write_atomically(path, text)
        except OSError as error:
            for written in list(files)[:number]:
                written.unlink(missing_ok=True)
            raise TandemError(
                f"{path} cannot be written ({error.strerror}).", "A folder that you may write to.", "Name another."
            ) from error


def _print(export: Export, num_questions: int, out: Path, console: Console, command: str) -> None:
    left_out = f" Not exported: {_left_out(export)}." if export.left_out else ""
    console.result(
        f"Wrote {export.num_exported:,} of {num_questions:,} questions to {out}.{left_out}",
        {
            "tool": export.tool, "out": str(out), "num_questions": num_questions, "num_exported": export.num_exported,
            "left_out": export.left_out, "notes": export.notes,
        },
    )  # fmt: skip
    for note in export.notes:
        print_note(note)
    console.hint(command)


def _left_out(export: Export) -> str:
    return "; ".join(f"{_some(ids)} ({reason})" for reason, ids in export.left_out.items())


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN_IDS:,} more" if len(ids) > SHOWN_IDS else ""
    return f"{', '.join(ids[:SHOWN_IDS])}{more}"


def _command(to: Tool, out: Path, file: Path, model: str, url: str) -> str:
    if to == "promptfoo":
        return f"run it: npx promptfoo eval -c {out}"
    if to == "ragas":
        return f"read it: ragas.EvaluationDataset.from_jsonl({str(out)!r})"
    return (
        f"run it: lm-eval run --include_path {out} --tasks {name_of(file)} --apply_chat_template "
        f"--model local-chat-completions --model_args model={model},base_url={url}/chat/completions"
    )
