"""The run of a command: its folder, the documents that it was measured on, and how an earlier run is found again."""

import contextlib
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import interrupts
from cluster.errors import TandemError
from cluster.storage.files import write_atomically
from cluster.storage.runs import Run
from retrieval.index.report import IndexReport
from tandem.console import Console
from tandem.project.project import Project

DOCUMENTS = "documents.tsv.gz"


@contextlib.contextmanager
def recorded(project: Project, verb: str, console: Console, interrupted: Run | None = None) -> Iterator[Run]:
    """A run folder whose manifest says how the block ended, and when each stage did (seconds since the start)."""
    run = interrupted
    try:
        with interrupts.deferred():
            run = run or Run.start(project.storage, project.name, verb, project.resolved())
        with run.held():
            try:
                yield run
                with interrupts.deferred():
                    run.finish("done", stages=console.stages)
            except BaseException as error:
                _finish(run, error, console)
                raise
    except KeyboardInterrupt as error:
        if run is not None and interrupted is None:
            _finish(run, error, console)
        raise


def _finish(run: Run, error: BaseException, console: Console) -> None:
    """Write how a run ended: an interrupt may have become another error on its way."""
    if run.status not in ("running", "unknown"):
        return
    with contextlib.suppress(OSError):  # what went wrong first is what counts, such as a full disk
        if isinstance(error, KeyboardInterrupt) or interrupts.exit_code() is not None:
            console.stage("stopped", "interrupted; everything that was started has been ended")
            run.finish("interrupted", stages=console.stages)
        else:
            run.finish("failed", stages=console.stages, error=str(error) or type(error).__name__)


def find_run(project: Project, name: str) -> Path:
    """The folder of an earlier comparison: by its name, its path, or the newest that has ended (`last`).

    Raises:
        TandemError: there is none.
    """
    runs = project.storage.runs(project.name)
    project.storage.fetch(project.name, "compare-*/report.json", f"compare-*/{DOCUMENTS}")
    ended = sorted(path.parent.name for path in runs.glob("compare-*/report.json"))
    if name == "last" and ended:
        return runs / ended[-1]
    for folder in (runs / name, Path(name)):
        if (folder / "report.json").is_file():
            return folder
    raise TandemError(
        f"There is no comparison {name!r} that has ended.",
        f"`last`, a folder, or one of {', '.join(ended[-5:])}." if ended else "A comparison that has ended.",
        "Name one of them." if ended else "Run `tandem compare` first.",
    )


@dataclass
class Inventory:
    """What the collection held when it was measured: each document with its digest, in a file of the run's folder.

    `folder` is the run's; `timings` a file of the project, in which the time of a whole indexing is kept. `digest` is
    that of all documents, by which kept answers are found again; it is empty until they are written.
    """

    folder: Path
    timings: Path
    digest: str = ""
    seconds: float | None = None
    """Of a whole indexing; None where none was timed."""

    def write(self, documents: Iterable[tuple[str, str]]) -> None:
        """Write names and digests, in the order of the names."""
        hashed = hashlib.sha256()
        with gzip.open(self.folder / DOCUMENTS, "wt", encoding="utf-8", compresslevel=1) as file:
            for source, digest in documents:
                line = f"{json.dumps(source)}\t{digest}\n"
                hashed.update(line.encode())
                file.write(line)
        self.digest = hashed.hexdigest()

    def record_time(self, report: IndexReport) -> None:
        """Keep how long a whole indexing takes: this one, if it was one, else as long as the last one took."""
        if report.num_chunks and report.num_embedded >= report.num_chunks:
            self.seconds = report.seconds
            write_atomically(self.timings, json.dumps({"seconds": report.seconds, "num_chunks": report.num_chunks}))
            return
        try:
            self.seconds = float(json.loads(self.timings.read_text())["seconds"])
        except (OSError, LookupError, ValueError):
            self.seconds = None


def read_documents(folder: Path) -> dict[str, str] | None:
    """Digests by name as a run's folder has them; None where it has none."""
    try:
        with gzip.open(folder / DOCUMENTS, "rt", encoding="utf-8") as file:
            pairs = (line.rstrip("\n").split("\t") for line in file)
            return {json.loads(source): digest for source, digest in pairs}
    except (OSError, EOFError, ValueError):
        return None
