"""Part numbers, error codes and the like come first where they are found exactly.

    hits = put_exact_first(fuse_rankings(legs, ranking), "price of P-0417")

An embedding knows little of numbers, so the passage with P-0795 may have the better cosine. What names one thing and
stands in few of the candidates is no matter of likeness: passages that hold it go before all others.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import regex

from retrieval.analysis.normalization import folded
from retrieval.analysis.words import names_of
from retrieval.search.hits import Hit

MAX_SHARE, MAX_HITS = 0.1, 3
"""A name in more of the candidates than this share, and than so many of them, is a word like others: CO2, H1, 2026."""
MIN_DIGITS = 4
"""A number of fewer digits counts or measures something rather than naming it; 2.3.1 has two signs and is a version."""
_NUMBER = regex.compile(r"[\p{N}.]+")


def put_exact_first(hits: Sequence[Hit], question: str) -> list[Hit]:
    """The fused hits in their order, those that hold more of the rare names in the question first.

    Their fused scores are scaled to the new order: they end at 1 and say nothing across searches, as before.
    """
    wanted = {name for name in names_of(folded(question)) if _names_one_thing(name)}
    if not wanted or len(hits) < 2:
        return list(hits)
    held = [wanted & _names_in(f"{hit.title}\n{hit.text}") for hit in hits]
    counts = {name: sum(name in names for names in held) for name in wanted}
    rare = {name for name, count in counts.items() if 0 < count <= max(MAX_HITS, MAX_SHARE * len(hits))}
    if not rare:
        return list(hits)
    scored = [
        _rescored(hit, (hit.score + len(names & rare)) / (1 + len(rare))) for hit, names in zip(hits, held, strict=True)
    ]
    return sorted(scored, key=lambda hit: -hit.score)


def _names_one_thing(name: str) -> bool:
    return not _NUMBER.fullmatch(name) or len(name.replace(".", "")) >= MIN_DIGITS or name.count(".") > 1


@lru_cache(maxsize=4096)
def _names_in(text: str) -> frozenset[str]:
    return frozenset(names_of(folded(text)))


def _rescored(hit: Hit, score: float) -> Hit:
    return replace(hit, score=score, scores=replace(hit.scores, fused=score))
