"""Every rule of the verdict, on graded data whose answer is known."""

from typing import Any

import pytest
import yaml

from cluster.errors import TandemError
from evaluation.arms import Arm, make_arms
from evaluation.config import FOUR_ARMS, ArmName, EndpointArm
from evaluation.questions.question import GENERAL, Question
from evaluation.replies import Grade, Reply
from evaluation.results import ArmResult, BreakEven, Cell, Cost, Difference, Recommendation, Row
from evaluation.verdicts.summary import make_cells, make_differences
from evaluation.verdicts.verdict import recommend
from tandem.project.project import Settings

ARMS = make_arms(FOUR_ARMS, tuned="base:demo@1", collection="demo")
Marks = dict[ArmName, str]


def verdict(
    slices: dict[str, Marks],
    arms: list[Arm] = ARMS,
    models: dict[ArmName, list[str]] | None = None,
    worth: float = 0.05,
    **given: Any,
) -> Recommendation:
    """Marks are one letter a question: r right, w wrong, f failed, u could not be graded, n unclear."""
    rows = [
        Row(question=question(name, number), replies={arm.name: reply(marks[arm.name][number]) for arm in arms})
        for name, marks in slices.items()
        for number in range(len(marks[arms[0].name]))
    ]
    results = [result(arm, rows, (models or {}).get(arm.name, [arm.model])) for arm in arms]
    differences = make_differences(rows, arms, worth=worth)
    return recommend(results, make_cells(rows, arms), differences, max_failed_share=0.05, worth=worth, **given)


def documents(num_documents: int, each: int, best: str, rest: str) -> Recommendation:
    """Two arms on so many documents; the marks of a document's questions follow one another."""
    rows = [
        Row(
            question=Question(id=str(n), slice="s", question="?", answers=("a",), sources=(f"{n // each}.md",)),
            replies={"base": reply(rest[n]), "tuned": reply(best[n])},
        )
        for n in range(num_documents * each)
    ]
    arms = ARMS[:2]
    results = [result(arm, rows, [arm.model]) for arm in arms]
    return recommend(results, make_cells(rows, arms), make_differences(rows, arms), max_failed_share=0.05)


def test_too_few_documents_are_said_with_how_many_are_needed() -> None:
    found = documents(5, 20, "r" * 100, "w" * 100)
    assert (found.outcome, found.headline) == ("not_enough", "Too few documents to tell tuned and base apart.")
    assert found.more_documents is not None and found.more_documents >= 1
    assert found.more_questions is not None and found.more_questions >= found.more_documents
    assert "The 100 questions count as 5 documents" in found.text and "no difference can be shown" in found.text
    assert "more questions from about" in found.would_change[0]


def test_what_documents_leave_of_the_questions_is_said() -> None:
    found = documents(12, 9, ("r" * 27 + "w" * 9 + "r" * 72), "w" * 18 + "r" * 90)
    assert (found.outcome, found.headline) == ("not_enough", "Not enough questions to tell tuned and base apart.")
    assert "The 108 questions count as 12 documents" in found.text and found.more_documents is not None
    assert documents(108, 1, "r" * 27 + "w" * 9 + "r" * 72, "w" * 18 + "r" * 90).more_documents is None


def test_enough_documents_give_a_winner() -> None:
    assert documents(10, 3, "r" * 30, "w" * 30).arm == "tuned"


def test_the_best_arms_figure_is_said_to_be_optimistic_where_it_is() -> None:
    rows = {"s": marks("w" * 30, "w" * 30, "r" * 20 + "w" * 10, "r" * 19 + "w" * 7 + "r" * 4)}
    found = verdict(rows, optimism=0.04)
    assert found.optimism == 0.04
    assert "Chosen as the best of 4, tuned + retrieval probably looks better than it is by about 4 points" in found.text
    assert "expect 73 % (" in found.text
    assert "looks better than it is" not in verdict(rows, optimism=0.004).text


def test_notes_are_the_last_sentences() -> None:
    assert verdict({"s": marks(W, W, W, R)}, notes=["Two questions are the same."]).sentences[-1].startswith("Two")


def question(name: str, number: int) -> Question:
    known = name != "unanswerable"
    return Question(id=f"{name}-{number}", slice=name, question="?", answers=("a",) if known else (), answerable=known)


def reply(mark: str) -> Reply:
    if mark == "f":
        return Reply(failed="the endpoint answered 503")
    if mark == "u":
        return Reply(text="a", ungradable="the judge did not answer")
    right = mark == "r"
    grade = Grade(
        correct=right, content=right, form=None, refused=False, cited_right=None, retrieved_right=None,
        unclear=mark == "n",
    )  # fmt: skip
    return Reply(text="a", model="m", latency_s=0.1, grade=grade)


def result(arm: Arm, rows: list[Row], models: list[str]) -> ArmResult:
    failed = sum(row.replies[arm.name].failed is not None for row in rows)
    failures = {"the endpoint answered 503": failed} if failed else {}
    return ArmResult(
        name=arm.name, title=arm.title, model=arm.model, answered_as=models, warm_up_s=0.1, warm_up_failed=None,
        failures=failures,
    )  # fmt: skip


def marks(base: str, tuned: str, retrieval: str, tuned_retrieval: str) -> Marks:
    return {"base": base, "tuned": tuned, "retrieval": retrieval, "tuned_retrieval": tuned_retrieval}


def _graded(given: Marks, arms: list[Arm]) -> tuple[list[Cell], list[Difference]]:
    rows = [
        Row(question=question("s", number), replies={arm.name: reply(given[arm.name][number]) for arm in arms})
        for number in range(len(given["base"]))
    ]
    return make_cells(rows, arms), make_differences(rows, arms)


R, W = "r" * 100, "w" * 100
WITH_RAFT = make_arms(("base", "raft"), raft="base:demo-raft@1", collection="demo")


def test_a_clear_winner_is_named_with_its_lead() -> None:
    found = verdict(
        {
            "seen": marks(W, R, R, R),
            "changed": marks(W, W, R, R),
            "form": marks(W, R, W, R[:90] + W[:10]),
        }
    )
    assert (found.outcome, found.arm, found.headline) == ("winner", "tuned_retrieval", "Use tuned + retrieval.")
    assert "answers 97 % (94 to 98) of 300 questions right" in found.text
    assert "The next best is tuned with 67 %; the lead is 30 points (22 to 38)." in found.text
    assert "behind" not in found.text, "the plots and tables show it"
    assert found.leaders["form"] == ["tuned"] and found.by_slice["form"] == "tuned (100 %)"
    assert found.by_slice["changed"] == "retrieval (100 %) and tuned + retrieval (100 %), not told apart"


@pytest.mark.parametrize("winner", FOUR_ARMS)
def test_any_arm_can_win(winner: ArmName) -> None:
    found = verdict({"s": {arm: R if arm == winner else W for arm in FOUR_ARMS}})
    assert (found.outcome, found.arm) == ("winner", winner)


def test_arms_that_are_as_good_give_the_one_with_less_to_keep_up() -> None:
    found = verdict({"s": marks(W, W, R[1:] + "w", R), "t": marks(W, W, R, R)})
    assert (found.outcome, found.arm) == ("tie", "retrieval")
    assert "Tuned + retrieval is as good to within 3 points" in found.text


def test_a_lead_within_its_interval_is_not_enough_questions() -> None:
    found = verdict({"s": marks("w" * 30, "w" * 30, "r" * 20 + "w" * 10, "r" * 19 + "w" * 7 + "r" * 4)})
    assert (found.outcome, found.arm) == ("not_enough", None)
    assert found.headline == "Not enough questions to tell tuned + retrieval and retrieval apart."
    assert "+10 points (−10 to 30) on the 30 questions that both answered" in found.text
    assert "If you have to choose now, retrieval leaves the least to keep up." in found.sentences


HOSTED = [
    Arm(name, "m", EndpointArm(url="http://127.0.0.1:1/v1", model="m")) for name in ("first", "second")
]  # fmt: skip


@pytest.mark.parametrize(
    ("second", "favoured"),
    [
        ("r" * 20 + "w" * 10, "and nothing that was measured speaks against first"),
        ("r" * 22 + "w" * 8, "and second gave more right answers here"),
    ],
)
def test_of_two_endpoints_none_leaves_less_to_keep_up(second: str, favoured: str) -> None:
    found = verdict({"s": {"first": "r" * 20 + "w" * 10, "second": second}}, arms=HOSTED)
    assert found.outcome == "not_enough"
    assert found.sentences[-1].startswith("If you have to choose now, ")
    assert "leave equally little to keep up" in found.sentences[-1] and favoured in found.sentences[-1]


def test_a_lead_that_any_tolerance_leaves_standing_has_nothing_said_about_it() -> None:
    assert (
        verdict({"s": {arm: R if arm == "raft" else W for arm in ("base", "raft")}}, arms=WITH_RAFT).would_change == []
    )


def test_an_arm_of_which_no_answer_counts_is_no_next_best() -> None:
    """Every threshold may be set so that an arm without one graded answer stays in."""
    arms = ARMS[:2]
    found = recommend(
        [result(arm, [], [arm.model]) for arm in arms],
        *_graded({"base": "r" * 40, "tuned": "f" * 20 + "n" * 20}, arms),
        max_failed_share=0.6,
        max_unclear_share=0.6,
    )
    assert found.sentences[:2] == [
        "Base answers 100 % (91 to 100) of 40 questions right.",
        "No answer of another arm counts.",
    ]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_handful_of_questions_settles_nothing_even_where_all_are_won(n: int) -> None:
    assert verdict({"s": marks("w" * n, "w" * n, "w" * n, "r" * n)}).outcome == "not_enough"


def test_few_questions_without_a_difference_are_no_tie() -> None:
    assert verdict({"s": marks("w" * 40, "w" * 40, "r" * 40, "r" * 40)}).outcome == "not_enough"


def test_too_many_failures_forbid_a_recommendation() -> None:
    found = verdict({"s": marks(W, W, "f" * 6 + R[:94], R)})
    assert (found.outcome, found.arm) == ("failures", None)
    assert found.headline == "No recommendation: too many calls failed."
    assert "Retrieval: 6 of 100 calls failed, and at most 5 % may." in found.text
    assert "6 times: the endpoint answered 503" in found.text
    assert not found.by_slice and not found.leaders


def test_a_few_failures_are_left_out_and_said() -> None:
    found = verdict({"s": marks(W, W, "f" * 5 + R[:95], W)})
    assert (found.outcome, found.arm) == ("winner", "retrieval")
    assert "answers 100 % (96 to 100) of 95 questions right" in found.text


def test_a_model_that_changed_while_it_was_measured_gets_no_verdict() -> None:
    found = verdict({"s": marks(W, W, W, R)}, models={"tuned_retrieval": ["base:demo@1+demo", "base:demo@2+demo"]})
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
    assert (
        "Tuned + retrieval gives false answers to 10 % (6 to 17) of the 100 questions that nobody can answer."
        in found.text
    )


def test_answers_that_could_not_be_graded_count_with_the_failed_calls() -> None:
    found = verdict({"s": marks(W, W, "fff" + "uuu" + R[:94], R)})
    assert (found.outcome, found.arm) == ("failures", None)
    assert "3 of 100 calls failed and 3 answers could not be graded, and at most 5 % may." in found.text
    few = verdict({"s": marks(W, W, "uuu" + R[:97], W)})
    assert few.outcome == "winner"


def test_a_difference_that_does_not_matter_is_a_tie() -> None:
    slices = {"s": marks("w" * 1000, "w" * 1000, "r" * 980 + "w" * 20, "r" * 1000)}
    fine = verdict(slices, worth=0.01)
    assert (fine.outcome, fine.arm) == ("winner", "tuned_retrieval")
    assert fine.would_change[0].startswith("If 4 points did not matter to you (`evaluation.worth`)")
    assert fine.would_change[0].endswith("there would be a tie, and retrieval leaves the least to keep up.")
    coarse = verdict(slices, worth=0.05)
    assert (coarse.outcome, coarse.arm) == ("tie", "retrieval")
    assert coarse.would_change[0] == (
        "If less than 2 points mattered to you (`evaluation.worth`): tuned + retrieval is better by 2 points."
    )


def cost(arm: ArmName, monthly: float | None, answer: float | None) -> Cost:
    return Cost(
        arm=arm, currency="USD", training_s=None, training_money=None, indexing_s=None, indexing_money=None,
        prompt_tokens=None, completion_tokens=None, machine_s=None, answer_money=answer, right_answer_money=None,
        monthly_money=monthly,
    )  # fmt: skip


TIED = {"s": marks(W + W, W + W, R + R, R + R)}


def test_of_arms_that_are_as_good_the_cheapest_is_taken() -> None:
    found = verdict(TIED, costs=[cost("retrieval", 5, 0.002), cost("tuned_retrieval", 5, 0.001)])
    assert (found.outcome, found.arm) == ("tie", "tuned_retrieval")
    assert "and tuned + retrieval costs least." in found.text
    without = verdict(TIED, costs=[cost("retrieval", 5, 0.002), cost("tuned_retrieval", None, 0.001)])
    assert without.arm == "retrieval"


def test_where_the_number_of_questions_decides_what_is_cheaper_it_is_said() -> None:
    turn = BreakEven(cheaper_above="tuned_retrieval", than="retrieval", questions_per_month=5000)
    both = [cost("retrieval", 5, 0.002), cost("tuned_retrieval", 10, 0.001)]
    found = verdict(TIED, costs=both, break_even=[turn])
    assert (found.outcome, found.arm) == ("tie", "retrieval")
    told = "More than 5,000 questions a month: tuned + retrieval then costs less than retrieval."
    assert told in found.would_change
    assert any("Prices" in change for change in verdict(TIED).would_change)


def test_what_is_open_says_how_many_more_questions_settle_it() -> None:
    found = verdict({"s": marks("w" * 30, "w" * 30, "r" * 20 + "w" * 10, "r" * 19 + "w" * 7 + "r" * 4)})
    assert found.more_questions is not None and 50 < found.more_questions < 1000
    assert found.would_change[0].startswith("About ") and found.adopt is None
    assert verdict({"s": marks(W, W, R, W)}).more_questions is None


def test_other_questions_may_need_another_arm() -> None:
    found = verdict({"seen": marks(W, R, R, R), "changed": marks(W, W, R, R), "form": marks(W, R, W, R[:80] + W[:20])})
    assert "If most questions were like those of form: tuned is better there." in found.would_change


def test_general_questions_are_no_part_of_the_verdict_and_show_what_was_forgotten() -> None:
    found = verdict({"s": marks(W, W, W, R), GENERAL: marks(R, W, R, "r" * 60 + "w" * 40)})
    assert (found.outcome, found.arm) == ("winner", "tuned_retrieval")
    assert "answers 100 % (96 to 100) of 100 questions right" in found.text
    assert GENERAL not in found.by_slice and GENERAL not in found.leaders
    assert (
        "On 100 general questions tuned + retrieval has forgotten: 60 % right, 100 % with the base model, −40 points ("
        in found.text
    )
    assert "On 100 general questions tuned has forgotten: 0 % right, 100 % with the base model" in found.text
    kept = verdict({"s": marks(W, W, W, R), GENERAL: marks(R, R, R, R)})
    assert "tuned + retrieval has not measurably forgotten: 100 % right, 100 % with" in kept.text
    assert "general questions tuned has" not in kept.text


@pytest.mark.parametrize("winner", FOUR_ARMS)
def test_the_lines_that_adopt_an_arm_are_a_project_file(winner: ArmName) -> None:
    found = verdict({"s": {arm: R if arm == winner else W for arm in FOUR_ARMS}})
    assert found.adopt is not None
    assert f"the model {next(arm.model for arm in ARMS if arm.name == winner)}." in found.adopt
    lines = yaml.safe_load(found.adopt) or {}
    settings = Settings.model_validate({"project": "p", "model": "m", **lines})
    assert (settings.retrieval.collection == "demo") == (winner in ("retrieval", "tuned_retrieval"))
    assert (settings.serving.preload == ["demo"]) == (winner in ("tuned", "tuned_retrieval"))


def test_another_endpoint_is_adopted_by_asking_it() -> None:
    hosted = EndpointArm(url="https://models.example/v1", model="large")
    arms = [ARMS[0], Arm("hosted", "large", hosted)]
    found = verdict({"s": {"base": W, "hosted": R}}, arms=arms, endpoints={"hosted": hosted})
    assert (found.outcome, found.arm) == ("winner", "hosted")
    assert found.adopt is not None and "Ask https://models.example/v1 for the model large." in found.adopt
    assert yaml.safe_load(found.adopt) is None


def test_arms_are_model_names() -> None:
    assert [arm.model for arm in ARMS] == ["base", "base:demo@1", "base+demo", "base:demo@1+demo"]


def test_an_arm_that_cannot_be_served_is_named() -> None:
    with pytest.raises(TandemError, match="`tuned` needs a tuned model"):
        make_arms(FOUR_ARMS, collection="demo")
    with pytest.raises(TandemError, match="`retrieval` needs an indexed collection"):
        make_arms(FOUR_ARMS, tuned="base:demo@1")
