"""nDCG@10 of our dense, BM25 and hybrid search on judged collections, beside bm25s and brute-force dense search.

python -m benchmarks.retrieval_quality                        # the quickstart's documents and questions
python -m benchmarks.retrieval_quality cranfield nfcorpus     # and BEIR folders

The peers search whole documents, as BEIR does: bm25s as it is installed and with an English stemmer, and the same
embedding model with numpy.
"""

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import Stemmer

from benchmarks.results import ratio_row, write
from retrieval.config import RetrievalConfig
from retrieval.embedding.embedder import Embedder
from retrieval.index.indexing import index_documents
from retrieval.quality.evaluate import NDCG, Scores, bootstrap_interval, evaluate_search, score_ranking
from retrieval.quality.judgments import JudgedQuestion, JudgedSet, read_judgments, write_documents
from retrieval.sources import sources
from retrieval.sources.config import FolderSource
from retrieval.store.milvus_lite import local_server

QUICKSTART = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
DEPTH = 10
SINGLES = ("our dense", "our bm25", "plain dense", "plain bm25", "stemmed bm25")


@dataclass(frozen=True)
class Collection:
    name: str
    documents: Path
    judged: JudgedSet


def main(folders: list[str]) -> None:
    """Measure each collection and write benchmarks/results/retrieval-quality-<machine>.json."""
    rows, notes = (
        list[dict[str, Any]](),
        ["Hybrid beside the best of the four others; differences with 95 % intervals."],
    )
    with tempfile.TemporaryDirectory() as scratch, local_server(Path(scratch) / "milvus") as uri:
        questions = read_judgments(QUICKSTART / "data" / "questions.jsonl")
        collections = [Collection("quickstart", QUICKSTART / "docs", questions)]
        collections += [from_beir(Path(folder), Path(scratch)) for folder in folders]
        for collection in collections:
            scores = measured(collection, uri)
            rows += rows_of(collection.name, scores)
            notes.append(note_of(collection, scores))
            print(notes[-1])
    print(write("retrieval-quality", rows, " ".join(notes)))


def from_beir(folder: Path, scratch: Path) -> Collection:
    """A BEIR folder, its documents written as files."""
    judged, name = read_judgments(folder), folder.resolve().name
    documents = scratch / name
    documents.mkdir()
    assert judged.corpus
    write_documents(judged.corpus, documents)
    return Collection(name, documents, judged)


def measured(collection: Collection, uri: str) -> dict[str, Scores]:
    """The scores of each way to search, by its name."""
    source = FolderSource(path=collection.documents)
    config, name = RetrievalConfig(sources=(source,)), re.sub("[^a-z0-9]+", "-", collection.name.lower())
    index_documents(config, name, uri, lambda line: None)
    found = evaluate_search(config, uri, name, collection.judged, lambda line: None)
    questions = collection.judged.questions
    documents = {document.source: document.read() for document in sources.all_documents(config.sources)}
    return {
        **{f"our {mode.mode}": mode.scores for mode in found.modes},
        "plain dense": score_ranking(questions, plain_dense(documents, questions, Embedder(config.embedding_model))),
        "plain bm25": score_ranking(questions, plain_bm25(documents, questions)),
        "stemmed bm25": score_ranking(questions, plain_bm25(documents, questions, Stemmer.Stemmer("english"))),
    }


def plain_dense(documents: dict[str, str], questions: list[JudgedQuestion], embedder: Embedder) -> list[list[str]]:
    """The ten documents with the largest cosine, by brute force; the model cuts off what it does not read."""
    vectors = embedder.embed_documents(list(documents.values()))
    asked = np.array([embedder.embed_question(question.question) for question in questions])
    best = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :DEPTH]
    sources = list(documents)
    return [[sources[column] for column in row] for row in best]


def plain_bm25(documents: dict[str, str], questions: list[JudgedQuestion], stemmer: Any = None) -> list[list[str]]:
    """bm25s with its own defaults: English stop words, k1 1.5, b 0.75; no stemming but by `stemmer`."""
    import bm25s

    retriever = bm25s.BM25()
    indexed = bm25s.tokenize(list(documents.values()), stemmer=stemmer, show_progress=False)
    retriever.index(indexed, show_progress=False)
    asked = bm25s.tokenize([question.question for question in questions], stemmer=stemmer, show_progress=False)
    best = retriever.retrieve(asked, corpus=list(documents), k=min(DEPTH, len(documents)), show_progress=False)
    return [list(row) for row in best.documents]


def rows_of(name: str, scores: dict[str, Scores]) -> list[dict[str, Any]]:
    """Hybrid beside the best single one, and each of ours beside the plain one of its kind."""
    of = "" if name == "quickstart" else f": {name}"
    means = {key: round(float(np.mean(values[NDCG])), 4) for key, values in scores.items()}
    best = max(SINGLES, key=means.__getitem__)
    return [
        ratio_row(f"ndcg10_hybrid_vs_best_single{of}", "nDCG@10", means["our hybrid"], means[best], best, ">= 1.0"),
        ratio_row(f"ndcg10_dense{of}", "nDCG@10", means["our dense"], means["plain dense"], "plain dense"),
        ratio_row(f"ndcg10_bm25{of}", "nDCG@10", means["our bm25"], means["plain bm25"], "plain bm25 (bm25s)"),
        ratio_row(
            f"ndcg10_bm25_stemmed{of}",
            "nDCG@10",
            means["our bm25"],
            means["stemmed bm25"],
            "bm25s with an English stemmer",
            ">= 1.0",
        ),
    ]


def note_of(collection: Collection, scores: dict[str, Scores]) -> str:
    """The differences between hybrid and each other."""
    told = []
    for name in SINGLES:
        values = np.subtract(scores["our hybrid"][NDCG], scores[name][NDCG]).tolist()
        low, high = bootstrap_interval(values) or (float("nan"), float("nan"))
        told.append(f"{name} {np.mean(values):+.3f} ({low:+.3f} to {high:+.3f})")
    return f"{collection.name}, {len(collection.judged.questions)} questions: hybrid less {', '.join(told)}."


if __name__ == "__main__":
    main(sys.argv[1:])
