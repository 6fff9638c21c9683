"""Sums that can be done by hand, what is missing stays missing, and arms that stay with their answers."""

from typing import Any

import pytest

from evaluation.arms import Arm, make_arms
from evaluation.config import EndpointArm, EvaluationConfig, Prices
from evaluation.questions.question import Question
from evaluation.replies import Grade, Reply
from evaluation.results import Cost, Row
from evaluation.verdicts.consistency import measure_consistency
from evaluation.verdicts.costs import costs_of_arms, find_break_even

HOSTED = EndpointArm(url="https://models.example/v1", model="large", input_price=2.0, output_price=10.0)
ARMS = [
    *make_arms(("base", "retrieval", "tuned_retrieval"), tuned="base:a@1", collection="c"),
    Arm("hosted", "large", HOSTED),
]


def reply(right: bool = True, text: str = "a", **fields: Any) -> Reply:
    grade = Grade(correct=right, content=right, form=None, refused=False, cited_right=None, retrieved_right=None)
    times = {"latency_s": 1.6, "machine_s": 0.1}
    return Reply(text=text, grade=grade, prompt_tokens=500, completion_tokens=20, **(times | fields))


def rows(n: int = 10, num_right: int = 5) -> list[Row]:
    questions = [Question(id=str(i), slice="s", question="?", answers=("a",)) for i in range(n)]
    return [
        Row(question=question, replies={arm.name: reply(number < num_right) for arm in ARMS})
        for number, question in enumerate(questions)
    ]


def measured(prices: Prices, **changes: Any) -> dict[str, Cost]:
    config = EvaluationConfig(prices=prices, concurrency=7)
    given = {"training_s": {"tuned_retrieval": 7200.0}, "indexing_s": 1800.0} | changes
    return {cost.arm: cost for cost in costs_of_arms(rows(), ARMS, config, **given)}


def test_sums_by_hand() -> None:
    prices = Prices(machine_hour=3.6, training_gpu_hour=2.0, trainings_per_month=3, indexings_per_month=4)
    found = measured(prices)
    assert found["base"].machine_s == pytest.approx(0.1)
    assert found["base"].answer_money == pytest.approx(0.0001)
    assert found["base"].right_answer_money == pytest.approx(0.0002)
    assert (found["base"].monthly_money, found["base"].training_money) == (0, None)
    assert found["retrieval"].indexing_money == pytest.approx(1.8)
    assert found["retrieval"].monthly_money == pytest.approx(7.2)
    assert found["tuned_retrieval"].training_money == pytest.approx(4.0)
    assert found["tuned_retrieval"].monthly_money == pytest.approx(3 * 4.0 + 7.2)
    assert found["hosted"].answer_money == pytest.approx(500 * 2e-6 + 20 * 10e-6)
    assert (found["hosted"].monthly_money, found["hosted"].prompt_tokens) == (0, 500)
    assert found["hosted"].machine_s is None, "its machines are paid by the token"


def test_without_a_price_there_is_no_sum() -> None:
    found = measured(Prices())
    assert found["base"].machine_s is not None and found["base"].answer_money is None
    assert (found["tuned_retrieval"].monthly_money, found["retrieval"].monthly_money) == (None, None)
    assert found["hosted"].answer_money is not None and found["base"].monthly_money is None
    assert [cost.monthly_money for cost in measured(Prices(training_gpu_hour=1.0)).values()] == [None, None, None, 0]
    assert measured(Prices(machine_hour=1.0), training_s={})["tuned_retrieval"].monthly_money is None
    assert measured(Prices(machine_hour=1.0))["tuned_retrieval"].training_money == pytest.approx(2.0)


def machine_s(replies: list[Reply]) -> float | None:
    made = [
        Row(question=Question(id=str(i), slice="s", question="?", answers=("a",)), replies={"base": each})
        for i, each in enumerate(replies)
    ]
    found = costs_of_arms(made, ARMS[:1], EvaluationConfig(prices=Prices(machine_hour=3.6)), {}, None)[0]
    assert found.answer_money == (None if found.machine_s is None else pytest.approx(found.machine_s / 1000))
    return found.machine_s


def test_failed_calls_are_no_answers_and_were_paid_for() -> None:
    failed = Reply(failed="503", machine_s=0.3)
    assert machine_s([reply()] * 4 + [failed] * 2) == pytest.approx((4 * 0.1 + 2 * 0.3) / 4)
    assert machine_s([reply()] * 4 + [Reply(failed="503")] * 2) == pytest.approx(0.1)
    assert machine_s([failed] * 4) is None
    assert machine_s([]) is None


def test_answers_that_an_earlier_version_kept_are_not_measured_and_not_guessed() -> None:
    unmeasured = reply(machine_s=None)
    assert machine_s([unmeasured] * 4) is None
    assert machine_s([unmeasured] * 5 + [reply()] * 4) is None, "few, that had the engine for themselves"
    assert machine_s([unmeasured] * 4 + [reply()] * 4) == pytest.approx(0.1)
    assert machine_s([unmeasured] * 4 + [reply()] * 4 + [Reply(failed="503", machine_s=0.8)]) == pytest.approx(0.2)


def test_the_break_even_is_where_both_cost_the_same() -> None:
    found = measured(Prices(machine_hour=3.6, training_gpu_hour=2.0))
    turns = find_break_even(list(found.values()))
    assert {(turn.cheaper_above, turn.than) for turn in turns} == {
        ("retrieval", "hosted"),
        ("tuned_retrieval", "hosted"),
    }
    for turn in turns:
        ours, theirs = found[turn.cheaper_above], found[turn.than]
        sums = [cost.monthly_money + turn.questions_per_month * cost.answer_money for cost in (ours, theirs)]  # type: ignore[operator]
        assert sums[0] == pytest.approx(sums[1])
    assert find_break_even(list(measured(Prices()).values())) == []


def test_an_arm_that_stays_with_its_answer() -> None:
    steady = [row.model_copy(update={"again": {"base": [reply(text="A."), reply(text="a")]}}) for row in rows(8)]
    moving = [row.model_copy(update={"again": {"base": [reply(text="a"), reply(text="b")]}}) for row in rows(2)]
    failed = [row.model_copy(update={"again": {"base": [reply(text="a"), Reply(failed="503")]}}) for row in rows(3)]
    found = measure_consistency([*steady, *moving, *failed], ARMS[:2])
    assert found[0].repeated is not None and (found[0].repeated.right, found[0].repeated.n) == (8, 10)
    assert (found[0].paraphrased, found[1].repeated) == (None, None)


def test_other_wordings_get_the_same_verdict_or_not() -> None:
    base = rows(4, 3)  # three right, one wrong
    worded = [base[0].model_copy(update={"paraphrased": {"base": [reply(True), reply(True)]}}),
              base[1].model_copy(update={"paraphrased": {"base": [reply(True), reply(False)]}}),
              base[2].model_copy(update={"paraphrased": {"base": [Reply(failed="503")]}}),
              base[3].model_copy(update={"paraphrased": {"base": [reply(False), reply(False)]}})]  # fmt: skip
    found = measure_consistency(worded, ARMS[:1])[0]
    assert found.paraphrased is not None and found.right_in_all is not None
    assert (found.paraphrased.right, found.right_in_all.right, found.paraphrased.n) == (2, 1, 3)
