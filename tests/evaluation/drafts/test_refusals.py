"""What has the form of a fact and is not asked: nothing is defined, the gap shows itself, or nobody could fill it."""

from pathlib import Path

import pytest

from evaluation.drafts.documents import Documents, DraftDocument
from evaluation.drafts.drafting import MAX_OF_ONE_DOCUMENT, draft_questions
from evaluation.drafts.refusals import is_definition, is_sound_gap, is_term, opens_with_verb


def asked(text: str, source: str = "mill.md") -> list[tuple[str, str]]:
    documents = Documents((DraftDocument(source, Path(source), text),), ())
    return [(each.question, each.answers[0]) for each in draft_questions(documents, 100).drafts if each.answerable]


@pytest.mark.parametrize(
    ("description", "is_one"),
    [
        ("The side that is away from the wind", True),
        ("The place at which flour will be weighed", True),
        ("How far the wheel reaches below the water", True),
        ("Verifies that no stone has been worn", True),
        ("Print nothing to the screen", True),
        ("Grinding without water helps find loose stones", False),
        ("The higher the faster the stones turn", False),
        ("Search results will link to a part of the mill", False),
        ("Our mill stands by the river in the old town", False),
        ("You can wear what you like at the wheel", False),
        ("Approval is given by the miller or put off", False),
        ("`0` is valid input", False),
        ("Fonts, wheels, and stones", False),
        ("Info about turning to another wheel", False),
        ("The Stones rooms of the mill 4.6 all have a lamp", False),
        ("Aim to turn the wheel by hand only", False),
        ("Makes flour, sacks, and other hard .", False),
    ],
)
def test_a_definition_is_a_noun_phrase_or_says_what_something_does(description: str, is_one: bool) -> None:
    assert is_definition(description) == is_one


def test_verbs_and_terms() -> None:
    assert [opens_with_verb(each) for each in ("Copies the bag", "Lists of bags", "Sacks of flour")] == [
        "copies", None, None,
    ]  # fmt: skip
    assert [is_term(each) for each in ("`6`", "6 months", "Week 2", "Come as You Are", "Spring tide", "Keel")] == [
        True, False, False, False, False, True,
    ]  # fmt: skip
    assert not is_term("Check wheels before stones")


@pytest.mark.parametrize(
    ("sentence", "value", "is_sound"),
    [
        ("Every guest of the mill pays @ for a bag of flour", "$50", True),
        ("The old mill sends all its flour to @ by boat", "Whitby", True),
        ("The mill uses @.js to draw the wheel on the screen", "Wheel", False),
        ("The text runs left-to-right or @-left in the mill", "Right-to", False),
        ("The office of the mill is at (0800 121 @) all day", "7479", False),
        ("All bags leave the mill on or before @ January each winter", "31", False),
        ("All of this mill runs on Django @, 1.8 or 1.9 at night", "1.7", False),
        ("The mill runs on Django 1.7 and @ in every room", "1.8", False),
        ("The mill falls into @ parts, namely stones; wheels; and sacks", "three", False),
        ("Bags of flour weigh @ pounds, and we carry them", "ten", False),
        ("Another wheel to consider is @ which looks like .", "`wheel-two`", False),
        ("A number of the mill (*) is not read from @ onwards", "1.9", False),
        ("The upcoming @ release of the mill grinds faster", "5.2", False),
        ("The mill is a fine toolkit for building @", "Wheels", False),
        ("The miller looks through @ list of bags each morning", "Mill's", False),
        ("Global @ or `.millignore` files in other rooms are not read", "`$HOME/.millignore`", False),
        ("The wheel was made by the @ eWheel Center long ago", "Dutch", False),
        ("Files will be created when the mill is built, by `create` (@)", "`create = true`", False),
        ("Keep small things out of every bag of the mill (e.g. @).", "`.sand`", False),
        ("The old mill asks the Microsoft @ environment for a list", "365", False),
        ("The old mill needs Java @ or later to turn", "17", True),
        ("Most mills only have one or @ millers for all stones", "two", False),
        ("Yeo, Vane and @ are examples of very good mills", "Mill Street", False),
        ("Some of the old mills, like Vane and @, sell flour", "Whitby", False),
        ("The old mill is given away under the Apache License @", "2.0", False),
        ("A belt is a thing between @ wheels of a mill", "two", False),
        ("Ask the miller for leave before @ them", "CCing", False),
        ("@ months: Final look at the stones of the mill", "5", False),
    ],
)
def test_a_gap_asks_for_one_whole_thing_that_the_rest_does_not_show(sentence: str, value: str, is_sound: bool) -> None:
    before, after = sentence.split("@")
    assert is_sound_gap(before, value, after) == is_sound


@pytest.mark.parametrize(
    "text",
    [
        "## `[mill.wheel]`\n\nThese options turn it. The default is `true`.",
        "## `wheel`\n\nTurns the mill.\n\n- Set `stone` to grind. Default: `true`",
        "- **authors**: The author(s) of the mill\n- **title**: The title of the mill",
        "## How many places are free?\n\nNone are known for 2024 yet.",
        "The current minimum versions of Mill still is 3.0 and Wheel 3.6.",
        "- **6 months**: A last look at all stones of the mill\n- **3 weeks**: A first look at all wheels of the mill",
        "- `a1`: A list of bags in the mill\n- `b2`: A list of sacks in the mill",
        "- `#all`, `#some`: General chat about the river and town\n- `#x`, `#y`: General talk of wheels and old stones",
        "## Trouble - 5xx\n\nCodes of the mill that begin with the digit 5 say that the wheel has stopped.",
    ],
)
def test_what_reads_like_a_fact_and_is_none_is_left_alone(text: str) -> None:
    assert asked(f"# Mill\n\n{text}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "| Wheel | Default |\n|---|---|\n| `north` | _none_ |\n| `south` | _none_ |",
        "**Kinds of grain**: `rye` `oat`\n",
        "| Old wheel | New wheel |\n|---|---|\n| `a1` | `b1` (deprecated) |\n| `a2` | `b2` (deprecated) |",
        "The `-C` argument opens the gate, and the `-j4` argument tells the wheel to turn.",
        "- **Teach the young**: Encourage children to learn about all stones of the mill\n"
        "- **Watch the river**: Follow all boats that go up to the town at night",
        "- `case=[up|low]`: Sets the size of the letters on every bag\n- `sort=[a|b]`: Sets the order of all the bags",
    ],
)
def test_an_answer_that_is_not_one_clean_value_is_not_asked_for(text: str) -> None:
    assert asked(f"# Mill\n\n{text}\n") == []


def test_marks_around_a_value_are_no_part_of_it() -> None:
    table = "| Grain | Home |\n|---|---|\n| Rye | [Whitby] |\n| Barley | [York] |"
    assert {value for _, value in asked(f"# Mill\n\n{table}\n")} >= {"Whitby", "York"}


def test_what_something_does_is_asked_in_plain_words() -> None:
    text = "# Mill\n\n- `grind --fine`: Turns the stones slowly.\n- `sack`: Fills all bags that stand by the door.\n"
    assert sorted(asked(text)) == [('In "Mill", what fills all bags that stand by the door?', "sack"),
                                   ('In "Mill", what turns the stones slowly?', "grind --fine")]  # fmt: skip


def test_one_fact_is_asked_once_and_no_document_fills_the_beginning() -> None:
    same = "**Keel** is a long beam along the bottom of a boat.\n"
    one, two = (DraftDocument(f"{n}.md", Path(f"{n}.md"), f"# Page {n}\n\n{same}") for n in "12")
    assert len(draft_questions(Documents((one, two), ()), 20).drafts) == 1
    words = ["oak", "elm", "ash", "fir", "yew", "bay", "box", "fig", "nut", "pea", "rye", "oat", "hop", "fen", "bog"]
    long = DraftDocument("a.md", Path("a.md"), "# A\n\n" + "\n".join(f"{w} tree: {n}" for n, w in enumerate(words, 1)))
    few = DraftDocument("b.md", Path("b.md"), "# B\n\n" + "\n".join(f"{w} bush: {n}0" for n, w in enumerate(words, 1)))
    drafts = draft_questions(Documents((long, few), ()), 30).drafts
    assert len(drafts) == 30
    first = [each.sources[0] for each in drafts[: 2 * MAX_OF_ONE_DOCUMENT]]
    assert first.count("a.md") == first.count("b.md") == MAX_OF_ONE_DOCUMENT
