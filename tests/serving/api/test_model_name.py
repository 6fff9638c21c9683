"""Model names: the five forms, and everything else refused."""

import pytest

from cluster.errors import TandemError
from serving.api.model_name import ModelName, is_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("base", ModelName("base")),
        ("base:support", ModelName("base", "support")),
        ("base:support@7", ModelName("base", "support", 7)),
        ("base+hand_book", ModelName("base", None, None, "hand_book")),
        ("base:support+docs-2", ModelName("base", "support", None, "docs-2")),
        ("base:support@12+docs", ModelName("base", "support", 12, "docs")),
        ("7b:0+-", ModelName("7b", "0", None, "-")),
        ("base:a+b+c", ModelName("base", "a", None, "b+c")),
    ],
)
def test_the_forms_are_read_and_written_back(text: str, name: ModelName) -> None:
    assert ModelName.parse(text) == name
    assert str(name) == text


HOSTILE = [
    "", " ", "base ", " base", "base\n", "Base", "base:", "base+", ":a", "+c", "@7", "base@7", "base@7:a", "base:a@",
    "base:a@0", "base:a@07", "base:a@-1", "base:a@1.0", "base:a@٣", "base:a@7@8", "base:a:b", "base+c:a",
    "base:a--b", "base+a--b", "ba--se", "base:../../etc", "base:a/b", "base/a", "base:a.v7.0123", "base:a%2fb", "bäse",
    "base:a\x00", "base\u200b", "ｂase", "x" * 64, "base:" + "x" * 64, "base:a@9999999999", "a" * 100_000,
    "base" + "".join(f"+c{number}" for number in range(9)),
    "base:a+b+b", "base+a+", "base++a", "base:a'; drop table", "{{base}}", "base:live", "null",
]  # fmt: skip


@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in ("base:live", "null")])
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(TandemError) as refused:
        ModelName.parse(text)
    assert len(str(refused.value)) < 600


def test_a_name_is_never_longer_than_the_message_can_show() -> None:
    longest = f"{'b' * 63}:{'a' * 63}@{'9' * 9}" + "".join(f"+{'c' * 62}{number}" for number in range(8))
    assert str(ModelName.parse(longest)) == longest


def test_pinned_keeps_the_rest() -> None:
    assert str(ModelName.parse("base:a+c").pinned(3)) == "base:a@3+c"


def test_is_name() -> None:
    assert is_name("a-b_c9")
    assert not any(map(is_name, ["", "a--b", "A", "a.b", "a\n", "x" * 64]))
