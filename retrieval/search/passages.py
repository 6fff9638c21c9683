"""Ranked chunks -> the passages that are shown: what says the same is shown once, neighbours are merged.

    passages = passages_of(candidates, top_k=3, prompt_tokens=1024)

A passage has its best chunk's place and scores, and the first one's title. Chunks do not overlap, so texts are joined
in the document's order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import PurePosixPath
from unicodedata import normalize

from retrieval.prompt import estimate_tokens, render_system
from retrieval.search.hits import Hit

_LAST_MARKS, _QUOTES = ".,;:", "\"'`“”‘’„«»"


def passages_of(hits: Sequence[Hit], top_k: int, prompt_tokens: int) -> list[Hit]:
    """The best `top_k` passages of ranked chunks, which are read only as far as they are needed."""
    num_read = 2 * top_k
    while True:
        passages = merge_passages(drop_repetitions(hits[:num_read]), top_k, prompt_tokens)
        if len(passages) == top_k or num_read >= len(hits):
            return passages
        num_read *= 2


def drop_repetitions(hits: Sequence[Hit]) -> list[Hit]:
    """The hits, without those that say the same as a better one; it names their sources in `also_in`.

    Two say the same where all words of title and text are the same: one name, one "not" or one unit makes another
    document of a long text. A title that is the file's name is no part of it.
    """
    kept: dict[str, Hit] = {}
    for hit in hits:
        words = " ".join([*_words(_own_title(hit)), "\n", *_words(hit.text)])
        kept[words] = _with_sources(kept[words], [hit.source]) if words in kept else hit
    return list(kept.values())


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
    left = [each for each in chunks if not any(_holds(hit, each) for hit in hits)]
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


def _own_title(hit: Hit) -> str:
    name = PurePosixPath(hit.source).stem
    return "" if hit.title == name else hit.title.removeprefix(f"{name} > ")


def _words(text: str) -> Iterator[str]:
    """Words without what may differ where the same is said: case, the mark behind a word, and quotes around it.

    Case is kept in a word with digits, behind one (5 mW and 5 MW), in single letters, and where capitals are inside of
    a word or, in a text that has others, all of it (US and us). So are quotes at and behind a digit, which are units,
    and every other mark: -5, (5), 5%, C++.
    """
    is_behind_number, is_in_capitals = False, text.isupper()
    for written in normalize("NFC", text).split():
        word = written.rstrip(_LAST_MARKS)
        if not any(map(str.isnumeric, word)):
            word = word if is_behind_number else word.strip(_QUOTES).rstrip(_LAST_MARKS)
            is_plain = len(word) > 1 and word in (word.lower(), word.capitalize())
            if not is_behind_number and (is_plain or (is_in_capitals and word.isupper())):
                word = word.lower()
        is_behind_number = word[-1:].isnumeric()
        if word:
            yield word


def _with_sources(hit: Hit, sources: Sequence[str]) -> Hit:
    return replace(hit, also_in=tuple(each for each in dict.fromkeys([*hit.also_in, *sources]) if each != hit.source))


def _adjoins(passage: Hit, hit: Hit) -> bool:
    """Documents of a live search engine come whole, and may have a name that the index has too."""
    if passage.source != hit.source or passage.is_live or hit.is_live:
        return False
    return hit.position == passage.last_position + 1 or hit.last_position == passage.position - 1


def _holds(passage: Hit, chunk: Hit) -> bool:
    return passage.source == chunk.source and passage.position <= chunk.position <= passage.last_position


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
