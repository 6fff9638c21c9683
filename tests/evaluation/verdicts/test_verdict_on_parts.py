"""Arms that answered different questions: some were not asked any more, and some calls failed."""

from evaluation.results import Recommendation, Reply, Row
from evaluation.verdicts.summary import make_cells, make_differences
from evaluation.verdicts.verdict import recommend
from tests.evaluation.verdicts.test_verdict import ARMS, question, reply, result


def staged(slices: dict[str, tuple[str, str]]) -> Recommendation:
    """Two arms; marks as for `verdict`, and `-` where a question was not asked any more."""
    rows = [
        Row(
            question=question(name, number),
            replies={
                arm: Reply(not_asked=True) if marks[number] == "-" else reply(marks[number])
                for arm, marks in zip(("base", "tuned"), both, strict=True)
            },
        )
        for name, both in slices.items()
        for number in range(len(both[0]))
    ]
    results = [result(arm, rows, [arm.model]) for arm in ARMS[:2]]
    return recommend(results, make_cells(rows, ARMS[:2]), make_differences(rows, ARMS[:2]), max_failed_share=0.05)


def test_an_arm_that_was_not_asked_everything_is_not_the_best_of_a_slice() -> None:
    """One right answer to the one question that it was asked is no 100 % of the slice."""
    found = staged({"s": ("w" * 30 + "-" * 70, "r" * 100), "rare": ("r" + "-" * 11, "r" * 10 + "ww")})
    assert (found.arm, found.leaders) == ("tuned", {"overall": ["tuned"], "s": ["tuned"], "rare": ["tuned"]})
    assert found.by_slice["rare"] == "tuned (83 %)"
    alone = staged({"s": ("w" * 30 + "-" * 70, "r" * 100), "rare": ("r-", "ff")})
    assert alone.leaders.get("rare", []) == []


def test_the_lead_says_on_which_questions_it_was_measured() -> None:
    """The two shares are of other questions than the lead where an arm was not asked, or failed, on some of them."""
    half = staged({"s": ("rw" * 15 + "-" * 70, "r" * 30 + "w" * 10 + "r" * 60)})
    assert (
        "90 % (" in half.text
        and "The next best is base with 50 %; the lead on the 30 questions that both " in half.text
    )
    assert "the lead is " in staged({"s": ("rw" * 50, "r" * 100)}).text


def test_an_arm_whose_calls_fail_on_the_hard_questions_is_not_better_for_it() -> None:
    """Tuned has the higher share, of the questions that it answered, and is behind on those that both did."""
    flaky, solid = "f" * 12 + "w" * 10 + "r" * 218, "w" * 12 + "r" * 228
    for first, second, arm in ((flaky, solid, "tuned"), (solid, flaky, "base")):
        assert staged({"s": (first, second)}).arm == arm
    found = staged({"s": ("w" * 6 + "r" * 114, "f" * 6 + "r" * 114)})
    assert (found.outcome, found.arm) == ("tie", "base") and "more right answers" not in found.text
