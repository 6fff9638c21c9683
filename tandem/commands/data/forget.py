"""`tandem forget`: a document is removed from the collection, and left out by what indexes it later."""

from typing import Annotated

import typer

from retrieval.index.forgetting.forget import Forgetting, forget_document, restore_document
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.pipeline import document_copies
from tandem.pipeline.documents import identity, milvus
from tandem.project.project import Project, load


def forget(
    source: Annotated[str, typer.Argument(help="The document, as `tandem search` names it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let the next `tandem index` add it again.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Remove a document from the index and keep it out.

    It is known by where it is kept and by what it says: `tandem index` leaves it out while its file exists, and under
    another name, in another format or from another source too. Documents with the same text go with it. The answers of
    comparisons and the drafted questions that were made from it are removed; what still knows it is named.
    """
    console, project = Console(as_json), load(config)
    if undo:
        _take_back(project, source, console)
        return
    kept = project.storage.forgotten(project.collection)
    with milvus(project) as uri:
        retrieval = project.retrieval
        forgetting = forget_document(
            project.collection, source, uri, kept, retrieval.milvus, retrieval.sources, identity(project)
        )
    names = {source, *forgetting.rows}
    also = sorted(names - {source})
    adapters = document_copies.adapters_trained_on(project, names)
    num_answers = document_copies.remove_answers(project, names)
    drafts = document_copies.remove_drafts(project, names)
    num_raft_files = document_copies.remove_raft_rows(project)
    named_in = document_copies.named_in(project, names)
    value = {
        "source": source, "forgotten": True, "num_rows": forgetting.num_rows, "also": also, "num_answers": num_answers,
        "num_drafts": sum(drafts.values()), "adapters": adapters, "named_in": named_in,
        "reasons": list(forgetting.reasons),
    }  # fmt: skip
    removed = [f"{forgetting.num_rows} rows from {project.collection}"]
    removed += [f"{num_answers} answers of comparisons"] * bool(num_answers)
    removed += [f"{number} drafted questions from {path.name}" for path, number in drafts.items()]
    removed += [f"{num_raft_files} files with rows for `raft`"] * bool(num_raft_files)
    lines = [f"{source} is forgotten. Removed: {', '.join(removed)}.", *_limits(forgetting, also, adapters, named_in)]
    console.result("\n".join(lines), value)
    console.hint("remove the file and its backups too; `tandem forget --undo` lets the document in again.")


def _limits(forgetting: Forgetting, also: list[str], adapters: list[str], named_in: list[str]) -> list[str]:
    """What went with it, and what still knows it, in whole sentences."""
    lines = [f"The same text was removed as {', '.join(also)} too."] * bool(also)
    lines += forgetting.reasons
    lines += [f"These were trained on it and still know it: {', '.join(adapters)}."] * bool(adapters)
    return lines + [f"It is still named in {', '.join(named_in)}: change or remove these."] * bool(named_in)


def _take_back(project: Project, source: str, console: Console) -> None:
    left = restore_document(project.collection, source, project.storage.forgotten(project.collection))
    text = f"{source} is taken in again by the next `tandem index`."
    console.result("\n".join([text, *left]), {"source": source, "forgotten": False, "reasons": left})
