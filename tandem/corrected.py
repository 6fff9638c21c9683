"""Corrections made to a copy of a project's documents, in a collection of its own, while its endpoint serves.

The user's documents and collection are not touched; copy and collection are gone when the block ends.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import TandemError
from retrieval.config import RetrievalConfig
from retrieval.sources.config import FolderSource

if TYPE_CHECKING:
    from evaluation.asking.corrections import Correction
    from retrieval.index.indexing import Forgotten

SUFFIX = "-corrected"


def check(config: RetrievalConfig, corrections: "Sequence[Correction]") -> None:
    """Raises TandemError where a correction does not fit its document. Cheap: call it before anything is started."""
    for correction in corrections:
        path = _document(_folders(config), correction.source)
        count = path.read_text(encoding="utf-8", errors="replace").count(correction.find)
        if count != 1:
            raise TandemError(
                f"{path} holds {correction.find!r} {'not at all' if not count else f'{count} times'}.",
                "`find` of a correction stands in its document, once.",
                "Correct `find`, or take the correction out.",
            )


@contextlib.contextmanager
def corrected(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    corrections: "Sequence[Correction]",
    forgotten: "Forgotten" = tuple,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The name of a collection with the documents as they are, and what makes the corrections and indexes them.

    `forgotten` tells which documents are left out, as from the project's own collection.
    """
    from retrieval.index.indexing import index
    from retrieval.store.store import Store

    name = f"{collection}{SUFFIX}"
    with tempfile.TemporaryDirectory(prefix="tandem-corrected-") as scratch:
        copies = [_copied(source, Path(scratch) / str(number)) for number, source in enumerate(_folders(config))]
        copied = config.model_copy(update={"sources": tuple(copies)})

        def sync() -> None:
            index(copied, name, uri, on_progress=lambda text: None, forgotten=forgotten)

        def correct() -> None:
            for correction in corrections:
                path = _document(copies, correction.source)
                path.write_text(path.read_text(encoding="utf-8").replace(correction.find, correction.replace))
            sync()

        try:
            sync()
            yield name, correct
        finally:
            with contextlib.closing(Store(uri, config.milvus)) as store:
                store.drop(name)


def _folders(config: RetrievalConfig) -> list[FolderSource]:
    folders = [source for source in config.sources if isinstance(source, FolderSource)]
    if len(folders) < len(config.sources) or not folders:
        raise TandemError(
            "`evaluation.corrections` are made to a copy of the documents, and these are not all in folders.",
            "`retrieval.sources` with folders and files only.",
            "Take `evaluation.corrections` out.",
        )
    return folders


def _copied(source: FolderSource, place: Path) -> FolderSource:
    """The source over a copy of its files, under the name that its documents had."""
    target = place / source.path.name
    if source.path.is_dir():
        shutil.copytree(source.path, target)
    else:
        place.mkdir(parents=True)
        shutil.copy2(source.path, target)
    return source.model_copy(update={"path": target, "name": source.title})


def _document(sources: Sequence[FolderSource], name: str) -> Path:
    """The file of a document: its name as questions give it, below one of the folders."""
    for source in sources:
        folder = source.path if source.path.is_dir() else source.path.parent
        for path in (folder / name, folder / name.removeprefix(f"{source.title}/")):
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                return path
    raise TandemError(
        f"The document {name} of a correction is in none of {', '.join(str(source.path) for source in sources)}.",
        "`source`: a document's path, relative to its folder.",
        "Correct `source`, or take the correction out.",
    )
