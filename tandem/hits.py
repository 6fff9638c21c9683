"""What `tandem search "question"` shows: each passage with where it stands and what every stage made of it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.search.hits import Hit
    from retrieval.search.search import SearchResult


def as_text(found: "SearchResult") -> str:
    """The passages, then how long each stage took, and what did not answer."""
    passages = [_passage(rank, hit) for rank, hit in enumerate(found.hits, start=1)] or ["Nothing was found."]
    took = ", ".join(f"{name.removesuffix('_ms')} {value:.1f} ms" for name, value in found.timings.items())
    missing = [f"Without {leg}: {reason}" for leg, reason in found.missing.items()]
    return "\n\n".join([*passages, "\n".join([f"({took})", *missing])])


def to_json(found: "SearchResult") -> dict[str, Any]:
    """Everything; scores are null where a stage did not see the passage."""
    hits = [{**asdict(hit), "last": hit.last_position, "citation": hit.citation} for hit in found.hits]
    return {"hits": hits, "timings": found.timings, "missing": dict(found.missing)}


def _passage(rank: int, hit: "Hit") -> str:
    scores = ", ".join(f"{stage} {score:.3f}" for stage, score in asdict(hit.scores).items() if score is not None)
    lines = [f"[{rank}] {hit.title}", f"    {hit.citation} ({scores})"]
    if hit.also_in:
        lines.append(f"    also in {', '.join(hit.also_in)}")
    return "\n".join([*lines, hit.text])
