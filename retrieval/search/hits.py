"""What a search finds: passages, each with the scores of all stages that saw it."""

from dataclasses import dataclass

from retrieval.prompt import Passage

LIVE_ID = "live:"
"""What the ids of a live search engine's documents begin with; those of the index are hexadecimal."""


@dataclass(frozen=True)
class Scores:
    """What each stage gave a passage; None where the stage did not see it."""

    dense: float | None = None
    """Cosine similarity of question and passage, from -1 to 1."""
    bm25: float | None = None
    """BM25, from 0 up: comparable within one search only."""
    live: float | None = None
    """The live search engine's own score: comparable within one search only."""
    fused: float | None = None
    """Of the legs together, up to 1: comparable within one search only."""
    rerank: float | None = None
    """The cross-encoder's, as the model gives it."""


NO_SCORES = Scores()


@dataclass(frozen=True)
class Hit(Passage):
    """A passage that was found. Hits are ordered by score, the best first."""

    id: str
    source: str
    """The document's path below its source folder."""
    position: int
    """Number of the (first) chunk in its document, from 0."""
    score: float
    """Of the last stage that ranked it: cosine (dense), BM25, fused (hybrid) or the cross-encoder's."""
    scores: Scores = NO_SCORES
    last: int | None = None
    """Number of the last chunk where neighbours were merged; None where it is a single chunk."""
    also_in: tuple[str, ...] = ()
    """Other sources that say the same, word for word, and were left out for it."""

    @property
    def is_live(self) -> bool:
        return self.id.startswith(LIVE_ID)

    @property
    def last_position(self) -> int:
        return self.position if self.last is None else self.last

    @property
    def citation(self) -> str:
        """Names the passage while its document stays as it is: `<source>#<position>` or `<source>#<first>-<last>`."""
        numbers = f"{self.position}" if self.last_position == self.position else f"{self.position}-{self.last_position}"
        return f"{self.source}#{numbers}"
