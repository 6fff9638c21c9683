"""The judge over real HTTP: calibrated, trusted or not, and what becomes of the answers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from evaluation.arms import make_arms
from evaluation.asking.judge_calls import _to_judge, judge_replies
from evaluation.config import EvaluationConfig, Judge
from evaluation.measure import measure
from evaluation.questions.question import Question
from evaluation.replies import Reply
from evaluation.results import Report
from tests.evaluation.endpoint import Endpoint, completion

RUBRIC = "The answer names salt."
Says = Callable[[str], str]


def fenced(content: str) -> str:
    """The answer that the judge is shown: it stands on a line of its own between two marks."""
    return content.split("<", 1)[1].split("\n", 1)[1].rsplit("\n</", 1)[0]


class Judging(Endpoint):
    """The arm `base` answers with salt, `large` without; `judge` says what it is told to say about an answer."""

    says: Says

    def answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        model, content = request["model"], request["messages"][-1]["content"]
        if model == "judge":
            word = self.says(fenced(content))
            return (503, {"error": {"message": "busy"}}) if word == "busy" else completion(model, word)
        if model not in ("base", "large"):
            return super().answer(request)
        return completion(model, "Because of the salt." if model == "base" else "Because of the wind.")


@pytest.fixture
def endpoint() -> Iterator[Judging]:
    started = Judging(lambda model, question: completion(model, ""))
    started.start()
    yield started
    started.shutdown()
    started.server_close()


def compared(folder: Path, endpoint: Judging, says: Says, judge: bool = True) -> Report:
    """Thirty questions with a rubric, thirty rows that people graded."""
    endpoint.says = says
    questions = [
        {
            "id": f"q{n}",
            "slice": "why",
            "question": f"Why do ships rust in port {n}?",
            "kind": "rubric",
            "rubric": RUBRIC,
        }
        for n in range(30)
    ]
    graded = [
        {
            "question": f"Why {n}?",
            "rubric": RUBRIC,
            "answer": f"{'Salt' if n % 2 else 'Wind'} {n}.",
            "right": bool(n % 2),
        }
        for n in range(30)
    ]
    for name, rows in (("questions.jsonl", questions), ("graded.jsonl", graded)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    there = {"large": {"url": endpoint.url, "model": "large"}}
    config = EvaluationConfig.model_validate(
        {"questions": folder / "questions.jsonl", "arms": ["base", "large"], "endpoints": there,
         "retries": {"max_tries": 1},
         "judge": Judge(model="judge", calibration=folder / "graded.jsonl") if judge else None}
    )  # fmt: skip
    arms = make_arms(config.arms, endpoints=config.endpoints)
    return measure(config, endpoint.url, arms, Run.start(Storage(folder), "demo", "compare", {}), lambda line: None)


def test_a_judge_that_agrees_with_people_decides(tmp_path: Path, endpoint: Judging) -> None:
    report = compared(tmp_path, endpoint, lambda answer: "yes" if "salt" in answer.lower() else "no")
    assert report.judge and report.judge.trusted and report.judge.kappa == 1.0
    assert [report.cell(arm, "overall").accuracy.share for arm in ("base", "large")] == [1.0, 0.0]
    assert (report.recommendation.outcome, report.recommendation.arm) == ("winner", "base")


@pytest.mark.parametrize("says", [lambda answer: "yes", lambda answer: "It depends.", lambda answer: "busy"])
def test_a_judge_that_is_not_to_be_trusted_grades_nothing(tmp_path: Path, endpoint: Judging, says: Says) -> None:
    report = compared(tmp_path, endpoint, says)
    assert report.judge and not report.judge.trusted
    for arm in ("base", "large"):
        cell = report.cell(arm, "overall")
        assert (cell.num_ungradable, cell.accuracy.n, cell.num_failed) == (30, 0, 0)
    assert (report.recommendation.outcome, report.recommendation.arm) == ("failures", None)
    num_asked = sum(model == "judge" for model, _ in endpoint.asked)
    assert num_asked == 30, "only about what people graded"


def test_without_a_judge_a_rubric_is_no_grade(tmp_path: Path, endpoint: Judging) -> None:
    report = compared(tmp_path, endpoint, lambda answer: "yes", judge=False)
    assert report.judge is None and report.recommendation.outcome == "failures"
    assert "no judge is configured" in report.recommendation.text


def test_a_trusted_judge_settles_what_the_rules_cannot(tmp_path: Path, endpoint: Judging) -> None:
    """A date that may be read in two ways is unclear; the judge is asked about it, and about no other answer."""
    endpoint.says = lambda answer: "no" if "wind" in answer.lower() else "yes"
    rows = [
        {
            "question": f"Why {n}?",
            "rubric": RUBRIC,
            "answer": f"{'Salt' if n % 2 else 'Wind'} {n}.",
            "right": bool(n % 2),
        }
        for n in range(30)
    ]
    (tmp_path / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    question = Question(id="due", slice="s", question="When is it due?", answers=("5 March 2024",))
    replies = [(question, Reply(text=text)) for text in ("05/03/2024", "5 March 2024", "6 March 2024")]
    for judge in (None, Judge(model="judge", calibration=tmp_path / "graded.jsonl")):
        judged = judge_replies(EvaluationConfig(judge=judge), endpoint.url, replies, lambda line: None)
        assert judged.verdict(*replies[0]) is (True if judge else None)
        assert [judged.verdict(*reply) for reply in replies[1:]] == [None, None]
    assert sum(model == "judge" for model, _ in endpoint.asked) == 31


@pytest.mark.parametrize("content", [None, "", "{", '{"question": "Why?"}'])
def test_rows_for_the_judge_that_cannot_be_read_end_it_before_anything_is_asked(
    tmp_path: Path, endpoint: Judging, content: str | None
) -> None:
    (tmp_path / "questions.jsonl").write_text('{"id": "q", "slice": "s", "question": "Who?", "answers": ["Bob"]}\n')
    if content is not None:
        (tmp_path / "graded.jsonl").write_text(content)
    config = EvaluationConfig(
        questions=tmp_path / "questions.jsonl", judge=Judge(model="judge", calibration=tmp_path / "graded.jsonl")
    )
    with pytest.raises(TandemError, match=r"graded\.jsonl"):
        measure(config, endpoint.url, make_arms(("base",)), Run.start(Storage(tmp_path), "demo", "compare", {}), print)
    assert endpoint.asked == []


def test_in_stages_a_judge_is_measured_once(tmp_path: Path, endpoint: Judging) -> None:
    """Unclear answers of each stage are judged by a judge that is trusted or not for all of them, and is reported."""
    endpoint.says = lambda answer: "no" if "wind" in answer.lower() else "yes"
    graded = [
        {"question": f"Why {n}?", "rubric": RUBRIC, "answer": f"{'Salt' if n % 2 else 'Wind'} {n}.", "right": n % 2 > 0}
        for n in range(30)
    ]
    rows = [{"id": f"q{n}", "slice": "s", "question": f"When is {n} due?", "answers": ["5 March"]} for n in range(32)]
    for name, lines in (("questions.jsonl", rows), ("graded.jsonl", graded)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    endpoint.respond = lambda model, question: completion(model, "Probably 5 March.")
    config = EvaluationConfig.model_validate(
        {"questions": tmp_path / "questions.jsonl", "arms": ["one", "two"], "stages": 3,
         "endpoints": {name: {"url": endpoint.url, "model": name} for name in ("one", "two")},
         "judge": Judge(model="judge", url=endpoint.url, calibration=tmp_path / "graded.jsonl")}
    )  # fmt: skip
    arms = make_arms(config.arms, endpoints=config.endpoints)
    report = measure(config, "", arms, Run.start(Storage(tmp_path), "demo", "compare", {}), lambda line: None)
    assert report.judge and report.judge.trusted and report.judge.n == 30
    assert [report.cell(arm, "overall").accuracy.share for arm in config.arms] == [1.0, 1.0]
    assert sum(model == "judge" for model, _ in endpoint.asked) == 30 + 32


def test_the_judge_is_asked_about_the_line_that_is_graded(tmp_path: Path) -> None:
    """Where replies end with a line for the answer, that line is unclear or not, and no other sentence."""
    question = Question(id="due", slice="s", question="When is it due?", answers=("5 March 2024",))
    judge = Judge(model="judge", calibration=tmp_path / "graded.jsonl")
    for text, asked in (("5 March 2024\nAnswer: 05/03/2024", True), ("05/03/2024\nAnswer: 5 March 2024", False)):
        config = EvaluationConfig(judge=judge, answer_line=True)
        assert (_to_judge(question, Reply(text=text), config) is not None) is asked
