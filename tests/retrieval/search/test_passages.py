"""Near-duplicates and neighbours: what becomes one passage, and what must not."""

from dataclasses import replace
from random import Random

import pytest

from retrieval.prompt import estimate_tokens, render_system
from retrieval.search.hits import Hit, Scores
from retrieval.search.passages import NEAR_DUPLICATE, drop_near_duplicates, merge_passages, passages_of, widen_passages

LONG = " ".join(f"word-{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
BOILERPLATE = " ".join(f"{a}{b}" for a in "abcdefgh" for b in "nopqrstu")


def hit(source: str, position: int, text: str = "", score: float = 0.5, title: str = "T") -> Hit:
    return Hit(title, text or f"{source} {position}", f"{source}-{position}", source, position, score)


def citations(hits: list[Hit]) -> list[str]:
    return [hit.citation for hit in hits]


def test_the_same_text_elsewhere_is_shown_once_with_its_other_sources() -> None:
    hits = [hit("a", 0, BOILERPLATE), hit("x", 0), hit("b", 3, BOILERPLATE.upper()), hit("c", 1, BOILERPLATE)]
    assert [(each.source, each.also_in) for each in drop_near_duplicates(hits)] == [("a", ("b", "c")), ("x", ())]


def test_a_repetition_in_the_same_document_is_dropped_and_not_named() -> None:
    assert drop_near_duplicates([hit("a", 0, BOILERPLATE), hit("a", 7, BOILERPLATE)]) == [hit("a", 0, BOILERPLATE)]


@pytest.mark.parametrize(
    ("num_changed", "num_left"), [(0, 1), (1, 2)], ids=["similarity 1.0", "64 words, one changed: 0.85"]
)
def test_the_threshold(num_changed: int, num_left: int) -> None:
    words = BOILERPLATE.split()
    words[30 : 30 + num_changed] = ["changed"] * num_changed
    assert len(drop_near_duplicates([hit("a", 0, BOILERPLATE), hit("b", 0, " ".join(words))])) == num_left


def test_a_word_changed_in_a_long_text_is_a_near_duplicate_but_another_number_is_not() -> None:
    long = " ".join([BOILERPLATE, *(f"{word}x" for word in BOILERPLATE.split())])
    assert len(drop_near_duplicates([hit("a", 0, f"{long} costs little"), hit("b", 0, f"{long} costs much")])) == 1
    assert len(drop_near_duplicates([hit("a", 0, f"{long} in 2023"), hit("b", 0, f"{long} in 2024")])) == 2


def test_no_pair_that_is_similar_enough_is_missed() -> None:
    """Beside every pair compared, on texts from which a few words were taken at random."""
    random = Random(0)
    words = BOILERPLATE.split() * 2
    texts = []
    for _ in range(60):
        text = list(words[: random.randint(100, 128)])
        for _ in range(random.randint(0, 3)):
            text[random.randrange(len(text))] = "other"
        texts.append(" ".join(text))
    expected: list[str] = []
    for text in texts:
        if not any(similarity(text, other) > NEAR_DUPLICATE for other in expected):
            expected.append(text)
    found = drop_near_duplicates([hit(f"{number}", 0, text) for number, text in enumerate(texts)])
    assert [each.text for each in found] == expected and 5 < len(expected) < 55


def similarity(first: str, second: str) -> float:
    a, b = ({tuple(words[n : n + 5]) for n in range(len(words) - 4)} for words in (first.split(), second.split()))
    return len(a & b) / len(a | b)


def test_short_texts_are_the_same_only_if_every_word_is() -> None:
    hits = [hit("a", 0, "It is Au."), hit("b", 0, "It is Fe."), hit("c", 0, "It  is au.")]
    assert [(each.source, each.also_in) for each in drop_near_duplicates(hits)] == [("a", ("c",)), ("b", ())]


def test_neighbours_become_one_passage_in_the_documents_order() -> None:
    best = replace(hit("a", 4, "four", 0.9), scores=Scores(dense=0.9))
    (passage,) = merge_passages([best, hit("a", 5, "five", 0.7), hit("a", 3, "three", 0.6)], 3, 1024)
    assert passage.text == "three\n\nfour\n\nfive"
    assert (passage.score, passage.scores, passage.citation) == (0.9, Scores(dense=0.9), "a#3-5")


def test_top_k_counts_passages_and_reads_no_further() -> None:
    hits = [hit("a", 4), hit("a", 5), hit("b", 0), hit("c", 0), hit("a", 6)]
    assert citations(merge_passages(hits, 2, 1024)) == ["a#4-5", "b#0"]
    assert citations(merge_passages(hits, 3, 1024)) == ["a#4-6", "b#0", "c#0"]


def test_a_hit_that_fills_a_gap_joins_both_sides() -> None:
    hits = [hit("a", 1), hit("b", 0), hit("a", 3), hit("a", 2), hit("c", 0)]
    passages = merge_passages(hits, 3, 1024)
    assert citations(passages) == ["a#1-3", "b#0", "c#0"]
    assert passages[0].text == "a 1\n\na 2\n\na 3"


def test_as_many_chunks_are_read_as_make_the_passages() -> None:
    copies = [hit(f"copy{number:02}", 0, BOILERPLATE) for number in range(50)]
    others = [hit("b", 0), hit("c", 0), *(hit(f"d{number}", 0) for number in range(100))]
    first, *rest = passages_of([*copies, *others], 3, 1024)
    assert (first.source, len(first.also_in)) == ("copy00", 49) and citations(rest) == ["b#0", "c#0"]
    assert citations(passages_of([hit("a", 0), hit("a", 1)], 3, 1024)) == ["a#0-1"]
    assert passages_of([], 3, 1024) == []


def test_other_documents_and_live_ones_are_not_neighbours() -> None:
    live = replace(hit("a", 0), id="live:docs/1")
    assert len(merge_passages([live, hit("a", 1), hit("b", 2)], 3, 1024)) == 3


def test_a_section_that_begins_within_keeps_its_heading() -> None:
    passages = merge_passages(
        [hit("a", 1, "two", title="Guide > Second"), hit("a", 0, "one", title="Guide > First")], 3, 1024
    )
    assert (passages[0].title, passages[0].text) == ("Guide > First", "one\n\nSecond\n\ntwo")


def test_a_passage_grows_no_further_than_the_prompt() -> None:
    hits = [hit("a", number, LONG) for number in (5, 6, 4, 7)]
    limit = estimate_tokens(render_system([hits[0], hits[1]]))
    passages = merge_passages(hits, 3, limit)
    assert citations(passages) == ["a#5-6", "a#4", "a#7"]
    assert all(estimate_tokens(render_system([each])) <= limit for each in passages)


def test_what_collapsed_stays_named_in_the_merged_passage() -> None:
    hits = drop_near_duplicates([hit("a", 0), hit("a", 1, BOILERPLATE), hit("b", 0, BOILERPLATE)])
    assert merge_passages(hits, 3, 1024)[0].also_in == ("b",)


def test_chunks_around_are_taken_in_and_join_what_they_connect() -> None:
    around = [hit("a", 3), hit("a", 2), hit("a", 9), hit("b", 1)]
    passages = widen_passages([hit("a", 4), hit("b", 0), hit("a", 1)], around, 1024)
    assert citations(passages) == ["a#1-4", "b#0-1"]
    assert passages[0].text == "a 1\n\na 2\n\na 3\n\na 4"
    assert widen_passages([hit("a", 4)], [], 1024) == [hit("a", 4)]
