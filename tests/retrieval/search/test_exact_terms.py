"""Names of one thing come first where a passage holds them exactly, whatever the embeddings think."""

import random
from collections.abc import Iterator

import pytest

from retrieval.search.exact_terms import put_exact_first
from retrieval.search.fusion import ResolvedRanking, fuse_rankings
from retrieval.search.hits import Hit
from retrieval.search.retrievers import Candidate

RANDOM = random.Random(7)
LETTERS = "ABCDEFGHKLMNPRSTUVWXYZ"
AROUND = ("price of {}", "what does {} cost?", "Is {} in stock, and what do I pay for it?", "why {} again and again")


def _letters(number: int) -> str:
    return "".join(RANDOM.choices(LETTERS, k=number))


def _digits(number: int) -> str:
    return "".join(RANDOM.choices("0123456789", k=number))


KINDS = {
    "part": lambda: f"{_letters(1)}-{_digits(4)}",
    "order": lambda: f"{_digits(4)}-{_letters(2)}/{_digits(1)}",
    "error": lambda: f"ERR_{_letters(5)}_{_letters(4)}",
    "code": lambda: f"{_letters(3)}{_digits(5)}",
    "version": lambda: f"v{_digits(1)}.{_digits(2)}.{_digits(2)}",
    "address": lambda: f"{_letters(5).lower()}.{_letters(4).lower()}@example.com",
    "ip": lambda: f"10.{_digits(2)}.{_digits(2)}.{_digits(2)}",
    "time": lambda: f"2026-03-{_digits(2)}T{_digits(2)}:{_digits(2)}:{_digits(2)}",
    "number": lambda: _digits(6),
}


def _tables(kind: str, num_rows: int = 40, rows_each: int = 4) -> Iterator[tuple[str, list[Candidate]]]:
    """A name, and the passages of a table with it, those without it being better by their embedding."""
    names = list(dict.fromkeys(KINDS[kind]() for _ in range(num_rows)))
    texts = [
        "\n".join(
            f"| {name} | Valve, brass | {RANDOM.randrange(1, 99)}.50 |" for name in names[start : start + rows_each]
        )
        for start in range(0, len(names), rows_each)
    ]
    for wanted in RANDOM.sample(names, 6):
        passages = [Candidate(f"{n:02}", "prices.md", n, f"Prices\n{text}", 0.0) for n, text in enumerate(texts)]
        yield wanted, passages


@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_for_by_its_name_is_first(kind: str, fusion: str) -> None:
    for wanted, passages in _tables(kind):
        right = [each for each in passages if wanted in each.content]
        wrong = [each for each in passages if each not in right]
        dense = [Candidate(**{**vars(each), "score": 0.9 - n / 100}) for n, each in enumerate([*wrong, *right])]
        bm25 = [Candidate(**{**vars(each), "score": 9.0 - n / 9}) for n, each in enumerate([*wrong[:5], *right])]
        for words in AROUND:
            question = words.format(RANDOM.choice([wanted, wanted.lower()]))
            hits = fuse_rankings({"dense": dense, "bm25": bm25}, ResolvedRanking("hybrid", fusion, 0.75))  # type: ignore[arg-type]
            first, *others = put_exact_first(hits, question)
            assert wanted in first.text, (question, first.text)
            assert {first.id, *(each.id for each in others)} == {each.id for each in passages}
            scores = [first.score, *(each.score for each in others)]
            assert scores == sorted(scores, reverse=True) and scores[-1] >= 0 and scores[0] <= 1


def _hits(*texts: str) -> list[Hit]:
    return [Hit("T", text, str(n), f"{n}.md", 0, 1 - n / 100) for n, text in enumerate(texts)]


def _order(hits: list[Hit], question: str) -> str:
    return "".join(hit.id for hit in put_exact_first(hits, question))


def test_one_spelling_finds_the_others_and_no_other_name() -> None:
    hits = _hits("part P-04170", "part P-0418", "part P_0417 in stock")
    for written in ("P-0417", "p-0417", "P_0417", "p0417", "P-0417?", "(P\u20110417)"):
        assert _order(hits, f"price of {written}") == "201"
    for around in (
        "/parts/P-0417.html",
        "id:P-0417",
        "P-0416/P-0417",
        "mail P-0417@example.com",
        "(P-0417).",
        "P-0417.",
    ):
        assert _order(_hits("P-0418", around), "price of P-0417") == "10", around
    assert _order(_hits("version 23.1", "version 2.3.1"), "what changed in 2.3.1") == "10"
    assert _order(_hits("taught: C, C#", "taught: C, C++"), "who teaches C++") == "10"


def test_the_passage_with_more_of_the_names_is_first() -> None:
    hits = _hits("about A-1001", "nothing", "B-2002 replaces A-1001", "about B-2002")
    assert _order(hits, "does B-2002 replace A-1001?") == "2031"


@pytest.mark.parametrize(
    "question",
    [
        "how many days of holiday",
        "the 5 best offers",
        "offers of 12",
        "Z-9999 in stock",
        "what is said of 2026",
        "don't, l'eau",
        "???",
        "",
    ],
)
def test_other_questions_leave_the_order(question: str) -> None:
    """Words, counts, names that nothing holds, and numbers that most passages hold."""
    hits = _hits("5 days in 2026", "7 offers of 2026", "nothing", "12 of 2026", "2026 valves", "5 valves")
    assert put_exact_first(hits, question) == hits
