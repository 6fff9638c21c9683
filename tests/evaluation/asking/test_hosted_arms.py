"""Arms of other endpoints through the whole measurement: what is lost, what ends an arm, and what the report says."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from evaluation.arms import make_arms
from evaluation.config import EvaluationConfig
from evaluation.measure import MeasurementContext, measure
from evaluation.results import Report
from tests.evaluation.endpoint import Endpoint, completion

Respond = Callable[[dict[str, Any]], tuple[int, Any]]


class Hosted(Endpoint):
    """An endpoint whose answer depends on the whole request."""

    def __init__(self, responds: Respond) -> None:
        super().__init__(lambda model, text: (500, {}))
        self.responds = responds

    def answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        return self.responds(request)


@pytest.fixture
def start() -> Iterator[Callable[[Respond], Hosted]]:
    started: list[Hosted] = []

    def begin(responds: Respond) -> Hosted:
        started.append(Hosted(responds))
        started[-1].start()
        return started[-1]

    yield begin
    for endpoint in started:
        endpoint.shutdown()
        endpoint.server_close()


def right(request: dict[str, Any]) -> tuple[int, Any]:
    return completion(request["model"], request["messages"][-1]["content"].rstrip("?").split()[-1])


def error(status: int, message: str, **fields: Any) -> tuple[int, Any]:
    return status, {"error": {"message": message, **fields}}


def compare(folder: Path, *endpoints: Hosted, n: int = 60, kept: bool = False, **settings: Any) -> Report:
    lines = (f'{{"id": "q{i}", "slice": "s", "question": "What is {i}?", "answers": ["{i}"]}}\n' for i in range(n))
    (folder / "questions.jsonl").write_text("".join(lines))
    others = {f"arm{place}": {"url": there.url, "model": f"m{place}"} for place, there in enumerate(endpoints)}
    config = EvaluationConfig.model_validate(
        {"questions": folder / "questions.jsonl", "arms": list(others), "endpoints": others, **settings}
    )
    context = MeasurementContext(dict.fromkeys(others, "today"), folder / "answers.sqlite") if kept else None
    run = Run.start(Storage(folder), "demo", "compare", {})
    arms = make_arms(config.arms, endpoints=config.endpoints)
    return measure(config, "", arms, run, lambda line: None, context)


def test_a_burst_of_failures_does_not_end_an_arm(tmp_path: Path, start: Callable[[Respond], Hosted]) -> None:
    calls = itertools.count()
    hosted = start(lambda request: error(503, "busy") if 10 <= next(calls) < 41 else right(request))
    cell = compare(tmp_path, hosted, start(right)).cell("arm0", "overall")
    assert (cell.num_failed, cell.accuracy.right) == (0, 60)


@pytest.mark.parametrize(
    ("status", "message", "fields"),
    [
        (401, "Incorrect API key provided.", {}),
        (404, "The model does not exist.", {"code": "model_not_found"}),
        (429, "You exceeded your current quota.", {"code": "insufficient_quota"}),
    ],
)
def test_what_no_call_would_change_ends_the_arm_with_its_first_call(
    tmp_path: Path, start: Callable[[Respond], Hosted], status: int, message: str, fields: dict[str, Any]
) -> None:
    hosted = start(lambda request: error(status, message, **fields))
    report = compare(tmp_path, hosted, start(right))
    assert len(hosted.asked) == 1
    (reason,) = report.arms[0].failures
    assert reason.startswith("Not asked any more, since no call would be answered.") and message in reason
    assert report.cell("arm1", "overall").accuracy.right == 60


def test_one_question_that_is_forbidden_does_not_end_an_arm(tmp_path: Path, start: Callable[[Respond], Hosted]) -> None:
    def moderated(request: dict[str, Any]) -> tuple[int, Any]:
        return error(403, "Flagged.") if "What is 7?" in str(request) else right(request)

    cell = compare(tmp_path, start(moderated), start(right)).cell("arm0", "overall")
    assert (cell.num_failed, cell.accuracy.right) == (1, 59)


def test_the_report_says_what_was_left_out_also_where_no_call_is_made(
    tmp_path: Path, start: Callable[[Respond], Hosted]
) -> None:
    def strict(request: dict[str, Any]) -> tuple[int, Any]:
        for name in ("max_tokens", "temperature"):
            if name in request:
                return error(400, f"Unsupported parameter: '{name}' is not supported with this model.", param=name)
        return right(request)

    hosted = start(strict)
    for num_reused in (0, 60):
        report = compare(tmp_path, hosted, start(right), kept=True)
        assert report.arms[0].num_reused == num_reused and report.cell("arm0", "overall").accuracy.right == 60
        assert report.arms[0].adjusted == {"max_tokens": "max_completion_tokens", "temperature": None}
        page = (tmp_path / "demo" / report.run / "report.html").read_text()
        assert "<code>temperature</code> was left out, since its endpoint refuses it. It answered at its own" in page
    assert len(hosted.asked) == 1 + 60 + 2 and "arm1: <code>" not in page
