"""A new version that is worse is refused, one that is as good passes, and few questions are said to be too few."""

import itertools
import re

import pytest

from cluster.registry.gate_records import describe_gates
from evaluation.config import EvaluationConfig, Gates
from evaluation.questions.question import GENERAL, Question
from evaluation.replies import Grade, NoAnswer, Reply
from evaluation.results import Gate, Report, Row
from evaluation.verdicts.promotion_gates import judge_gates
from tests.evaluation.reports import make_report


def marks(slice_name: str, new: str, live: str, base: str | None = None, per_document: int = 0) -> list[Row]:
    """One letter a question: r right, w wrong, f failed, n no answer, u unclear."""
    answerable = slice_name != "unknown"
    return [
        Row(
            question=Question(
                id=f"{slice_name}{number}", slice=slice_name, question="?", answerable=answerable,
                answers=("a",) if answerable else (),
                sources=(f"{number // per_document}.md",) if per_document else (),
            ),
            replies={"new": reply(new[number]), "live": reply(live[number]), "base": reply((base or live)[number])},
        )
        for number in range(len(new))
    ]  # fmt: skip


def reply(mark: str) -> Reply:
    if mark == "f":
        return Reply(failed="503")
    if mark == "n":
        missing: NoAnswer = "cut_off"
        return Reply(text="", no_answer=missing)
    right = mark == "r"
    grade = Grade(
        correct=right, content=right, form=None, refused=False, cited_right=None, retrieved_right=None,
        unclear=mark == "u",
    )  # fmt: skip
    return Reply(text="a", grade=grade)


def gates_of(rows: list[Row], live: str | None = "live", **settings: object) -> dict[str, Gate]:
    config = EvaluationConfig.model_validate({"gates": settings})
    return {gate.name: gate for gate in judge_gates(rows, "new", live, config, ("demo@3", "demo@2" if live else None))}


R, W = "r" * 100, "w" * 100


def test_as_good_as_live_passes_every_gate() -> None:
    rows = [*marks("a", R, R), *marks("b", "r" * 95 + "w" * 5, R[:97] + "www"), *marks("unknown", R, R),
            *marks(GENERAL, R, R)]  # fmt: skip
    passed = gates_of(rows)
    assert list(passed) == ["answered", "overall", "slice a", "slice b", "slice unknown", "false answers", "forgetting"]
    assert {(gate.passed, gate.outcome, gate.holds) for gate in passed.values()} == {(True, "passed", False)}


def test_a_slice_that_got_worse_is_refused_though_overall_got_better() -> None:
    gates = gates_of([*marks("a", R, W), *marks("b", "r" * 70 + "w" * 30, "r" * 95 + "w" * 5)])
    assert [name for name, gate in gates.items() if gate.outcome == "refused"] == ["slice b"]
    refused = gates["slice b"]
    assert refused.holds and not refused.passed
    assert refused.seen == (
        "demo@3 is right on 70 of 100 questions, demo@2 on 95: -25 points (-33 to -16). "
        "This is worse than chance explains."
    )


def test_few_questions_are_too_few_to_tell_and_it_is_said_how_many_would_do() -> None:
    gate = gates_of(marks("a", "r" * 24 + "wwwwww", "r" * 28 + "ww"))["slice a"]
    assert (gate.outcome, gate.passed, gate.holds) == ("undecided", False, True)
    assert "not enough questions to exclude a loss of 20 points; about " in gate.seen and " more would do" in gate.seen


def test_the_number_of_gates_is_corrected_for() -> None:
    """8 lost and none won is p = .004 on one side; with 22 other gates it is .09."""
    worse = marks("a", R[:92] + "w" * 8, R)
    assert gates_of(worse)["slice a"].outcome == "refused"
    rows = [*worse, *(row for number in range(20) for row in marks(f"s{number}", R, R))]
    assert gates_of(rows)["slice a"].outcome != "refused"


def test_one_more_false_answer_is_chance_and_many_are_not() -> None:
    assert gates_of(marks("unknown", R[:98] + "ww", R[:99] + "w"))["false answers"].outcome == "passed"
    assert gates_of(marks("unknown", R[:80] + "w" * 20, R))["false answers"].outcome == "refused"
    strict = gates_of(marks("unknown", R[:98] + "ww", R[:99] + "w"), most_new_false_answers=0.01)
    assert strict["false answers"].outcome == "undecided"


def test_forgetting_is_measured_against_the_base_model() -> None:
    forgotten = [*marks("a", R, R), *marks(GENERAL, R[:70] + "w" * 30, W, base=R)]
    gate = gates_of(forgotten)["forgetting"]
    assert gate.outcome == "refused" and "the base model on 100" in gate.seen
    assert gates_of([*marks("a", R, R), *marks(GENERAL, R[:97] + "www", W, base=R)])["forgetting"].passed
    assert "slice general" not in gates_of(forgotten)


def test_a_version_that_does_not_answer_is_refused() -> None:
    for missing in "fn":
        assert gates_of(marks("a", missing * 20 + R[:80], R))["answered"].outcome == "refused"
        assert gates_of(marks("a", missing * 6 + R[:94], R))["answered"].outcome == "undecided", "allowed are 5 %"
        assert gates_of(marks("a", missing * 3 + R[:97], R))["answered"].outcome == "passed"
    nothing = gates_of(marks("a", "f" * 100, R))["overall"]
    assert nothing.outcome == "undecided" and "Nothing was compared." in nothing.seen
    assert not gates_of([])["answered"].passed


def test_unclear_answers_have_a_gate_by_themselves() -> None:
    gates = gates_of(marks("a", "u" * 20 + R[:80], R))
    assert (gates["answered"].outcome, gates["clear"].outcome) == ("passed", "refused")
    assert "clear" not in gates_of(marks("a", R, R))


def test_the_first_version_has_nothing_to_be_worse_than() -> None:
    assert list(gates_of([*marks("a", W, R), *marks(GENERAL, R, R)], live=None)) == ["answered", "forgetting"]


def test_a_loss_in_few_documents_is_not_a_loss_in_many_questions() -> None:
    """The same answers: 12 lost of 120, in 12 documents of 10 questions; the lost ones are one document's."""
    apart = gates_of(marks("a", "w" * 12 + "r" * 108, "r" * 120))["overall"]
    together = gates_of(marks("a", "w" * 12 + "r" * 108, "r" * 120, per_document=10))["overall"]
    assert (apart.outcome, together.outcome) == ("refused", "undecided")
    assert re.search(r"about \d+ more from other documents would do", together.seen)
    few = gates_of(marks("a", "r" * 120, "r" * 120, per_document=40))["overall"]
    assert few.seen.endswith("3 documents are too few to exclude a loss of 10 points: at least 6 are needed.")


def test_looking_again_leaves_less_error() -> None:
    rows = marks("a", R[:92] + "w" * 8, R)
    outcomes = [judge_gates(rows, "new", "live", EvaluationConfig(), error=error)[1].outcome for error in (0.05, 0.001)]
    assert outcomes == ["refused", "undecided"]


def test_a_setting_says_which_gates_hold_where_questions_are_too_few() -> None:
    rows = [*marks("a", R[:50] + "wr" * 50, R[:50] + "rw" * 50), *marks("b", "r" * 8 + "ww", "r" * 8 + "ww")]
    assert {name: gate.outcome for name, gate in gates_of(rows).items()} == {
        "answered": "passed", "overall": "undecided", "slice a": "passed", "slice b": "undecided",
    }  # fmt: skip
    for setting, holding in (
        ("any", ["overall", "slice b"]),
        ("overall", ["overall"]),
        ("never", []),
    ):
        found = gates_of(rows, undecided_holds=setting)
        assert [name for name, gate in found.items() if gate.holds] == holding
        assert gates_of(marks("a", W, R), undecided_holds=setting)["overall"].holds, "a refusal always holds"


def test_no_outcome_gives_a_passed_gate_that_was_not_tested() -> None:
    """Over all small combinations of answers: passed, refused and undecided exclude each other, and few never pass."""
    for new, live in itertools.product(["".join(each) for each in itertools.product("rwf", repeat=3)], repeat=2):
        gates = gates_of(marks("a", new, live))
        for gate in gates.values():
            assert gate.passed == (gate.outcome == "passed") and gate.holds == (gate.outcome != "passed")
            assert gate.outcome != "passed", "three questions show nothing"


def test_gates_of_earlier_versions_passed_or_failed() -> None:
    old = {"name": "overall", "passed": False, "seen": "-0.20."}
    gates = [Gate.model_validate(old), Gate.model_validate(old | {"passed": True})]
    assert [(gate.outcome, gate.holds) for gate in gates] == [("refused", True), ("passed", False)]
    report = make_report()
    document = report.model_dump(mode="json")
    document["gates"] = [old, old | {"passed": True}]
    del document["candidate"]
    assert Report.model_validate(document).gates == gates


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (["passed"] * 3, "demo@3 passed all 3 gates."),
        (["passed"], "demo@3 passed its one gate."),
        (["refused", "passed"], "demo@3 was refused by 1 of 2 gates: g0."),
        (["undecided", "passed"], "There are not enough questions to tell about demo@3 at 1 of 2 gates: g0."),
        (["refused", "undecided"], "demo@3 was refused by 1 of 2 gates: g0. There are not enough questions to tell "
                                   "about demo@3 at 1 of 2 gates: g1."),
    ],
)  # fmt: skip
def test_the_words_name_the_version(outcomes: list[str], words: str) -> None:
    gates = [
        Gate.model_validate({"name": f"g{number}", "passed": each == "passed", "outcome": each, "seen": ""})
        for number, each in enumerate(outcomes)
    ]
    assert describe_gates(gates, "demo@3") == words


def test_old_settings_are_read() -> None:
    assert Gates.model_validate({"most_forgetting": 0.05, "most_new_false_answers": 0.0}).most_loss == 0.1
