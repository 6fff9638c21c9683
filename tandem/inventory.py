"""What the collection held when it was measured: each document with its digest, one file in the run's folder.

From it comes the version of the index, by which kept answers are found again, and what changed since a run.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.fingerprints.digests import digest_json
from cluster.storage.files import write_atomically

if TYPE_CHECKING:
    from retrieval.config import RetrievalConfig
    from retrieval.index.report import IndexReport

DOCUMENTS = "documents.tsv.gz"


@dataclass
class Inventory:
    """`folder` is the run's; `timings` a file of the project, in which the time of a whole indexing is kept."""

    folder: Path
    timings: Path
    digest: str = ""
    seconds: float | None = None
    """Of a whole indexing; None where none was timed."""

    def write(self, documents: Iterable[tuple[str, str]]) -> None:
        """Take up names and digests, in the order of the names."""
        hashed = hashlib.sha256()
        with gzip.open(self.folder / DOCUMENTS, "wt", encoding="utf-8", compresslevel=1) as file:
            for source, digest in documents:
                line = f"{json.dumps(source)}\t{digest}\n"
                hashed.update(line.encode())
                file.write(line)
        self.digest = hashed.hexdigest()

    def version(self, config: "RetrievalConfig") -> str:
        """What decides which passages are found: the documents and every setting of the search."""
        from retrieval.prompt import PROMPT_HASH

        return digest_json([self.digest, config.model_dump(mode="json", exclude={"uri"}), PROMPT_HASH])

    def take(self, report: "IndexReport") -> None:
        """Take up how long a whole indexing is: this one, if it was one, else as long as the last one was."""
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
