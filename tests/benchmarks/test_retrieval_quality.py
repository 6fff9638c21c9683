"""The peers rank as they should, and hybrid is held against the best of them."""

from typing import Any, cast

import numpy as np
import pytest
import Stemmer

from benchmarks.retrieval_quality import plain_bm25, plain_dense, rows_of
from retrieval.embedding.embedder import Embedder
from retrieval.quality.evaluate import NDCG
from retrieval.quality.judgments import JudgedQuestion

DOCUMENTS = {
    "iron.md": "The symbol of iron is Fe. Iron is a metal.",
    "gold.md": "The symbol of gold is Au.",
    "wool.md": "Wool keeps sheep warm in winter.",
}
QUESTIONS = [JudgedQuestion("1", "symbol of gold", {"gold.md": 1}), JudgedQuestion("2", "warm sheep", {"wool.md": 1})]


class Letters:
    """Embeds a text as how often each letter is in it, at unit length."""

    def embed_question(self, text: str) -> list[float]:
        counts = np.array([text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"], dtype=float)
        return list(counts / np.linalg.norm(counts))

    def embed_documents(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        return np.array([self.embed_question(text) for text in texts])


def test_plain_dense_orders_by_cosine() -> None:
    same = [JudgedQuestion(str(number), text, {}) for number, text in enumerate(DOCUMENTS.values())]
    rankings = plain_dense(DOCUMENTS, same, cast(Embedder, Letters()))
    assert [ranking[0] for ranking in rankings] == list(DOCUMENTS)
    assert rankings[0] == ["iron.md", "gold.md", "wool.md"]


def test_plain_bm25_finds_words() -> None:
    first, second = plain_bm25(DOCUMENTS, QUESTIONS)
    assert first == ["gold.md", "iron.md", "wool.md"]
    assert second[0] == "wool.md"
    assert plain_bm25(DOCUMENTS, QUESTIONS, Stemmer.Stemmer("english"))[1][0] == "wool.md"


@pytest.mark.parametrize(
    ("name", "metric"),
    [("quickstart", "ndcg10_hybrid_vs_best_single"), ("x", "ndcg10_hybrid_vs_best_single: x")],
)
def test_hybrid_is_held_against_the_best_single_one(name: str, metric: str) -> None:
    values = {"our dense": 0.4, "our bm25": 0.3, "our hybrid": 0.6, "plain dense": 0.5, "plain bm25": 0.2,
              "stemmed bm25": 0.25}  # fmt: skip
    rows = rows_of(name, {key: {NDCG: [value - 0.1, value + 0.1]} for key, value in values.items()})
    best = rows[0]
    assert (best["metric"], best["baseline_name"], best["ratio"], best["target"]) == (
        metric,
        "plain dense",
        1.2,
        ">= 1.0",
    )
    assert [(row["ours"], row["baseline"]) for row in rows] == [(0.6, 0.5), (0.4, 0.5), (0.3, 0.2), (0.3, 0.25)]
