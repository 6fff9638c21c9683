"""What the retrieval benchmark searches: generated documents and vectors, and the servers that hold them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil

from retrieval.store.collection import ChunkRow
from tests.retrieval.sources.parsing.pdf.pages import Pdf, text

LETTERS = "aeioulnrstmdkpg"
NUM_WORDS = 20_000
NUM_TOPICS, LATENT_DIMENSIONS = 2_000, 32


class Prose:
    """Sentences of invented words that come as often as words do (Zipf)."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = Random(seed)
        self.words = ["".join(self.rng.choices(LETTERS, k=self.rng.randint(3, 9))) for _ in range(NUM_WORDS)]
        self.weights = [1 / rank for rank in range(1, NUM_WORDS + 1)]

    def words_of(self, number: int) -> str:
        return " ".join(self.rng.choices(self.words, self.weights, k=number))


def write_documents(folder: Path, num_documents: int, parts: int = 10, words: int = 30) -> Path:
    """Documents of so many chunks, each of three to four tokens a word."""
    folder.mkdir(parents=True)
    prose = Prose()
    for number in range(num_documents):
        sections = [f"## Part {part}\n\n{prose.words_of(words)}.\n" for part in range(parts)]
        (folder / f"{number:06}.md").write_text(f"# Document {number}\n\n" + "\n".join(sections))
    return folder


def pdf(num_pages: int, seed: int = 0) -> bytes:
    """A PDF with 46 lines of ten words on each page."""
    written, prose = Pdf(), Prose(seed)
    for _ in range(num_pages):
        written.page(*[text(prose.words_of(10), 72, 740 - 15 * line, 9) for line in range(46)])
    return written.written()


def rows_of(vectors: Any, start: int) -> list[ChunkRow]:
    """A row for each of `vectors` `[n, dimensions]`, ten to a document."""
    return [
        ChunkRow(f"{number:032}", f"{number // 10}.md", "", 10, number, f"Chunk\nNumber {number}", vector)
        for number, vector in enumerate(vectors.tolist(), start)
    ]


def clustered(number: int, dimensions: int, seed: int = 0) -> Any:
    """Unit vectors `[number, dimensions]` in float32 that lie as embeddings of texts do: around topics, and near a
    surface of few dimensions. All seeds share topics and surface, so that questions fall where documents are.

    Their local intrinsic dimension (maximum likelihood, 20 neighbours, 3,000 vectors) is 21; that of 3,000 passages of
    MS MARCO by all-MiniLM-L6-v2 is 12: this is the harder of the two to find neighbours in.
    """
    fixed, rng = np.random.default_rng(99), np.random.default_rng(seed)
    surface = fixed.standard_normal((LATENT_DIMENSIONS, dimensions), dtype=np.float32)
    topics = fixed.standard_normal((NUM_TOPICS, LATENT_DIMENSIONS), dtype=np.float32)
    points = topics[rng.integers(NUM_TOPICS, size=number)]
    points += 0.7 * rng.standard_normal((number, LATENT_DIMENSIONS), dtype=np.float32)
    return unit(points @ surface + 0.5 * rng.standard_normal((number, dimensions), dtype=np.float32))


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@contextmanager
def milvus_server(folder: Path) -> Iterator[tuple[str, int]]:
    """The server of the package `milvus`: its URI and its process id."""
    from milvus import MilvusServer

    server = MilvusServer()
    server.set_base_dir(str(folder))
    # Its `stop` kills it, and what runs next would wait until the killed one's session ends, by default 30 s.
    server.config.set("common.session.ttl", 5)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.listen_port}", server.server_proc.pid
    finally:
        server.stop()


def resident_gib(pid: int) -> float:
    """Memory of a process and its children in GiB."""
    process = psutil.Process(pid)
    return round(sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 2**30, 2)
