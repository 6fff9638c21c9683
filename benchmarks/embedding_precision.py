"""What embedding documents in bf16 changes: cosines, and which chunks a question in fp32 finds.

python -m benchmarks.embedding_precision

Two collections: the quickstart's documents with its judged questions, and the topics of Python's own documentation
(`pydoc_data.topics`), where a chunk's first twelve words are the question for it. Runs on a CPU, whose bf16 rounds as a
GPU's does; the order of additions differs there.
"""

import pydoc_data.topics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.results import ratio_row, row, write
from retrieval.config import RetrievalConfig
from retrieval.embedding.embedder import Embedder
from retrieval.index.chunking import chunk_document
from retrieval.quality.judgments import read_judgments
from retrieval.sources import sources
from retrieval.sources.config import FolderSource

QUICKSTART = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
Ranks = npt.NDArray[np.int64]
DEPTHS = (1, 3, 10)
WORDS = 12


@dataclass(frozen=True)
class Collection:
    """Chunks, each with the document that it is of, and questions, each with the document or chunk that answers it."""

    name: str
    chunks: list[str]
    labels: list[str]
    questions: list[str]
    answers: list[frozenset[str]]


def main() -> None:
    """Measure both collections and write benchmarks/results/embedding-precision-<machine>.json."""
    model = RetrievalConfig().embedding_model
    stored, bf16 = Embedder(model, "cpu"), Embedder(model, "cpu")
    bf16.precision = "bf16"
    rows: list[dict[str, Any]] = []
    for collection in (quickstart(stored), python_topics(stored)):
        rows += measured(collection, stored, bf16)
    notes = "Questions as stored (fp32); documents in fp32 and in bf16. Model: all-MiniLM-L6-v2, on a CPU with bf16."
    for each in rows:
        print(each["metric"], each["ours"], each["baseline"] or "")
    print(write("embedding-precision", rows, notes))


def quickstart(embedder: Embedder) -> Collection:
    """The documents in chunks of the default size; an answer is the document that is judged to hold it."""
    config = RetrievalConfig(sources=(FolderSource(path=QUICKSTART / "docs"),))
    judged = read_judgments(QUICKSTART / "data" / "questions.jsonl").questions
    chunks, labels = list[str](), list[str]()
    for document in sources.all_documents(config.sources):
        title = Path(document.source).stem
        cut = chunk_document(document.read(), title, config.chunk_tokens, embedder.count_tokens, document.markup)
        chunks += [f"{chunk.title}\n{chunk.text}" for chunk in cut]
        labels += [document.source] * len(cut)
    return Collection(
        "quickstart", chunks, labels, [each.question for each in judged], [frozenset(each.grades) for each in judged]
    )


def python_topics(embedder: Embedder) -> Collection:
    """Every chunk is the answer to its own first words."""
    chunks = [
        f"{chunk.title}\n{chunk.text}"
        for title, text in sorted(pydoc_data.topics.topics.items())
        for chunk in chunk_document(text, title, RetrievalConfig().chunk_tokens, embedder.count_tokens)
    ]
    questions = [" ".join(chunk.split("\n", 1)[-1].split()[:WORDS]) for chunk in chunks]
    labels = [str(number) for number in range(len(chunks))]
    return Collection("python-topics", chunks, labels, questions, [frozenset([label]) for label in labels])


def measured(collection: Collection, stored: Embedder, bf16: Embedder) -> list[dict[str, Any]]:
    """Cosines of the same text in both, then recall and overlap at each depth."""
    exact, rounded = stored.embed_documents(collection.chunks), bf16.embed_documents(collection.chunks)
    asked = np.concatenate([stored.embed_questions(part) for part in _parts(collection.questions)])
    apart = 1 - np.sum(exact * rounded, axis=1)
    by_exact, by_rounded = (np.argsort(-(asked @ vectors.T), axis=1, kind="stable") for vectors in (exact, rounded))
    changes, name = np.abs(asked @ (exact - rounded).T), collection.name
    return [
        row(f"cosine_distance_mean: {name}", f"1 - cosine, {len(apart)} chunks", float(f"{apart.mean():.2e}")),
        row(f"cosine_distance_max: {name}", f"1 - cosine, {len(apart)} chunks", float(f"{apart.max():.2e}")),
        row(f"score_change_mean: {name}", "cosine", float(f"{changes.mean():.2e}")),
        row(f"score_change_max: {name}", "cosine", float(f"{changes.max():.2e}")),
        *(each for depth in DEPTHS for each in _at(depth, collection, by_exact, by_rounded)),
    ]


def _parts(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), 64):
        yield texts[start : start + 64]


def _at(depth: int, collection: Collection, exact: Ranks, rounded: Ranks) -> list[dict[str, Any]]:
    overlap = [len({*a[:depth]} & {*b[:depth]}) / depth for a, b in zip(exact.tolist(), rounded.tolist(), strict=True)]
    in_bf16, in_fp32 = _recall(depth, collection, rounded), _recall(depth, collection, exact)
    unit = f"share of {len(collection.questions)} questions"
    return [
        ratio_row(f"recall_at_{depth}: {collection.name}", unit, in_bf16, in_fp32, "fp32"),
        row(f"overlap_at_{depth}: {collection.name}", "share of the chunks found", round(float(np.mean(overlap)), 4)),
    ]


def _recall(depth: int, collection: Collection, ranked: Ranks) -> float:
    """Share of the questions of which an answer is among the first."""

    def found(chunks: Sequence[int], answers: frozenset[str]) -> bool:
        return any(collection.labels[chunk] in answers for chunk in chunks[:depth])

    hits = [found(chunks, answers) for chunks, answers in zip(ranked.tolist(), collection.answers, strict=True)]
    return round(float(np.mean(hits)), 4)


if __name__ == "__main__":
    main()
