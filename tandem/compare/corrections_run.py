"""How soon the arms follow corrections, made to a copy of a project's documents while its endpoint serves.

The user's documents and collection are not touched; copy and collection are gone when the block ends.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cluster.errors import TandemError
from evaluation.arms import Arm
from evaluation.asking.corrections import Correction, watch_answers
from evaluation.results import Freshness
from evaluation.verdicts.freshness import freshness_of
from retrieval.config import RetrievalConfig
from retrieval.errors import RetrievalUnavailable
from retrieval.index.forgetting.forgotten import NOTHING, ForgottenSource
from retrieval.index.indexing import index_documents
from retrieval.sources.config import FolderSource
from retrieval.store.store import Store
from tandem.console import Console
from tandem.pipeline.documents import forgotten as forgotten_documents
from tandem.pipeline.endpoint import Served
from tandem.project.project import Project

SUFFIX = "-corrected"


def check_corrections(config: RetrievalConfig, corrections: Sequence[Correction]) -> None:
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


def measure_freshness(
    project: Project, served: Served, arms: Sequence[Arm], corrections: Sequence[Correction], uri: str, console: Console
) -> list[Freshness]:
    """How soon the arms of the project's own endpoint follow its corrections; nothing where there are none."""
    own = [arm for arm in arms if arm.endpoint is None]
    if not corrections or not own or served.collection is None:
        return []
    forgotten = forgotten_documents(project)
    try:
        with corrected_copy(project.retrieval, served.collection, uri, corrections, forgotten) as (copy, correct):
            moved = [replace(arm, model=arm.model.replace(f"+{served.collection}", f"+{copy}")) for arm in own]
            answers = watch_answers(project.evaluation, served.url, moved, corrections, correct, console.progress)
    except RetrievalUnavailable as error:  # the arms that need it fail each by itself; the others are still measured
        console.stage("correct", f"not measured: {error}")
        return []
    freshness = freshness_of(answers)
    counts = [
        f"{arm.title} {record.new.right} of {record.num_questions}" for arm, record in zip(own, freshness, strict=True)
    ]
    console.stage("correct", f"corrected answers: {', '.join(counts)}")
    return freshness


@contextlib.contextmanager
def corrected_copy(
    config: RetrievalConfig,
    collection: str,
    uri: str,
    corrections: Sequence[Correction],
    forgotten: ForgottenSource = NOTHING,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The name of a collection with the documents as they are, and a function that makes and indexes the corrections.

    `forgotten` says which documents are left out, as from the project's collection.
    """
    name = f"{collection}{SUFFIX}"
    with tempfile.TemporaryDirectory(prefix="tandem-corrected-") as scratch:
        copies = [_copied(source, Path(scratch) / str(number)) for number, source in enumerate(_folders(config))]
        copied = config.model_copy(update={"sources": tuple(copies)})
        places = {str(source.path): str(copy.path) for source, copy in zip(_folders(config), copies, strict=True)}
        left_out = forgotten.read().moved(places)

        def sync() -> None:
            index_documents(copied, name, uri, on_progress=lambda text: None, forgotten=left_out)

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
