"""Answers of an earlier report are graded as if they had come now: by whatever rules they were graded then."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from evaluation.arms import make_arms
from evaluation.config import EvaluationConfig, Judge
from evaluation.measure import MeasurementContext, measure
from evaluation.measure_again import measure_again
from evaluation.replies import Grade, Reply
from evaluation.reporting.drift_words import drift_sentences
from evaluation.reporting.report import summary_text
from evaluation.results import Report
from evaluation.verdicts.drift import Changes
from tests.evaluation.endpoint import Endpoint, completion

ARMS = make_arms(("base", "retrieval"), collection="demo")
NOTHING: frozenset[str] = frozenset()
UNCHANGED = Changes(NOTHING, NOTHING, NOTHING)
CITY = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
KINDS: list[dict[str, Any]] = [
    {"question": "What is {n}?", "answers": ["{n}"], "paraphrases": ["Which one is {n}?"]},
    {"question": "How far is {n}?", "answers": ["{n} km"], "kind": "number", "tolerance": 0.5},
    {"question": "What is the code of {n}?", "answers": [r"ab-\d+"], "kind": "regex"},
    {"question": "Where is {n}?", "answers": ['{{"city": "Rome {n}"}}'], "kind": "json", "json_schema": CITY},
    {"question": "Which one is {n}?", "answers": ["Iron {n}"], "choices": ["Iron {n}", "Gold {n}"], "kind": "choice"},
    {"question": "Why does {n} rust?", "rubric": "Names salt.", "kind": "rubric"},
    {"question": "Who is {n}?", "answerable": False},
    {"question": "Form of {n}?", "answers": ["{n}"], "form": r"<(?P<value>\w+)>"},
    {"question": "When is {n} due?", "answers": ["5 March 2024"]},
]
TEXTS = [
    "It is {n}.", "{n}", "<{n}>", "I do not know.", "{n} km", "It is 3 km.", "AB-12", "AB-12 or AB-13", "05/03/2024",
    "Because of the salt.", '{{"city": "Rome {n}"}}', "Either {n} or 5 March 2024.", "",
]  # fmt: skip


class Answering(Endpoint):
    """Each arm says one of the texts, the same each time; of a choice it tells a likelihood, and the judge likes
    salt, odd numbers and slashes."""

    def answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        model, content = request["model"], request["messages"][-1]["content"]
        if model == "judge":
            said = content.split("<", 1)[1].split("\n", 1)[1].lower()
            return completion(model, "yes" if "salt" in said or "/2024" in said else "no")
        chance = random.Random(f"{model} {content}")
        if "logprobs" in request:
            status, body = completion(model, "A")
            tops = [{"token": letter, "logprob": -chance.random()} for letter in "AB"]
            body["choices"][0]["logprobs"] = {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": tops}]}
            return status, body
        number = next((word.strip("?") for word in content.split() if word.strip("?").isdigit()), "0")
        source = {"index": 1, "source": f"docs/{number}.md", "title": "A", "cited": True, "text": f"It is {number}."}
        texts = TEXTS if chance.random() < 0.5 else TEXTS[8:9] if content.startswith("When") else TEXTS[:6]
        return completion(model, chance.choice(texts).format(n=number), [source] if "+" in model else None)


@pytest.fixture
def endpoint() -> Iterator[Answering]:
    started = Answering(lambda model, question: completion(model, ""))
    started.start()
    yield started
    started.shutdown()
    started.server_close()


def config_of(folder: Path, times: int = 5, judge: str | None = "judge", **edits: Any) -> EvaluationConfig:
    """`edits` replace fields of every question that has them."""
    rows = [
        {"id": f"{kind}-{n}", "slice": f"k{kind}", "sources": [f"{n}.md"]} | row
        for n in range(10, 10 + times)
        for kind, row in enumerate(KINDS)
    ]  # fmt: skip
    rows = [{key: _filled(value, row["id"]) for key, value in row.items()} for row in rows]
    rows = [row | {key: value for key, value in edits.items() if key in row} for row in rows]
    graded = [
        {"question": f"Why {n}?", "rubric": "Names salt.", "answer": "Salt" if n % 2 else "Wind", "right": n % 2 > 0}
        for n in range(30)
    ]
    for name, lines in (("questions.jsonl", rows), ("graded.jsonl", graded)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return EvaluationConfig(
        questions=folder / "questions.jsonl", repeats=1, arms=("base", "retrieval"),
        judge=Judge(model=judge, calibration=folder / "graded.jsonl") if judge else None,
    )  # fmt: skip


def _filled(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_filled(each, name) for each in value]
    return value.format(n=name.split("-")[1]) if isinstance(value, str) and "{n}" in value else value


def whole(folder: Path, endpoint: Answering, config: EvaluationConfig) -> Report:
    run = Run.start(Storage(folder), "demo", "compare", {})
    return measure(config, endpoint.url, ARMS, run, lambda line: None)


def since(
    folder: Path, endpoint: Answering, config: EvaluationConfig, earlier: Report, changes: Changes = UNCHANGED
) -> Report:
    endpoint.asked.clear()
    run = Run.start(Storage(folder), "demo", "compare", {})
    return measure_again(config, endpoint.url, ARMS, run, lambda line: None, MeasurementContext(), earlier, changes, {})


def as_graded_then(report: Report, chance: random.Random) -> Report:
    """The same replies as an earlier version may have graded them: otherwise, or not at all. A judge's words stay."""

    def graded(kind: str, reply: Reply) -> Reply:
        how, old = chance.randrange(4), reply.grade
        if kind == "rubric" or old is None or how == 0:
            return reply
        if how == 1:
            return reply.model_copy(update={"grade": None, "ungradable": "Nobody could say."})
        right = chance.random() < 0.5
        changed = {"correct": right, "content": right, "refused": chance.random() < 0.5, "f1": None, "failure": None}
        return reply.model_copy(update={"grade": Grade(**{**old.model_dump(), **changed, "unclear": how == 2})})

    rows = []
    for row in report.rows:
        kind = row.question.kind
        several = {
            name: {arm: [graded(kind, reply) for reply in replies] for arm, replies in getattr(row, name).items()}
            for name in ("again", "paraphrased")
        }
        once = {arm: graded(kind, reply) for arm, reply in row.replies.items()}
        rows.append(row.model_copy(update={"replies": once, **several}))
    return report.model_copy(update={"rows": rows})


@pytest.mark.parametrize("judge", ["judge", None])
def test_the_report_is_that_of_a_whole_comparison_with_the_same_replies(
    tmp_path: Path, endpoint: Answering, judge: str | None
) -> None:
    config = config_of(tmp_path, judge=judge)
    expected = whole(tmp_path, endpoint, config)
    assert {grade.unclear for row in expected.rows for reply in row.replies.values() if (grade := reply.grade)} == (
        {False} if judge else {False, True}
    )
    for seed in range(3):
        earlier = as_graded_then(expected, random.Random(seed))
        changes = Changes(frozenset({"docs/11.md"}), NOTHING, NOTHING) if seed else UNCHANGED
        found = since(tmp_path, endpoint, config, earlier, changes)
        assert found.rows == [_timed(row, others) for row, others in zip(expected.rows, found.rows, strict=True)]
        assert (found.cells[0].accuracy, found.differences) == (expected.cells[0].accuracy, expected.differences)
        assert found.recommendation == expected.recommendation and found.consistency == expected.consistency
        assert found.drift is not None and found.drift.documents_stand
        assert 0 < found.drift.num_regraded < (found.drift.num_kept or 0)
        kept = [row.question.id for row in expected.rows if row.question.id not in found.drift.asked]
        assert set(found.drift.regraded) <= set(kept) and len(kept) == (36 if seed else 45)


def _timed(row: Any, others: Any) -> Any:
    """The row with the times of another, which no two calls share."""
    times = {
        name: [(reply.latency_s, reply.machine_s) for replies in _lists(getattr(others, name)) for reply in replies]
        for name in ("replies", "again", "paraphrased")
    }
    update = {}
    for name, seconds in times.items():
        left = iter(seconds)
        update[name] = {arm: _with_times(replies, left) for arm, replies in getattr(row, name).items()}
    return row.model_copy(update=update)


def _lists(by_arm: dict[str, Any]) -> list[list[Reply]]:
    return [replies if isinstance(replies, list) else [replies] for replies in by_arm.values()]


def _with_times(replies: Any, left: Iterator[tuple[float, float]]) -> Any:
    if isinstance(replies, list):
        return [_with_times(reply, left) for reply in replies]
    latency_s, machine_s = next(left)
    return replies.model_copy(update={"latency_s": latency_s, "machine_s": machine_s})


def test_a_change_of_the_rules_is_not_taken_for_one_of_the_documents(tmp_path: Path, endpoint: Answering) -> None:
    """By the rules of then no arm was right; by those of today one is."""
    endpoint.answer = lambda request: completion(  # type: ignore[method-assign]
        request["model"], request["messages"][-1]["content"].rstrip("?") if "+" in request["model"] else "No."
    )
    path = tmp_path / "questions.jsonl"
    lines = [{"id": f"q{n}", "slice": "s", "question": f"What is {n}?", "answers": [str(n)]} for n in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = EvaluationConfig(questions=path, arms=("base", "retrieval"))
    today = whole(tmp_path, endpoint, config)
    assert today.recommendation.arm == "retrieval"
    rows = [
        row.model_copy(update={"replies": {arm: _wrong(reply) for arm, reply in row.replies.items()}})
        for row in today.rows
    ]
    then = today.recommendation.model_copy(
        update={"outcome": "none_right", "arm": None, "headline": "No recommendation: no arm gave a right answer."}
    )
    found = since(tmp_path, endpoint, config, today.model_copy(update={"rows": rows, "recommendation": then}))
    drift = found.drift
    assert drift is not None and (drift.stands, drift.documents_stand) == (False, True)
    assert (drift.num_kept, drift.num_regraded, len(drift.regraded)) == (80, 40, 40)
    text = summary_text(found)
    assert "40 of 80 answers that were kept are graded otherwise" in text and "q0, q1, " in text
    assert "So the grading changed the verdict, and the documents did not." in text
    page = (tmp_path / "storage" / "demo" / found.run).glob("report.*")
    assert all("the documents did not" in each.read_text() for each in page if each.suffix in (".md", ".html"))
    again = since(tmp_path, endpoint, config, found)
    assert again.drift is not None and again.drift.num_regraded == 0
    assert drift_sentences(again)[-1] == "The verdict still stands."


def _wrong(reply: Reply) -> Reply:
    assert reply.grade is not None
    return reply.model_copy(update={"grade": reply.grade.model_copy(update={"correct": False, "content": False})})


def test_accepted_answers_may_follow_the_documents(tmp_path: Path, endpoint: Answering) -> None:
    first = whole(tmp_path, endpoint, config_of(tmp_path))
    edited = config_of(tmp_path, rubric="Names wind.", tolerance=100.0)
    expected = whole(tmp_path, endpoint, edited)
    found = since(tmp_path, endpoint, edited, first)
    assert found.recommendation == expected.recommendation
    assert [row.question for row in found.rows] == [row.question for row in expected.rows]
    assert found.drift is not None and found.drift.edited == [f"{kind}-{n}" for n in range(10, 15) for kind in (1, 5)]
    assert sum(model == "judge" for model, _ in endpoint.asked) > 30, "a rubric that was edited is judged again"
    with pytest.raises(TandemError, match=r"have changed since .*: 0-10, 0-11"):
        since(tmp_path, endpoint, config_of(tmp_path, paraphrases=["Other words?"]), first)


def test_a_judge_is_not_asked_again_what_it_said(tmp_path: Path, endpoint: Answering) -> None:
    config = config_of(tmp_path)
    first = whole(tmp_path, endpoint, config)
    assert since(tmp_path, endpoint, config, first).judge == first.judge and endpoint.asked == []
    other = config_of(tmp_path, judge="base")
    again = since(tmp_path, endpoint, other, first)
    assert again.judge is not None and again.judge.model == "base" and len(endpoint.asked) >= 30
