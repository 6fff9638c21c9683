"""`tandem init`: a project file from a folder of documents and a model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import TandemError
from cluster.storage.files import write_once
from tandem.commands.options import DEFAULT, ProjectFile
from tandem.console import Console

SUGGESTED_MODEL = "Qwen/Qwen3-0.6B"
TEMPLATE = """\
# What Tandem works on. Every key has a default; `tandem ask "..."` needs no more than this.
model: {model}
storage: ./runs
retrieval:
  sources: [{documents}]

# To measure fine-tuning against retrieval, add rows and questions, then run `tandem compare`:
# training:
#   data: train.jsonl          # lines such as {{"prompt": "...", "completion": "..."}}
# evaluation:
#   questions: questions.jsonl # lines such as {{"id": "1", "slice": "facts", "question": "...", "answers": ["..."]}}
"""


def init(
    documents: Annotated[Path | None, typer.Argument(help="A folder with your documents.")] = None,
    model: Annotated[str | None, typer.Option(help="A hub id such as Qwen/Qwen3-0.6B, or a folder.")] = None,
    config: ProjectFile = DEFAULT,
) -> None:
    """Write a project file for a folder of documents and a model.

    Asks for the folder and the model where they are not given.
    """
    folder = documents or Path(typer.prompt("Folder with your documents", default="docs"))
    name = model or typer.prompt("Model (a hub id or a folder)", default=SUGGESTED_MODEL)
    console = Console()
    write_project(config, folder, name)
    console.result(f"Wrote {config}.", None)
    console.hint('ask your documents something: tandem ask "..."')


def write_project(path: Path, documents: Path, model: str) -> None:
    """Write the project file; one that is already there stays as it is.

    Raises:
        TandemError: there is a project file already, or no such folder of documents.
    """
    if not documents.exists():
        raise TandemError(
            f"There is no {documents}.", "A folder with Markdown, text, HTML, PDF or Office files.", "Check the path."
        )
    text = TEMPLATE.format(
        model=_written(Path(model), path, model), documents=_written(documents, path, str(documents))
    )
    if not write_once(path, text):
        raise TandemError(
            f"There is already a project file {path}.", "A new file.", "Remove it first, or name another with -c."
        )


def _written(target: Path, project_file: Path, otherwise: str) -> str:
    """A path for the project file: relative where it lies below that file, else absolute; quoted for YAML."""
    if not target.exists():
        return json.dumps(otherwise)
    absolute, home = target.resolve(), project_file.absolute().parent.resolve()
    relative = absolute.relative_to(home) if absolute.is_relative_to(home) else absolute
    return json.dumps(str(relative) if relative.is_absolute() else f"./{relative.as_posix()}")
