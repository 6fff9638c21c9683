"""`tandem forget`: a document is removed from the collection, and left out by what indexes it later."""

import json
from typing import Annotated

import typer

from cluster.registry.registry import AdapterVersion, Registry
from evaluation.asking.answer_cache import forget_answers
from retrieval.index.forgetting import forget_document, restore_document
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.pipeline.documents import milvus
from tandem.project.project import Project, load


def forget(
    source: Annotated[str, typer.Argument(help="The document, as `tandem search` names it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let the next `tandem index` add it again.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a document from the index and keep it out.

    `tandem index` leaves the document out even while its file still exists. Answers of comparisons that were given
    from it are removed too, and adapters that were trained on it are named.
    """
    console, project = Console(as_json), load(config)
    if undo:
        _take_back(project, source, console)
        return
    kept = project.storage.forgotten(project.collection)
    with milvus(project) as uri:
        num_rows = forget_document(project.collection, source, uri, kept, project.retrieval.milvus)
    adapters = adapters_trained_on(project, source)
    num_answers = forget_answers(project.storage.answers(project.name), source)
    text = f"{source} is forgotten: {num_rows} rows are removed from {project.collection}"
    text += f", and {num_answers} answers of comparisons that were given from it." if num_answers else "."
    if adapters:
        text += f"\nThese were trained on it and still know it: {', '.join(adapters)}."
    value = {
        "source": source,
        "forgotten": True,
        "num_rows": num_rows,
        "num_answers": num_answers,
        "adapters": adapters,
    }
    console.result(text, value)
    console.hint("remove its file too; `tandem forget --undo` lets it in again.")


def adapters_trained_on(project: Project, source: str) -> list[str]:
    """Versions (name@number) that were trained on rows from a document, by their trained.jsonl."""
    registry = Registry.of(project.storage)
    versions = (version for name in registry.names() for version in registry.versions(name))
    return [f"{version.name}@{version.version}" for version in versions if _is_trained_on(version, source)]


def _take_back(project: Project, source: str, console: Console) -> None:
    restore_document(project.collection, source, project.storage.forgotten(project.collection))
    console.result(f"{source} is taken in again by the next `tandem index`.", {"source": source, "forgotten": False})


def _is_trained_on(version: AdapterVersion, source: str) -> bool:
    with (version.path / "trained.jsonl").open(encoding="utf-8") as rows:
        return any(source in json.loads(row)["sources"] for row in rows)
