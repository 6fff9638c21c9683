"""A questions file in two: no document and no near pair on both sides, slices in their shares, rows that train."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from cluster.errors import TandemError
from evaluation.drafts.near_duplicates import find_near_duplicates
from evaluation.drafts.splitting import split_questions, to_jsonl, to_training_rows
from evaluation.questions.files import load_questions
from evaluation.questions.leaks import find_leaks_among
from evaluation.questions.question import Question
from training.config import TrainingConfig
from training.data.rows import check_rows
from training.publish.publish import trained_row

QUESTIONS = Path(__file__).parents[3] / "examples" / "quickstart" / "data" / "questions.jsonl"


def ask(name: str, *sources: str, text: str | None = None, slice_name: str = "s") -> Question:
    return Question(
        id=name, slice=slice_name, question=text or f"What is {name}?", answers=(f"{name} itself",), sources=sources
    )


def random_questions(seed: int) -> list[Question]:
    """300 questions in two slices on 200 documents, some on two of them and some on none."""
    random = Random(seed)
    return [
        ask(f"q{n}", *random.sample([f"{d}.md" for d in range(200)], random.choice((0, 1, 1, 1, 2))),
            slice_name=random.choice(("often", "often", "rare")))
        for n in range(300)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_no_document_is_on_both_sides_and_slices_keep_their_shares(seed: int) -> None:
    questions = random_questions(seed)
    found = split_questions(questions, 0.3, seed)
    train, test = ({source for each in side for source in each.sources} for side in (found.train, found.test))
    assert not train & test
    assert sorted(each.id for each in (*found.train, *found.test)) == sorted(each.id for each in questions)
    all_of, tested = (Counter(each.slice for each in side) for side in (questions, found.test))
    assert all(abs(tested[name] - 0.3 * all_of[name]) <= 2 for name in all_of)
    assert split_questions(questions, 0.3, seed) == found
    assert split_questions(questions, 0.3, seed + 100) != found


def test_questions_joined_over_several_steps_stay_together() -> None:
    chain = [ask("a", "1.md"), ask("b", "./1.md", "2.md"), ask("c", "2.md", "3.md"), ask("d", "3.md")]
    others = [ask(f"o{n}", f"o{n}.md") for n in range(6)]
    found = split_questions([*chain, *others], 0.4)
    sides = [{each.id for each in side} for side in (found.train, found.test)]
    assert any({"a", "b", "c", "d"} <= side for side in sides)
    assert (found.num_groups, found.num_in_largest) == (7, 4)
    assert len(found.test) == 4


def test_near_pairs_stay_together_though_they_name_no_document() -> None:
    pairs = [
        ask(f"{name}{n}", text=text.format(n=n))
        for n in range(20)
        for name, text in (("a", "What is the code of thing {n}?"), ("b", "Please, what is a code for Thing {n}"))
    ]
    assert [(pair.first.id, pair.second.id) for pair in find_near_duplicates(pairs)] == [
        (f"a{n}", f"b{n}") for n in range(20)
    ]
    found = split_questions(pairs, 0.5)
    assert {each.id[1:] for each in found.train}.isdisjoint(each.id[1:] for each in found.test)
    assert len(found.test) == 20


def test_long_questions_with_the_same_answer_are_alike() -> None:
    text = "Who of us may still take the days of leave that were left over from the last {} at work?"
    answer = "All who ask for it in March may."
    asked = [ask(word, text=text.format(word)).model_copy(update={"reference": answer}) for word in ("year", "month")]
    (pair,) = find_near_duplicates(asked)
    assert (pair.first.id, pair.second.id) == ("year", "month")
    assert 0.6 <= pair.similarity < 1
    assert (
        find_near_duplicates([asked[0], asked[1].model_copy(update={"reference": "All who ask for it in April may."})])
        == []
    )


def test_the_training_side_trains_and_leaks_nothing(tmp_path: Path) -> None:
    found = split_questions(load_questions(QUESTIONS), 0.3)
    (tmp_path / "train.jsonl").write_text(to_training_rows(found.train))
    rows = check_rows(TrainingConfig(data=tmp_path / "train.jsonl")).rows
    assert len(rows) == len(found.train)
    assert rows[0].sources == found.train[0].sources
    assert rows[0].messages[-1]["content"] == found.train[0].reference
    assert find_leaks_among(found.test, map(trained_row, rows)) == []
    assert len(find_leaks_among(found.train, map(trained_row, rows))) == len(found.train)


def test_the_test_side_is_read_again_as_it_was(tmp_path: Path) -> None:
    found = split_questions(load_questions(QUESTIONS), 0.3)
    (tmp_path / "test.jsonl").write_text(to_jsonl(found.test))
    assert load_questions(tmp_path / "test.jsonl") == list(found.test)


def test_an_answer_that_cannot_be_written_down_is_named() -> None:
    refused = Question(id="r", slice="s", question="Who?", answerable=False)
    rows = [json.loads(line) for line in to_training_rows([refused, ask("a")]).splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["I do not know.", "a itself"]
    formed = ask("f").model_copy(update={"form": "is (?P<value>.+)"})
    with pytest.raises(TandemError, match="1 questions do not say how a right answer is written: f"):
        to_training_rows([formed])


@pytest.mark.parametrize("questions", [[ask("a")], [ask("a", "1.md"), ask("b", "1.md")]])
def test_one_group_cannot_be_split(questions: list[Question]) -> None:
    with pytest.raises(TandemError, match=r"cannot be split at 0\.3: \d of them hang together"):
        split_questions(questions, 0.3)
