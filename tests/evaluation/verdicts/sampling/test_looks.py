"""Looking again: which earlier comparisons count, and what error is left."""

import itertools
from pathlib import Path

import pytest

from evaluation.arms import Arm, Shot
from evaluation.config import EndpointArm
from evaluation.questions.question import Question
from evaluation.verdicts.sampling.looks import (
    FILE,
    Look,
    count_looks,
    describe_looks,
    error_of_look,
    make_look,
    write_look,
)

BASE, TUNED, OTHER = Arm("base", "base"), Arm("tuned", "base:a@1"), Arm("tuned", "base:a@2")


def look(questions: range, minute: int, arms: tuple[Arm, ...] = (BASE, TUNED), num_documents: int = 40) -> Look:
    asked = [
        Question(id=str(n), slice="s", question=f"Q {n}?", answers=("a",), sources=(f"{n % num_documents}.md",))
        for n in questions
    ]
    return make_look(asked, arms, f"2026-11-30T12:{minute:02}:00+00:00")


def run_folders(runs: Path, *looks: Look) -> Path:
    for number, each in enumerate(looks):
        folder = runs / f"compare-{number}"
        folder.mkdir(parents=True)
        write_look(each, folder)
    return runs


def test_all_looks_together_spend_five_percent() -> None:
    errors = [error_of_look(number) for number in range(1, 100_000)]
    assert errors[0] == pytest.approx(0.04) and errors[1] == pytest.approx(0.005)
    assert 0.0499 < sum(errors) <= 0.05
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))


def test_the_first_look_is_the_first(tmp_path: Path) -> None:
    found = count_looks(look(range(50), 1), tmp_path / "nothing here")
    assert (found.number, found.error, found.next_error) == (1, pytest.approx(0.04), pytest.approx(0.005))
    assert describe_looks(found) == []


def test_more_questions_are_another_look_and_the_same_questions_are_not(tmp_path: Path) -> None:
    runs = run_folders(tmp_path, look(range(50), 1), look(range(50), 2), look(range(80), 3), look(range(50), 4))
    assert count_looks(look(range(120), 9), runs).number == 3
    assert count_looks(look(range(50), 9), runs).number == 1, "asked again, be it after a larger set"
    assert count_looks(look(range(80), 9), runs).number == 2
    (words,) = describe_looks(count_looks(look(range(120), 9), runs))
    assert "look number 3" in words and "0.17 %" in words


@pytest.mark.parametrize(
    "earlier",
    [
        look(range(100, 150), 1),
        look(range(50), 1, (BASE, OTHER)),
        look(range(50), 30),
        look(range(50), 1, num_documents=5),
    ],
    ids=["other questions", "another version", "later", "could tell nothing apart"],
)
def test_what_is_no_earlier_look(earlier: Look, tmp_path: Path) -> None:
    assert count_looks(look(range(60), 9), run_folders(tmp_path, earlier)).number == 1


HOSTED = EndpointArm(url="https://models.example/v1", model="large")


def test_an_arm_is_known_whatever_it_is_called(tmp_path: Path) -> None:
    first = (BASE, Arm("large", "large", HOSTED))
    runs = run_folders(tmp_path, look(range(50), 1, first))
    renamed = (Arm("plain", "base"), Arm("gpt", "large", HOSTED.model_copy(update={"input_price": 2.0})))
    assert count_looks(look(range(60), 9, renamed), runs).number == 2
    live = run_folders(tmp_path / "live", look(range(50), 1, (BASE, TUNED)))
    assert count_looks(look(range(60), 9, (BASE, OTHER, Arm("live", TUNED.model))), live).number == 2


@pytest.mark.parametrize(
    "other",
    [
        Arm("large", "large", EndpointArm(url="https://others.example", model="large")),
        Arm("large", "large", HOSTED.model_copy(update={"extra_body": {"reasoning_effort": "low"}})),
        Arm("large", "large", HOSTED, shots=(Shot("One?", "1"),)),
        Arm("large", "large", HOSTED, thinking=True),
    ],
    ids=["elsewhere", "other settings", "with examples", "thinking"],
)
def test_an_arm_of_the_same_name_may_be_another(other: Arm, tmp_path: Path) -> None:
    runs = run_folders(tmp_path, look(range(50), 1, (BASE, Arm("large", "large", HOSTED))))
    assert count_looks(look(range(60), 9, (BASE, other)), runs).number == 1


def test_looks_of_earlier_versions_know_arms_by_name_and_model(tmp_path: Path) -> None:
    earlier = look(range(50), 1).model_copy(update={"identities": {}})
    assert count_looks(look(range(60), 9), run_folders(tmp_path, earlier)).number == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"created": 1}', "\x00"])
def test_what_cannot_be_read_is_passed_over(content: str, tmp_path: Path) -> None:
    (run_folders(tmp_path, look(range(50), 1)) / "compare-0" / FILE).write_text(content)
    assert count_looks(look(range(60), 9), tmp_path).number == 1
