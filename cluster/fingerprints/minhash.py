"""Texts that are nearly the same, found by numbers that do not tell the texts (MinHash: Broder, 1997; datasketch).

Training writes the numbers of its rows into trained.jsonl, and the leak check compares questions with them, so both
compute them here: datasketch 2, scheme affine32, seed 1, SHA-1 of UTF-8.

A row is compared by its word 3-grams, as it stands. A question is so short that one more "please" changes a third of
these, so it is compared by its plain words: without case, punctuation, politeness and the words that only join others.
In a short question each plain word decides what is asked ("alpha-2", "alpha-3"), so only a digest of all of them tells
anything; numbers are for long questions. Short answers have no digest: they could be guessed from it.
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.fingerprints.digests import normalise_question

SHINGLE_WORDS = 3
MIN_QUESTION_WORDS = 15
MIN_ANSWER_WORDS = 5
NUM_PERMUTATIONS = 64
_BLOCK = 256
# Words that a question can gain, lose or swap and still ask the same. No pronouns, no tense, no "from", "to" or "not".
FILLER = frozenset(
    ("a", "an", "the", "of", "for", "in", "on", "at", "is", "are", "do", "does", "that", "me", "us", "just",
     "please", "kindly", "thanks")
)  # fmt: skip
SAME_WORD = {"could": "can", "would": "will"}
SAME_CHARACTER = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("’‘ʼ", "'"))
WORD_BORDERS = ".,;:!?\"'“”„«»()[]{}<>*_`~|…¿¡。、"
_POLITE = re.compile(r"^(?:(?:hi|hello|hey|please|kindly)\b\W*)*(?:(?:can|could|will|would) you\b)?")
_HYPHEN_IN_A_WORD = re.compile(r"(?<=\w)-(?=\w)")


def digest_words(text: str) -> str:
    """The SHA-256 of a text's plain words in their order."""
    return hashlib.sha256(" ".join(plain_words(text)).encode()).hexdigest()


def digest_answer(answer: str) -> str | None:
    """`digest_words` of an answer of five words or more; None for a shorter one."""
    return digest_words(answer) if len(answer.split()) >= MIN_ANSWER_WORDS else None


def question_minhash(question: str) -> Any:
    """The MinHash of a question's plain words and pairs of neighbours; None for one of fewer than 15 words.

    Two questions of twelve plain words that differ in one of them have a similarity of about 0.8.
    """
    if len(question.split()) < MIN_QUESTION_WORDS:
        return None
    words = plain_words(question)
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return minhash([*words, *pairs])


def plain_words(text: str) -> list[str]:
    """The words that make a question this one, in order. The lists are English; other languages keep all words."""
    text = _HYPHEN_IN_A_WORD.sub(" ", normalise_question(text).translate(SAME_CHARACTER))
    stripped = (_plain(word) for word in _POLITE.sub("", text).split())
    words = [SAME_WORD.get(word, word) for word in stripped if word and word != "-"]
    return [word for word in words if word not in FILLER] or words


def minhash(shingles: Iterable[str], num_permutations: int = NUM_PERMUTATIONS) -> Any:
    """A datasketch MinHash; its `hashvalues` are the numbers."""
    numbers = _empty(num_permutations).copy()
    numbers.update_batch([shingle.encode() for shingle in shingles])
    return numbers


def minhash_many(sets: Sequence[Collection[str]], num_permutations: int = NUM_PERMUTATIONS) -> npt.NDArray[np.uint32]:
    """[num_sets, num_permutations] the `hashvalues` of `minhash` for each set, several times as fast."""
    multipliers, summands = _empty(num_permutations).permutations
    digests = b"".join(hashlib.sha1(shingle.encode()).digest()[:4] for shingles in sets for shingle in shingles)
    hashes = _mix(np.frombuffer(digests, "<u4"))
    found = np.full((len(sets), num_permutations), 2**32 - 1, np.uint32)
    start = 0
    for number, shingles in enumerate(sets):
        end = start + len(shingles)
        for first in range(start, end, _BLOCK):  # a block stays in the processor's cache
            block = hashes[first : min(first + _BLOCK, end), None]
            np.minimum(found[number], (block * multipliers + summands).min(axis=0), out=found[number])
        start = end
    return found


def _mix(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The finalizer of MurmurHash3 for 32 bits (Appleby, public domain), with which datasketch 2 begins."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    return hashes ^ (hashes >> np.uint32(16))


def word_shingles(text: str) -> set[str]:
    """The word 3-grams of a text, case folded; a text of fewer words is one shingle."""
    words = normalise_question(text).split()
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    return {" ".join(words[start : start + SHINGLE_WORDS]) for start in range(last)}


def similarity(one: set[str], other: set[str]) -> float:
    """Jaccard similarity of two sets, 0 to 1."""
    return len(one & other) / len(one | other)


def _plain(word: str) -> str:
    return unicodedata.normalize("NFC", word.strip(WORD_BORDERS)).removesuffix("'s")


@cache
def _empty(num_permutations: int) -> Any:
    from datasketch import MinHash

    return MinHash(num_perm=num_permutations)
