"""What a text is known by: the same however it is written, another where it says something else."""

import unicodedata

import pytest

from retrieval.index.forgetting.text_identity import identity_of, is_telling

TEXT = (
    "# Müller's leave\n\nHe has **28 days** a year, [the rules](https://example.org/rules_1).\n\n- Start: 2026-05-01\n"
)


@pytest.mark.parametrize(
    "same",
    [
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        "\ufeff" + TEXT + "  \n\n\n",
        unicodedata.normalize("NFD", TEXT),
        TEXT.replace("'", "’"),
        TEXT.replace(" days", "\u00a0days"),
        TEXT.replace("28 days", "28\ndays"),
        TEXT.replace("leave", "le\xadave"),
        TEXT.replace("rules]", "ru-\nles]"),
        TEXT.replace("**", "__"),
        TEXT.replace("- Start", "• Start"),
        TEXT.replace("-05-", "‑05‑"),
        TEXT.replace("# ", "").replace("**", "").replace("[the rules](https://example.org/rules_1)", "the rules"),
        TEXT.replace("# Müller's leave", "Müller&#39;s leave\n---"),
        TEXT.replace("Start: 2026-05-01", "Start: 2026\\-05\\-01"),
        "<!-- Slide number: 1 -->\n" + TEXT,
    ],
)
def test_the_same_text(same: str) -> None:
    assert identity_of(same) == identity_of(TEXT)


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("28", "29"),
        TEXT.replace("28 days", "28.0 days"),
        TEXT.replace("Müller", "Miller"),
        TEXT.replace("Müller", "Muller"),
        TEXT.replace("He has", "He has not"),
        TEXT.replace("2026-05-01", "-2026-05-01"),
        TEXT.replace("2026-05-01", "20260501"),
        TEXT.replace("He has", "Has he"),
        TEXT.replace("days", "Days"),
        TEXT.replace("28 days", "28 % days"),
        TEXT.replace("28", "+28"),
        TEXT + "More.\n",
        "",
    ],
)
def test_another_text(other: str) -> None:
    assert identity_of(other) != identity_of(TEXT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The grade is A*", "The grade is A"),
        ("We use C++ here", "We use C here"),
        ("We use C# here", "We use C here"),
        ("It is 5 * 3 now", "It is 5 3 now"),
        ("The file is a_b_c", "The file is abc"),
        ("From 1.5 to 2", "From 15 to 2"),
        ("Alice owes Bob five", "Bob owes Alice five"),
        ("It is 5 - 3 now", "It is 5 3 now"),
        ("a < b here", "a > b here"),
        ("年假是十天", "年假是七天"),
    ],
)
def test_what_one_character_changes(one: str, other: str) -> None:
    assert identity_of(one) != identity_of(other)


def test_a_table_is_the_same_with_and_without_its_lines() -> None:
    table = "| name | pay |\n| --- | :---: |\n| Jane | 90 |\n"
    assert identity_of(table) == identity_of("name pay\nJane 90") != identity_of("name pay\nJane 9 0")


def test_chinese_wrapped_by_another_program_is_the_same() -> None:
    assert identity_of("员工每年有\n十天带薪年假。") == identity_of("员工每年有十天带薪年假。")


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        ("", False), (" \n\u200b", False), ("# \n---\n", False), ("n/a", False), ("No comment", False),
        ("Jane Doe, Würzburg", True), ("员工每年有十天年假", True), ("年假", False), ("ลางานได้ปีละสิบวัน", True),
    ],
)  # fmt: skip
def test_a_word_or_two_say_too_little(text: str, telling: bool) -> None:
    assert is_telling(identity_of(text)) is telling


def test_half_a_surrogate_is_a_character_like_any_other() -> None:
    assert identity_of("a \ud83d b c") != identity_of("a b c")
