"""Repetitions and neighbours: what becomes one passage, and what must not."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from retrieval.prompt import estimate_tokens, render_system
from retrieval.search.hits import Hit, Scores
from retrieval.search.passages import drop_repetitions, merge_passages, passages_of, widen_passages

LONG = " ".join(f"word-{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
BOILERPLATE = " ".join(f"{a}{b}" for a in "abcdefgh" for b in "nopqrstu")


def hit(source: str, position: int, text: str = "", score: float = 0.5, title: str = "T") -> Hit:
    return Hit(title, text or f"{source} {position}", f"{source}-{position}", source, position, score)


def citations(hits: list[Hit]) -> list[str]:
    return [hit.citation for hit in hits]


def test_the_same_text_elsewhere_is_shown_once_with_its_other_sources() -> None:
    hits = [hit("a", 0, BOILERPLATE), hit("x", 0), hit("b", 3, BOILERPLATE.upper()), hit("c", 1, BOILERPLATE)]
    assert [(each.source, each.also_in) for each in drop_repetitions(hits)] == [("a", ("b", "c")), ("x", ())]


def test_a_repetition_in_the_same_document_is_dropped_and_not_named() -> None:
    assert drop_repetitions([hit("a", 0, BOILERPLATE), hit("a", 7, BOILERPLATE)]) == [hit("a", 0, BOILERPLATE)]


LETTER = f"Dear Mr Smith, {BOILERPLATE} {BOILERPLATE[::-1]} you may not park the red car in France before 5 May. 12 MW"


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("Smith", "Jones"), (" not", ""), ("red", "blue"), ("France", "Spain"), ("5 May", "6 May"), ("May", "June"),
        ("12 MW", "12 mW"), ("12 MW", "12 kW"), ("12 MW", "-12 MW"), ("12 MW", "(12) MW"), ("12 MW", "1.2 MW"),
        ("12 MW", "12 MW%"), ("may", "must"), ("before", "after"), ("car", "cars"), ("12 MW", "12\" MW"),
        ("park", "Maße"), ("12 MW", "12 MW MW"), ("red", "C++"), ("you may not park", "park may not you"),
    ],
)  # fmt: skip
def test_one_other_word_in_a_long_text_is_another_text(there: str, here: str) -> None:
    assert there in LETTER and len(LETTER.split()) > 130
    for one, other in ((LETTER, LETTER.replace(there, here)), (LETTER.replace(there, here), LETTER)):
        assert len(drop_repetitions([hit("a", 0, one), hit("b", 0, other)])) == 2


def test_words_that_only_look_alike_are_others() -> None:
    for one, other in (("Maße", "Masse"), ("C++", "C#"), ("5'", '5"'), ("1,5", "1.5"), ("µm", "mm"), ("mW", "MW")):
        assert len(drop_repetitions([hit("a", 0, one), hit("b", 0, other)])) == 2, (one, other)


@pytest.mark.parametrize("change", [str.upper, "\n".join, " \t".join, '"{}"'.format, "{}.".format, "{},".format])
def test_what_differs_in_case_space_and_marks_only_says_the_same(change: Callable[[Any], str]) -> None:
    text = BOILERPLATE.split() if getattr(change, "__name__", "") == "join" else BOILERPLATE
    assert len(drop_repetitions([hit("a", 0, BOILERPLATE), hit("b", 0, change(text))])) == 1


def test_any_two_texts_that_differ_in_a_word_are_both_shown() -> None:
    random = Random(0)
    for _ in range(200):
        words = random.choices(LETTER.split(), k=random.randint(1, 300))
        other = list(words)
        place = random.randrange(len(words))
        other[place] = random.choice(["no", "never", "7", "7,0", "Anna", "green", "€", f"{words[place]}s", "é"])
        same = drop_repetitions([hit("a", 0, " ".join(words)), hit("b", 0, " ".join(other))])
        assert len(same) == 2, (words[place], other[place])


def test_another_heading_makes_another_passage_and_another_file_name_does_not() -> None:
    fees = [hit(name, 0, "The fee is 12.", title=name.title()) for name in ("france.md", "spain.md")]
    assert len(drop_repetitions([replace(each, title=each.title.removesuffix(".Md")) for each in fees])) == 2
    assert len(drop_repetitions([replace(each, title=each.source[:-3]) for each in fees])) == 1
    assert len(drop_repetitions([replace(each, title=f"{each.source[:-3]} > Fees") for each in fees])) == 1


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


def test_no_chunk_is_shown_twice() -> None:
    chunks = [hit("a", number, f"chunk-{number} {LONG}") for number in range(12)]
    limits = [estimate_tokens(render_system([chunks[0]])) * number for number in (2, 3, 5)]
    for seed in range(100):
        random = Random(seed)
        passages = passages_of(random.sample(chunks, 8), random.randint(1, 5), limit := random.choice(limits))
        shown = " ".join(each.text for each in widen_passages(passages, chunks, limit))
        assert all(shown.count(f"chunk-{number} ") <= 1 for number in range(12)), seed


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
    hits = drop_repetitions([hit("a", 0), hit("a", 1, BOILERPLATE), hit("b", 0, BOILERPLATE)])
    assert merge_passages(hits, 3, 1024)[0].also_in == ("b",)


def test_chunks_around_are_taken_in_and_join_what_they_connect() -> None:
    around = [hit("a", 3), hit("a", 2), hit("a", 9), hit("b", 1)]
    passages = widen_passages([hit("a", 4), hit("b", 0), hit("a", 1)], around, 1024)
    assert citations(passages) == ["a#1-4", "b#0-1"]
    assert passages[0].text == "a 1\n\na 2\n\na 3\n\na 4"
    assert widen_passages([hit("a", 4)], [], 1024) == [hit("a", 4)]


@pytest.mark.parametrize(
    ("there", "here"), [("US", "us"), ("5 g", "5 G"), ("g", "G"), ("WHO", "who"), ("5 '", '5 "'), ("IT", "it")]
)
def test_capitals_and_units_tell_one_from_another(there: str, here: str) -> None:
    assert len(drop_repetitions([hit("a", 0, f"send {there} all"), hit("b", 0, f"send {here} all")])) == 2
