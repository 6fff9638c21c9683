"""What changed documents touch, and a verdict that stands or does not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import TandemError
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from evaluation.arms import make_arms
from evaluation.config import EvaluationConfig
from evaluation.measure import MeasurementContext, measure
from evaluation.measure_again import measure_again
from evaluation.results import Report
from evaluation.verdicts.drift import Changes, changes_between, read_report
from tests.evaluation.endpoint import Endpoint, completion
from tests.evaluation.reports import make_report

ARMS = make_arms(("base", "retrieval"), collection="demo")
NOTHING: frozenset[str] = frozenset()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Retrieval is right, and reads the document that the question names by its number."""

    def respond(model: str, question: str) -> tuple[int, object]:
        number = question.rstrip("?").split()[-1]
        source = {"index": 1, "source": f"docs/{number}.md", "title": "A", "cited": True, "text": f"It is {number}."}
        return completion(model, f"It is {number if '+' in model else 'unclear'}.", [source] if "+" in model else None)

    started = Endpoint(respond).start()
    yield started
    started.shutdown()
    started.server_close()


def config_of(folder: Path, n: int = 80) -> EvaluationConfig:
    rows = [
        {"id": f"q{n}", "slice": "all", "question": f"What is {n}?", "answers": [str(n)], "sources": [f"{n}.md"]}
        for n in range(n)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return EvaluationConfig(questions=folder / "questions.jsonl")


def first(folder: Path, endpoint: Endpoint) -> Report:
    run = Run.start(Storage(folder), "demo", "compare", {})
    return measure(config_of(folder), endpoint.url, ARMS, run, lambda line: None)


def again(folder: Path, endpoint: Endpoint, earlier: Report, found: Changes, now: dict[str, set[str]]) -> Report:
    endpoint.asked.clear()
    run = Run.start(Storage(folder), "demo", "compare", {})
    return measure_again(
        config_of(folder), endpoint.url, ARMS, run, lambda line: None, MeasurementContext(), earlier, found, now
    )


def test_changes_are_told_apart() -> None:
    found = changes_between({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"})
    assert (found.changed, found.added, found.deleted) == ({"b"}, {"d"}, {"c"})


def test_only_what_is_touched_is_asked_and_the_verdict_stands(tmp_path: Path, endpoint: Endpoint) -> None:
    earlier = first(tmp_path, endpoint)
    found = Changes(frozenset({"docs/3.md"}), frozenset({"docs/new.md"}), frozenset({"docs/5.md"}))
    report = again(tmp_path, endpoint, earlier, found, {"q9": {"docs/new.md"}})
    assert report.drift is not None
    assert set(report.drift.asked) == {"q3", "q5", "q9"} and report.drift.stands
    asked = [question for _, question in endpoint.asked if question.startswith("What")]
    assert sorted(asked) == sorted([f"What is {n}?" for n in (3, 5, 9)] * 2)
    assert len(report.rows) == 80 and report.recommendation.arm == "retrieval"


def test_a_verdict_that_no_longer_stands_is_said(tmp_path: Path, endpoint: Endpoint) -> None:
    earlier = first(tmp_path, endpoint)
    endpoint.respond = lambda model, question: completion(model, "It is unclear.")
    every = Changes(frozenset(f"docs/{n}.md" for n in range(80)), NOTHING, NOTHING)
    report = again(tmp_path, endpoint, earlier, every, {})
    assert report.drift is not None and not report.drift.stands
    assert report.drift.before == earlier.recommendation.headline
    assert report.recommendation.outcome == "none_right"


def test_a_verdict_for_an_arm_that_was_renamed_since_stands(tmp_path: Path, endpoint: Endpoint) -> None:
    arms = make_arms(("base", "tuned_retrieval"), tuned="base:demo@1", collection="demo")
    run = Run.start(Storage(tmp_path), "demo", "compare", {})
    report = measure(config_of(tmp_path), endpoint.url, arms, run, lambda line: None)
    assert report.recommendation.arm == "tuned_retrieval"
    (tmp_path / "old.json").write_text(report.model_dump_json().replace('"tuned_retrieval"', '"hybrid"'))
    earlier = read_report(tmp_path / "old.json")
    assert earlier.arms == report.arms and earlier.rows == report.rows
    touched = Changes(frozenset({"docs/3.md"}), NOTHING, NOTHING)
    found = measure_again(
        config_of(tmp_path), endpoint.url, arms, run, lambda line: None, MeasurementContext(), earlier, touched, {}
    )
    assert found.drift is not None and found.drift.asked == ["q3"] and found.drift.stands


def test_nothing_changed_and_nothing_is_asked(tmp_path: Path, endpoint: Endpoint) -> None:
    earlier = first(tmp_path, endpoint)
    report = again(tmp_path, endpoint, earlier, Changes(NOTHING, NOTHING, NOTHING), {})
    assert endpoint.asked == [] and report.drift is not None and report.drift.stands
    assert report.recommendation == earlier.recommendation


def test_other_questions_are_refused(tmp_path: Path, endpoint: Endpoint) -> None:
    earlier = first(tmp_path, endpoint)
    fewer = earlier.model_copy(update={"rows": earlier.rows[1:]})
    with pytest.raises(TandemError, match="questions have changed"):
        again(tmp_path, endpoint, fewer, Changes(NOTHING, NOTHING, NOTHING), {})


@pytest.mark.parametrize("content", ["", "{", "{}", '{"schema_version": 1}'])
def test_a_report_that_cannot_be_read_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(TandemError, match="is no report of this version"):
        read_report(tmp_path / "report.json")
    with pytest.raises(TandemError, match="cannot be read"):
        read_report(tmp_path / "nowhere.json")


def test_a_report_of_another_version_is_refused_though_it_looks_alike(tmp_path: Path) -> None:
    report = make_report(12).model_copy(update={"schema_version": 99})
    (tmp_path / "report.json").write_text(report.model_dump_json())
    with pytest.raises(TandemError, match="schema_version 99"):
        read_report(tmp_path / "report.json")
