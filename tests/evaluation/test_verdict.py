"""Every rule of the verdict, on graded data whose answer is known."""

import pytest

from cluster.errors import TandemError
from evaluation.arms import Arm, make_arms
from evaluation.config import FOUR_ARMS, ArmName
from evaluation.questions import Question
from evaluation.results import ArmResult, Grade, Recommendation, Reply, Row
from evaluation.summary import make_cells, make_differences
from evaluation.verdict import recommend

ARMS = make_arms(FOUR_ARMS, tuned="base:demo@1", collection="demo")
Marks = dict[ArmName, str]


def verdict(
    slices: dict[str, Marks], arms: list[Arm] = ARMS, models: dict[ArmName, list[str]] | None = None
) -> Recommendation:
    """Marks are one letter a question: r right, w wrong, f failed."""
    rows = [
        Row(question=question(name, number), replies={arm.name: reply(marks[arm.name][number]) for arm in arms})
        for name, marks in slices.items()
        for number in range(len(marks[arms[0].name]))
    ]
    results = [result(arm, rows, (models or {}).get(arm.name, [arm.model])) for arm in arms]
    return recommend(results, make_cells(rows, arms), make_differences(rows, arms, seed=0), max_failed_share=0.05)


def question(name: str, number: int) -> Question:
    known = name != "unanswerable"
    return Question(id=f"{name}-{number}", slice=name, question="?", answers=("a",) if known else (), answerable=known)


def reply(mark: str) -> Reply:
    if mark == "f":
        return Reply(failed="the endpoint answered 503")
    right = mark == "r"
    grade = Grade(correct=right, content=right, form=None, refused=False, cited_right=None, retrieved_right=None)
    return Reply(text="a", model="m", latency_s=0.1, grade=grade)


def result(arm: Arm, rows: list[Row], models: list[str]) -> ArmResult:
    failed = sum(row.replies[arm.name].failed is not None for row in rows)
    failures = {"the endpoint answered 503": failed} if failed else {}
    return ArmResult(
        name=arm.name, title=arm.title, model=arm.model, answered_as=models, warm_up_s=0.1, warm_up_failed=None,
        failures=failures,
    )  # fmt: skip


def marks(base: str, tuned: str, retrieval: str, hybrid: str) -> Marks:
    return {"base": base, "tuned": tuned, "retrieval": retrieval, "hybrid": hybrid}


R, W = "r" * 100, "w" * 100


def test_a_clear_winner_is_named_with_its_lead() -> None:
    found = verdict(
        {
            "seen": marks(W, R, R, R),
            "changed": marks(W, W, R, R),
            "form": marks(W, R, W, R[:90] + W[:10]),
        }
    )
    assert (found.outcome, found.arm, found.headline) == ("winner", "hybrid", "Use tuned + retrieval.")
    assert "answers 0.97 (0.94 to 0.98) of 300 questions right" in found.text
    assert "better than the next best, tuned (0.67), by 0.30 (0.22 to 0.38)" in found.text
    assert "Retrieval is behind on form (0.00 against 1.00)." in found.sentences
    assert "Tuned is behind on changed (0.00 against 1.00)." in found.sentences
    assert "Tuned + retrieval is behind on form (0.90 against 1.00)." in found.sentences
    assert found.leaders["form"] == ["tuned"] and found.by_slice["form"] == "tuned (1.00)"
    assert found.by_slice["changed"] == "retrieval (1.00) and tuned + retrieval (1.00), not told apart"


@pytest.mark.parametrize("winner", FOUR_ARMS)
def test_any_arm_can_win(winner: ArmName) -> None:
    found = verdict({"s": {arm: R if arm == winner else W for arm in FOUR_ARMS}})
    assert (found.outcome, found.arm) == ("winner", winner)


def test_arms_that_are_as_good_give_the_one_with_less_to_keep_up() -> None:
    found = verdict({"s": marks(W, W, R[1:] + "w", R), "t": marks(W, W, R, R)})
    assert (found.outcome, found.arm) == ("tie", "retrieval")
    assert "Tuned + retrieval is as good to within 0.03" in found.text


def test_a_lead_within_its_interval_is_not_enough_questions() -> None:
    found = verdict({"s": marks("w" * 30, "w" * 30, "r" * 20 + "w" * 10, "r" * 19 + "w" * 7 + "r" * 4)})
    assert (found.outcome, found.arm) == ("not_enough", None)
    assert found.headline == "Not enough questions to tell tuned + retrieval and retrieval apart."
    assert "+0.10 (-0.10 to +0.30) on the 30 questions that both answered" in found.text
    assert "If you have to choose now, retrieval leaves the least to keep up." in found.sentences


@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_handful_of_questions_settles_nothing_even_where_all_are_won(n: int) -> None:
    assert verdict({"s": marks("w" * n, "w" * n, "w" * n, "r" * n)}).outcome == "not_enough"


def test_few_questions_without_a_difference_are_no_tie() -> None:
    assert verdict({"s": marks("w" * 40, "w" * 40, "r" * 40, "r" * 40)}).outcome == "not_enough"


def test_too_many_failures_forbid_a_recommendation() -> None:
    found = verdict({"s": marks(W, W, "f" * 6 + R[:94], R)})
    assert (found.outcome, found.arm) == ("failures", None)
    assert found.headline == "No recommendation: too many calls failed."
    assert "Retrieval: 6 of 100 calls failed, and at most 5% may." in found.text
    assert "6 times: the endpoint answered 503" in found.text
    assert not found.by_slice and not found.leaders


def test_a_few_failures_are_left_out_and_said() -> None:
    found = verdict({"s": marks(W, W, "f" * 5 + R[:95], W)})
    assert (found.outcome, found.arm) == ("winner", "retrieval")
    assert "answers 1.00 (0.96 to 1.00) of 95 questions right" in found.text
    assert "5 failed calls are counted apart, as neither right nor wrong." in found.sentences


def test_a_model_that_changed_while_it_was_measured_gets_no_verdict() -> None:
    found = verdict({"s": marks(W, W, W, R)}, models={"hybrid": ["base:demo@1+demo", "base:demo@2+demo"]})
    assert (found.outcome, found.arm) == ("model_changed", None)
    assert "base:demo@1+demo and base:demo@2+demo" in found.text


def test_nothing_right_and_nothing_to_compare() -> None:
    assert verdict({"s": marks(W, W, W, W)}).outcome == "none_right"
    alone = verdict({"s": {"base": R}}, arms=ARMS[:1])
    assert (alone.outcome, alone.arm) == ("one_arm", None)


def test_a_poor_winner_is_called_poor() -> None:
    found = verdict({"s": marks(W, W, W, "r" * 40 + "w" * 60)})
    assert found.outcome == "winner"
    assert "Even the best arm is wrong more often than right." in found.sentences


def test_false_answers_of_the_recommended_arm_are_said() -> None:
    found = verdict({"s": marks(W, W, W, R), "unanswerable": marks(W, W, R, "w" * 10 + "r" * 90)})
    assert "tuned + retrieval gives a false answer in 0.10 (0.06 to 0.17) of 100 cases." in found.text


def test_arms_are_model_names() -> None:
    assert [arm.model for arm in ARMS] == ["base", "base:demo@1", "base+demo", "base:demo@1+demo"]


def test_an_arm_that_cannot_be_served_is_named() -> None:
    with pytest.raises(TandemError, match="`tuned` needs a tuned model"):
        make_arms(FOUR_ARMS, collection="demo")
    with pytest.raises(TandemError, match="`retrieval` needs an indexed collection"):
        make_arms(FOUR_ARMS, tuned="base:demo@1")
