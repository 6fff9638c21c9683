"""`tandem data texts`: the documents of the index as rows that `training.objective: text` learns from."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from cluster.errors import TandemError
from retrieval.index.forgetting.forgotten import Forgotten
from retrieval.index.forgetting.text_identity import identity_of
from retrieval.sources.document import Document, PartialText, Unreadable
from retrieval.sources.sources import all_documents, check_sources
from tandem.commands.options import DEFAULT, PARTLY_FAILED, AsJson, ProjectFile
from tandem.console import Console, print_note
from tandem.pipeline.documents import forgotten
from tandem.project.project import load

MAX_NAMED = 20


def write_texts(
    out: Annotated[Path, typer.Argument(help="The JSONL file to write.")],
    restricted: Annotated[
        bool, typer.Option("--restricted", help="Include documents that only a tenant or some labels may see.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Write the documents of the index as rows for `training.objective: text`.

    Each row has the text of one document and its name as `id` and `source`. Documents that not everybody may see are
    left out, because a model tells what it has learnt to everybody who asks it. Exit code 3: a document cannot be read,
    and the others are written.
    """
    console, project = Console(as_json), load(config)
    if out.exists() and not force:
        raise TandemError(f"{out} is there already.", "A new file.", "Name another file, or add `--force`.")
    check_sources(project.retrieval.sources)
    texts = _Texts(forgotten(project).read(), restricted)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for row in texts.rows(all_documents(project.retrieval.sources)):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                console.progress(f"read {texts.num_read:,} documents")
        if not texts.num_read:
            raise TandemError(
                "No document has a text that may be trained on.",
                "At least one document that can be read and that everybody may see.",
                "Correct `retrieval.sources`, or add `--restricted` to include what only some may see.",
            )
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    left_out, unreadable = texts.left_out, texts.unreadable
    for each in unreadable[:MAX_NAMED]:
        print_note(f"{each['source']} {each['reason']}")
    for each in texts.partial[:MAX_NAMED]:
        print_note(f"{each['source']}: written, but {each['reason']}")
    also = "".join(f", {number:,} left out as {why}" for why, number in left_out.items())
    also += f", {len(unreadable):,} cannot be read" if unreadable else ""
    console.result(
        f"{texts.num_read:,} texts are written to {out}{also}.",
        {
            "path": str(out),
            "num_texts": texts.num_read,
            "left_out": dict(left_out),
            "unreadable": unreadable,
            "partial": texts.partial,
        },
    )
    console.hint(f"set `training.objective: text` and `training.data: {out}`, then run `tandem data check`.")
    if unreadable:
        raise typer.Exit(PARTLY_FAILED)


@dataclass
class _Texts:
    """The documents that may be trained on, one at a time, and what became of the others."""

    forgotten: Forgotten
    with_restricted: bool
    num_read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    partial: list[dict[str, str]] = field(default_factory=list)
    """What was left out of texts that were written."""

    def rows(self, documents: Iterable[Document]) -> Iterator[dict[str, str]]:
        for document in documents:
            if reason := self._why_not(document):
                self.left_out[reason] += 1
                continue
            try:
                text = document.read()
            except Unreadable as error:
                self.unreadable.append({"source": document.source, "reason": str(error)})
                continue
            if self.forgotten.find_text(identity_of(text), document.origin):
                self.left_out["forgotten"] += 1
                continue
            if not text.strip():
                self.left_out["empty"] += 1
                continue
            if isinstance(text, PartialText):
                self.partial += [{"source": document.source, "reason": reason} for reason in text.left_out]
            self.num_read += 1
            yield {"id": document.source, "source": document.source, "text": text}

    def _why_not(self, document: Document) -> str | None:
        if self.forgotten.find(document.source, document.origin):
            return "forgotten"
        is_restricted = bool(document.attributes.tenant or document.attributes.access)
        return "restricted" if is_restricted and not self.with_restricted else None
