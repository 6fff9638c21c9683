"""A new version that is worse, answers falsely or has forgotten does not pass; one that is as good does."""

from evaluation.config import EvaluationConfig, Gates
from evaluation.questions.question import GENERAL, Question
from evaluation.results import Gate, Grade, Reply, Row
from evaluation.verdicts.promotion_gates import judge_gates


def marks(slice_name: str, new: str, live: str, base: str | None = None) -> list[Row]:
    """One letter a question: r right, w wrong, f failed."""
    answerable = slice_name != "unknown"
    return [
        Row(
            question=Question(id=f"{slice_name}{number}", slice=slice_name, question="?", answerable=answerable,
                              answers=("a",) if answerable else ()),
            replies={"new": reply(new[number]), "live": reply(live[number]), "base": reply((base or live)[number])},
        )
        for number in range(len(new))
    ]  # fmt: skip


def reply(mark: str) -> Reply:
    if mark == "f":
        return Reply(failed="503")
    right = mark == "r"
    grade = Grade(correct=right, content=right, form=None, refused=False, cited_right=None, retrieved_right=None)
    return Reply(text="a", grade=grade)


def found(rows: list[Row], live: str | None = "live", config: EvaluationConfig | None = None) -> dict[str, Gate]:
    return {gate.name: gate for gate in judge_gates(rows, "new", live, config or EvaluationConfig())}


R, W = "r" * 100, "w" * 100


def test_as_good_as_live_passes_every_gate() -> None:
    rows = [*marks("a", R, R), *marks("b", "r" * 95 + "w" * 5, R[:97] + "www"), *marks("unknown", R, R),
            *marks(GENERAL, R, R)]  # fmt: skip
    passed = found(rows)
    assert list(passed) == ["answered", "overall", "slice a", "slice b", "slice unknown", "false answers", "forgetting"]
    assert all(gate.passed for gate in passed.values())


def test_a_slice_that_got_worse_is_seen_though_overall_got_better() -> None:
    failed = found([*marks("a", R, W), *marks("b", "r" * 70 + "w" * 30, "r" * 95 + "w" * 5)])
    assert [name for name, gate in failed.items() if not gate.passed] == ["slice b"]
    assert "-0.25" in failed["slice b"].seen and "100 questions" in failed["slice b"].seen


def test_a_loss_within_the_interval_passes_and_says_what_could_be_seen() -> None:
    gate = found(marks("a", "r" * 26 + "wwww", "r" * 28 + "ww"))["slice a"]
    assert gate.passed and "a loss of 0." in gate.seen


def test_the_number_of_slices_is_corrected_for() -> None:
    """8 lost and none won is p = .008 by itself, and .17 as one of 22."""
    worse = marks("a", R[:92] + "w" * 8, R)
    assert not found(worse)["slice a"].passed
    rows = [*worse, *(row for number in range(20) for row in marks(f"s{number}", R, R))]
    assert found(rows)["slice a"].passed


def test_one_more_false_answer_is_one_too_many() -> None:
    rows = marks("unknown", R[:98] + "ww", R[:99] + "w")
    assert not found(rows)["false answers"].passed
    allowed = EvaluationConfig(gates=Gates(most_new_false_answers=0.01))
    assert found(rows, config=allowed)["false answers"].passed
    assert found(marks("unknown", R[:99] + "w", R[:98] + "ww"))["false answers"].passed


def test_forgetting_is_measured_against_the_base_model() -> None:
    rows = [*marks("a", R, R), *marks(GENERAL, R[:94] + "w" * 6, W, base=R)]
    assert not found(rows)["forgetting"].passed
    assert found([*marks("a", R, R), *marks(GENERAL, R[:95] + "w" * 5, W, base=R)])["forgetting"].passed
    assert "slice general" not in found(rows)


def test_a_version_that_does_not_answer_does_not_pass() -> None:
    assert not found(marks("a", "f" * 6 + R[:94], R))["answered"].passed
    assert not found(marks("a", "f" * 100, R))["overall"].passed
    assert not found([])["answered"].passed


def test_the_first_version_has_nothing_to_be_worse_than() -> None:
    assert list(found([*marks("a", W, R), *marks(GENERAL, R, R)], live=None)) == ["answered", "forgetting"]
