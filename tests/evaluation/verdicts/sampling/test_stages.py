"""An arm that cannot win any more is not asked the rest, and nothing else changes."""

import itertools

import pytest

from evaluation.questions.question import GENERAL, Question
from evaluation.results import Difference
from evaluation.verdicts.sampling.looks import Looks
from evaluation.verdicts.sampling.stages import arms_out, looks_of_stages, make_stages


def questions(n: int, slice_name: str = "s") -> list[Question]:
    return [Question(id=f"{slice_name}{i}", slice=slice_name, question=f"Q {i}?", answers=("a",)) for i in range(n)]


def difference(
    first: str, second: str, low: float, high: float, separated: bool, slice_name: str = "overall"
) -> Difference:
    return Difference(
        slice=slice_name, first=first, second=second, n=100, difference=(low + high) / 2, low=low, high=high,
        p_value=0.001, separated=separated, smallest_effect=None,
    )  # fmt: skip


@pytest.mark.parametrize(("n", "num_stages"), [(100, 4), (10, 3), (3, 10), (1, 1)])
def test_every_question_is_in_one_stage(n: int, num_stages: int) -> None:
    stages = make_stages(questions(n), num_stages, seed=0)
    assert sorted(each.id for stage in stages for each in stage) == sorted(each.id for each in questions(n))
    asked = list(itertools.accumulate(map(len, stages)))
    assert all(later <= 2 * before for before, later in itertools.pairwise(asked)) and len(stages) <= num_stages
    assert stages == make_stages(questions(n), num_stages, seed=0)


def test_general_questions_are_all_in_the_first_stage() -> None:
    first, second = make_stages([*questions(10), *questions(7, GENERAL)], 2, seed=0)
    assert sum(each.slice == GENERAL for each in first) == 7 and len(second) == 5 and len(first) == 12


def test_stages_and_the_last_test_share_the_error_of_the_look() -> None:
    between, last = looks_of_stages(Looks(1, 0.04, 0.005), 4)
    assert 3 * between.error + last.error == pytest.approx(0.04)
    assert looks_of_stages(Looks(1, 0.04, 0.005), 1)[1].error == 0.04


def test_only_what_can_neither_win_nor_tie_is_out() -> None:
    found = [
        difference("a", "b", 0.06, 0.5, True),
        difference("a", "c", 0.01, 0.5, True),
        difference("d", "a", -0.5, -0.2, True),
        difference("a", "e", 0.2, 0.5, False),
        difference("a", "f", 0.2, 0.5, True, "a slice"),
    ]
    assert arms_out(found, worth=0.05) == {"b", "d"}
    assert arms_out(found, worth=0.05, protected=["b"]) == {"d"}
