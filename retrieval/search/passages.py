"""Ranked chunks -> the passages that are shown: near-duplicates collapsed, neighbours merged.

    passages = passages_of(candidates, top_k=3, prompt_tokens=1024)

A passage has its best chunk's place and scores, and the first one's title. Chunks do not overlap, so texts are joined
in the document's order.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from math import ceil

from retrieval.prompt import estimate_tokens, render_system
from retrieval.search.hits import Hit

NEAR_DUPLICATE = 0.9
"""Jaccard similarity of two passages' sets of five successive words, above which they say the same."""
SHINGLE_WORDS = 5
_NUMBER = re.compile(r"\d+")

Shingles = frozenset[int]
"""Hashes of successive words: numbers cost the garbage collector nothing."""


def passages_of(hits: Sequence[Hit], top_k: int, prompt_tokens: int) -> list[Hit]:
    """The best `top_k` passages of ranked chunks, which are read only as far as they are needed: comparing all of a
    hundred takes as long as finding them."""
    num_read = 2 * top_k
    while True:
        passages = merge_passages(drop_near_duplicates(hits[:num_read]), top_k, prompt_tokens)
        if len(passages) == top_k or num_read >= len(hits):
            return passages
        num_read *= 2


def drop_near_duplicates(hits: Sequence[Hit]) -> list[Hit]:
    """The hits, without those that (nearly) repeat a better one; it names their sources in `also_in`.

    Passages with different numbers are never the same: last year's price list is not this year's.
    """
    kept: list[Hit] = []
    texts: list[Shingles] = []
    holders: defaultdict[int, list[int]] = defaultdict(list)
    for hit in hits:
        shingles = _shingles(hit.text)
        first = _prefix(shingles)
        twin = _twin(hit, shingles, sorted({number for shingle in first for number in holders[shingle]}), kept, texts)
        if twin is not None:
            kept[twin] = _with_sources(kept[twin], [hit.source])
            continue
        for shingle in first:
            holders[shingle].append(len(kept))
        kept.append(hit)
        texts.append(shingles)
    return kept


def merge_passages(hits: Sequence[Hit], top_k: int, prompt_tokens: int) -> list[Hit]:
    """The best `top_k` passages: hits that stand next to each other in a document are one.

    Hits are read in their order until one would begin a passage too many. A passage grows only as long as it fits
    into `prompt_tokens`: what is cut off a longer one could be its best part.
    """
    passages: list[Hit] = []
    for hit in hits:
        if _grown(passages, hit, prompt_tokens):
            continue
        if len(passages) == top_k:
            break
        passages.append(hit)
    return passages


def widen_passages(hits: Sequence[Hit], chunks: Sequence[Hit], prompt_tokens: int) -> list[Hit]:
    """The passages with those chunks around them, the best passage first, as far as they fit into `prompt_tokens`."""
    left = list(chunks)
    wide: list[Hit] = []
    for hit in hits:
        passage = hit
        while (added := next((each for each in left if _adjoins(passage, each)), None)) is not None:
            left.remove(added)
            longer = _joined(passage, added)
            passage = longer if _fits(longer, prompt_tokens) else passage
        wide.append(passage)
    return merge_passages(wide, len(wide), prompt_tokens)


def _grown(passages: list[Hit], hit: Hit, prompt_tokens: int) -> bool:
    """Whether `hit` was joined to the best passage that it stands beside, and to a second one, if it fills the gap."""
    beside = [each for each in passages if _adjoins(each, hit)]
    for group in (beside, beside[:1]) if beside else ():
        best, *others = group
        whole = reduce(_joined, [best, hit, *others])
        if _fits(whole, prompt_tokens):
            passages[passages.index(best)] = whole
            for other in others:
                passages.remove(other)
            return True
    return False


def _shingles(text: str) -> Shingles:
    words = text.casefold().split()
    if len(words) <= SHINGLE_WORDS:
        return frozenset([hash(tuple(words))])
    return frozenset(map(hash, zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)))


def _prefix(shingles: Shingles) -> list[int]:
    """The smallest tenth: two sets that are similar enough share at least one of it (Bayardo, Ma, Srikant, WWW 2007),
    so no others need to be compared."""
    return sorted(shingles)[: len(shingles) - ceil(NEAR_DUPLICATE * len(shingles)) + 1]


def _twin(
    hit: Hit, shingles: Shingles, numbers: Sequence[int], kept: Sequence[Hit], texts: Sequence[Shingles]
) -> int | None:
    """The first of the kept hits with these numbers that says the same."""
    for number in numbers:
        shared = len(shingles & texts[number])
        similarity = shared / (len(shingles) + len(texts[number]) - shared)
        if similarity > NEAR_DUPLICATE and _NUMBER.findall(hit.text) == _NUMBER.findall(kept[number].text):
            return number
    return None


def _with_sources(hit: Hit, sources: Sequence[str]) -> Hit:
    return replace(hit, also_in=tuple(each for each in dict.fromkeys([*hit.also_in, *sources]) if each != hit.source))


def _adjoins(passage: Hit, hit: Hit) -> bool:
    """Documents of a live search engine come whole, and may have a name that the index has too."""
    if passage.source != hit.source or passage.is_live or hit.is_live:
        return False
    return hit.position == passage.last_position + 1 or hit.last_position == passage.position - 1


def _fits(passage: Hit, prompt_tokens: int) -> bool:
    return estimate_tokens(render_system([passage])) <= prompt_tokens


def _joined(better: Hit, other: Hit) -> Hit:
    """One passage; a section that begins within it keeps its heading, the last part of its title."""
    first, second = sorted((better, other), key=lambda hit: hit.position)
    heading = [] if first.title == second.title else [second.title.rsplit(" > ", 1)[-1]]
    whole = replace(
        better,
        title=first.title,
        text="\n\n".join([first.text, *heading, second.text]),
        position=first.position,
        last=second.last_position,
    )
    return _with_sources(whole, other.also_in)
