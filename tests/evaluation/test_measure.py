"""The whole measurement over real HTTP, against a stand-in endpoint whose answers are known."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_question
from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from evaluation.arms import Shot, make_arms
from evaluation.asking.ask import WARM_UP
from evaluation.config import FOUR_ARMS, EndpointArm, EvaluationConfig, Prices
from evaluation.measure import MeasurementContext, measure
from evaluation.reporting.report import make_table
from evaluation.results import Report
from tests.evaluation.endpoint import Endpoint, Responder, completion


@pytest.fixture
def start_endpoint() -> Iterator[Callable[[Responder], Endpoint]]:
    """Starts endpoints and stops them after the test."""
    started: list[Endpoint] = []

    def start(respond: Responder) -> Endpoint:
        started.append(Endpoint(respond).start())
        return started[-1]

    yield start
    for endpoint in started:
        endpoint.shutdown()
        endpoint.server_close()


Start = Callable[[Responder], Endpoint]
FORM = "<(?P<value>.+)>"
ARMS = make_arms(FOUR_ARMS, tuned="base:demo@1", collection="demo")


def write_questions(folder: Path, n: int = 12) -> Path:
    """Three slices; the value of question i is i."""
    rows: list[dict[str, Any]] = []
    for number in range(n):
        rows += [
            {"slice": "unseen", "question": f"What is number {number}?", "answers": [str(number)], "sources": ["a.md"]},
            {"slice": "form", "question": f"Form of number {number}?", "answers": [str(number)], "form": FORM},
            {"slice": "unanswerable", "question": f"Who knows {number}?", "answerable": False},
        ]
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{number}", **row}) + "\n" for number, row in enumerate(rows)))
    return path


def answer(model: str, question: str) -> tuple[int, Any]:
    """Retrieval knows the value, tuning knows the form, and both know when nobody can know."""
    retrieves, tuned = "+" in model, ":" in model
    number = question.rstrip("?").split()[-1]
    source = {"id": "1", "index": 1, "source": "docs/a.md", "title": "A", "score": 0.5, "cited": True}
    if question.startswith("Who"):
        text = "I do not know." if retrieves else "It is Bob."
    else:
        value = number if retrieves else "wrong"
        text = f"<{value}>" if tuned and question.startswith("Form") else f"It is {value} [1]."
    return completion(model, text, [source] if retrieves else None)


def compare(folder: Path, url: str, n: int = 12, **settings: Any) -> tuple[Report, Path]:
    run = Run.start(Storage(folder), "demo", "compare", {})
    settings = {"retries": {"max_tries": 1}} | settings
    config = EvaluationConfig(questions=write_questions(folder, n), **settings)
    return measure(config, url, ARMS, run, lambda line: None), run.path


def test_four_arms_are_asked_graded_and_reported(tmp_path: Path, start_endpoint: Start) -> None:
    endpoint = start_endpoint(answer)
    report, folder = compare(tmp_path, endpoint.url)
    assert {
        (cell.arm, cell.slice): (cell.accuracy.right, cell.accuracy.n, cell.num_failed) for cell in report.cells
    } == {
        **{("base", name): (0, 12, 0) for name in ("unseen", "form", "unanswerable")},
        **{("tuned", name): (0, 12, 0) for name in ("unseen", "form", "unanswerable")},
        **{("retrieval", name): (12 * (name != "form"), 12, 0) for name in ("unseen", "form", "unanswerable")},
        **{("tuned_retrieval", name): (12, 12, 0) for name in ("unseen", "form", "unanswerable")},
        ("base", "overall"): (0, 36, 0),
        ("tuned", "overall"): (0, 36, 0),
        ("retrieval", "overall"): (24, 36, 0),
        ("tuned_retrieval", "overall"): (36, 36, 0),
    }
    apart = report.cell("retrieval", "form")
    assert apart.form is not None and apart.content is not None and (apart.form.right, apart.content.right) == (0, 12)
    false_answers = report.cell("base", "unanswerable").false_answers
    assert false_answers is not None and false_answers.right == 12
    cited = report.cell("tuned_retrieval", "overall").cited_right
    assert cited is not None and (cited.right, cited.n) == (12, 12)
    assert report.cell("base", "overall").latency_p50_s is not None
    assert (report.recommendation.outcome, report.recommendation.arm) == ("winner", "tuned_retrieval")
    assert Report.model_validate_json((folder / "report.json").read_text()) == report
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 4


def test_arms_take_turns_after_one_warm_up_each(tmp_path: Path, start_endpoint: Start) -> None:
    endpoint = start_endpoint(answer)
    report, _ = compare(tmp_path, endpoint.url, n=2, concurrency=1)
    assert [question for _, question in endpoint.asked[:4]] == [WARM_UP] * 4
    asked = endpoint.asked[4:]
    for first in range(0, len(asked), 4):
        assert {model for model, _ in asked[first : first + 4]} == {arm.model for arm in ARMS}
        assert len({question for _, question in asked[first : first + 4]}) == 1
    assert {model for model, _ in asked[::4]} == {arm.model for arm in ARMS}
    assert [arm.answered_as for arm in report.arms] == [[arm.model] for arm in ARMS]
    assert all(arm.warm_up_s is not None for arm in report.arms)


def test_the_same_answers_give_the_same_report(tmp_path: Path, start_endpoint: Start) -> None:
    endpoint = start_endpoint(answer)
    first, second = (compare(tmp_path / name, endpoint.url, n=4)[0] for name in ("a", "b"))
    assert first.recommendation == second.recommendation
    assert first.differences == second.differences
    assert first.questions_digest == second.questions_digest


def test_retrieval_that_fails_is_failed_and_not_wrong(tmp_path: Path, start_endpoint: Start) -> None:
    def without_milvus(model: str, question: str) -> tuple[int, Any]:
        return (503, {"error": {"message": "Milvus cannot be reached."}}) if "+" in model else answer(model, question)

    endpoint = start_endpoint(without_milvus)
    report, folder = compare(tmp_path, endpoint.url, give_up_after=5)
    broken = report.cell("retrieval", "overall")
    assert (broken.num_failed, broken.accuracy.n, broken.accuracy.share) == (36, 0, None)
    assert report.cell("base", "overall").num_failed == 0
    assert (report.recommendation.outcome, report.recommendation.arm) == ("failures", None)
    assert "Milvus cannot be reached." in report.recommendation.text
    assert all(row.replies["retrieval"].grade is None for row in report.rows)
    assert "Milvus cannot be reached." in (folder / "report.html").read_text()
    num_asked = sum(model == "base+demo" for model, _ in endpoint.asked)
    assert 5 <= num_asked <= 5 + 16, "an arm that only fails is not asked to the end"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"no json"),
        (200, b""),
        (200, {}),
        (200, {"choices": []}),
        (200, ["a list"]),
        (200, completion("base", "text", [{"surprise": 1}])[1]),
        (500, b"<html>an error page</html>"),
        (404, {"error": {"message": "no such model"}}),
    ],
)
def test_a_malformed_answer_is_failed(tmp_path: Path, start_endpoint: Start, status: int, body: Any) -> None:
    report, _ = compare(tmp_path, start_endpoint(lambda model, question: (status, body)).url, n=1)
    assert {cell.num_failed for cell in report.cells if cell.slice == "overall"} == {3}
    assert report.recommendation.outcome == "failures"


def test_a_late_answer_is_failed(tmp_path: Path, start_endpoint: Start) -> None:
    def late(model: str, question: str) -> tuple[int, Any]:
        time.sleep(3.0 if (model, question) == ("base", "What is number 0?") else 0)
        return answer(model, question)

    report, _ = compare(tmp_path, start_endpoint(late).url, n=2, timeout_s=1.5)
    reasons = [row.replies["base"].failed for row in report.rows]
    assert reasons == ["There was no answer within 1.5 s.", *[None] * 5]


def test_an_endpoint_that_is_not_there_is_given_up_soon(tmp_path: Path) -> None:
    started = time.monotonic()
    report, _ = compare(tmp_path, "http://127.0.0.1:9/v1", n=200)
    assert time.monotonic() - started < 10
    assert {cell.num_failed for cell in report.cells if cell.slice == "overall"} == {600}
    assert "could not be reached" in report.recommendation.text


def test_an_endpoint_that_dies_in_the_middle(tmp_path: Path, start_endpoint: Start) -> None:
    dead = threading.Event()

    def dying(model: str, question: str) -> tuple[int, Any]:
        if len(endpoint.asked) > 60:
            dead.set()
        if dead.is_set():
            raise ConnectionResetError
        return answer(model, question)

    endpoint = start_endpoint(dying)
    endpoint.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    report, _ = compare(tmp_path, endpoint.url, n=50)
    failed = [report.cell(arm.name, "overall").num_failed for arm in ARMS]
    graded = [report.cell(arm.name, "overall").accuracy.n for arm in ARMS]
    assert all(f + g == 150 for f, g in zip(failed, graded, strict=True)) and min(failed) > 100 and min(graded) > 0
    assert report.recommendation.outcome == "failures"


def test_questions_that_were_trained_on_are_refused_first(tmp_path: Path, start_endpoint: Start) -> None:
    endpoint = start_endpoint(answer)
    trained = tmp_path / "trained.jsonl"
    trained.write_text(json.dumps({"id": "t7", "question_sha256": digest_question("what is number 1?")}) + "\n")
    run = Run.start(Storage(tmp_path), "demo", "compare", {})
    config = EvaluationConfig(questions=write_questions(tmp_path))
    with pytest.raises(TandemError, match="q3 is training row t7"):
        measure(config, endpoint.url, ARMS, run, lambda line: None, MeasurementContext(trained=[trained]))
    assert not endpoint.asked and not list(run.path.glob("report.*"))


def test_every_arm_is_asked_alike_and_few_shot_sees_its_examples(tmp_path: Path, start_endpoint: Start) -> None:
    endpoint = start_endpoint(answer)
    run = Run.start(Storage(tmp_path), "demo", "compare", {})
    arms = make_arms(("base", "few_shot", "retrieval"), collection="demo", shots=[Shot("What is one?", "It is 1.")])
    measure(EvaluationConfig(questions=write_questions(tmp_path, 1)), endpoint.url, arms, run, lambda line: None)
    bodies = endpoint.bodies[len(arms) :]
    assert {(body["temperature"], body["max_tokens"]) for body in bodies} == {(0.0, 64)}
    by_length = {len(body["messages"]): body for body in bodies}
    assert by_length[3]["messages"][:2] == [
        {"role": "user", "content": "What is one?"},
        {"role": "assistant", "content": "It is 1."},
    ]
    assert {body["model"] for body in bodies if "retrieval" in body} == {"base+demo"}


def test_another_endpoint_is_an_arm_with_its_own_key(tmp_path: Path, start_endpoint: Start) -> None:
    own, hosted = start_endpoint(answer), start_endpoint(lambda model, question: completion(model, "It is Bob."))
    there = EndpointArm(url=hosted.url, model="large", api_key=SecretStr("secret-7"))
    config = EvaluationConfig(
        questions=write_questions(tmp_path, 2), arms=("base", "large"), endpoints={"large": there}
    )
    run = Run.start(Storage(tmp_path), "demo", "compare", config.model_dump(mode="json"))
    measure(config, own.url, make_arms(config.arms, endpoints=config.endpoints), run, lambda line: None)
    assert {body["authorization"] for body in hosted.bodies} == {"Bearer secret-7"}
    assert {body["authorization"] for body in own.bodies} == {None}
    assert {model for model, _ in hosted.asked} == {"large"} and len(hosted.asked) == 7
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"secret-7" in path.read_bytes()]
    assert kept == []


def test_a_slow_endpoint_beside_it_changes_nothing_about_the_machine_time(
    tmp_path: Path, start_endpoint: Start
) -> None:
    """The own endpoint takes 40 ms and gets four calls at once, alone and beside one that takes five times as long."""
    lock, counts = threading.Lock(), {"now": 0, "most": 0}

    def counted(model: str, question: str) -> tuple[int, Any]:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts.values())
        time.sleep(0.04)
        with lock:
            counts["now"] -= 1
        return completion(model, "It is Bob.")

    def slowly(model: str, question: str) -> tuple[int, Any]:
        time.sleep(0.2)
        return completion(model, "It is Bob.")

    own, slow = start_endpoint(counted), start_endpoint(slowly)
    endpoints = {"large": EndpointArm(url=slow.url, model="large", input_price=1.0, output_price=1.0)}
    for arms in (("base",), ("base", "large")):
        counts["most"] = 0
        config = EvaluationConfig(
            questions=write_questions(tmp_path, 8), arms=arms, endpoints=endpoints, concurrency=4,
            prices=Prices(machine_hour=1.0),
        )  # fmt: skip
        run = Run.start(Storage(tmp_path), "demo", "compare", {})
        report = measure(config, own.url, make_arms(arms, endpoints=endpoints), run, lambda line: None)
        costs = {cost.arm: cost for cost in report.costs}
        assert counts["most"] == 4, "as much load as without the other"
        spent = [row.replies["base"].machine_s or 0.0 for row in report.rows]
        assert 24 * 0.04 / 4 <= sum(spent) <= report.duration_s
        assert costs["base"].machine_s == pytest.approx(sum(spent) / 24)
        assert "large" not in costs or (costs["large"].machine_s is None and costs["large"].answer_money is not None)


def test_a_question_is_asked_again_and_in_other_words(tmp_path: Path, start_endpoint: Start) -> None:
    path = write_questions(tmp_path, 1)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["paraphrases"] = ["Which one is number 0?"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    endpoint = start_endpoint(answer)
    run = Run.start(Storage(tmp_path), "demo", "compare", {})
    report = measure(EvaluationConfig(questions=path, repeats=2), endpoint.url, ARMS, run, lambda line: None)
    assert len(endpoint.asked) == 4 + 4 * (3 * 3 + 1)
    first = report.rows[0]
    assert [len(replies) for replies in first.again.values()] == [2] * 4
    right = {arm: [reply.grade and reply.grade.correct for reply in found] for arm, found in first.paraphrased.items()}
    assert right == {"base": [False], "tuned": [False], "retrieval": [True], "tuned_retrieval": [True]}
    assert report.rows[1].paraphrased == {}


def test_progress_ends_with_all_and_names_what_was_written(tmp_path: Path, start_endpoint: Start) -> None:
    lines: list[str] = []
    run = Run.start(Storage(tmp_path), "demo", "compare", {})
    config = EvaluationConfig(questions=write_questions(tmp_path, 1))
    measure(config, start_endpoint(answer).url, ARMS, run, lines.append)
    assert lines[0] == "asking 3 questions of 4 arms (base, tuned, retrieval, tuned + retrieval)"
    assert lines[1].startswith("asked 12 of 12 (100 %), 0 failed")
    assert [Path(line.removeprefix("wrote ")).name for line in lines[2:]] == ["report.json", "report.html", "report.md"]


def compare_rows(folder: Path, url: str, rows: list[dict[str, Any]]) -> Report:
    """Two arms, base and retrieval, on these rows."""
    folder.mkdir(exist_ok=True)
    path = folder / "own.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{n}", "slice": "s", **row}) + "\n" for n, row in enumerate(rows)))
    run = Run.start(Storage(folder), "demo", "compare", {})
    config = EvaluationConfig(questions=path, arms=("base", "retrieval"))
    progress: list[str] = []
    report = measure(config, url, [ARMS[0], ARMS[2]], run, progress.append)
    assert all(sentence in progress for sentence in report.recommendation.sentences if "under another id" in sentence)
    return report


def numbers_of(first: int, last: int, **other: Any) -> list[dict[str, Any]]:
    return [{"question": f"What is number {n}?", "answers": [str(n)], **other} for n in range(first, last)]


def test_questions_on_few_documents_count_as_few(tmp_path: Path, start_endpoint: Start) -> None:
    """Retrieval is right on all, base on none; yet these are five documents, however they are spelled."""
    url = start_endpoint(answer).url
    spellings = [
        "a.md",
        "./b.md",
        "c%20d.md",
        "x\\y.md",
        "file:///z.md",
        "./a.md",
        "x/../b.md",
        "c d.md",
        "x/y.md",
        "z.md",
    ]
    rows = [row | {"sources": [spellings[n % 10]]} for n, row in enumerate(numbers_of(0, 60))]
    report = compare_rows(tmp_path, url, rows)
    assert (report.recommendation.outcome, report.differences[0].num_documents) == ("not_enough", 5)
    assert report.recommendation.headline.startswith("Too few documents")
    assert {cell.accuracy.num_documents for cell in report.cells} == {5}
    assert {cell.refused.num_documents for cell in report.cells} == {5}
    page = next(tmp_path.glob("**/report.html")).read_text()
    assert "60 questions count as 5 documents" in page
    one_each = [row | {"sources": [f"{n}.md"]} for n, row in enumerate(numbers_of(0, 60))]
    assert compare_rows(tmp_path / "each", url, one_each).recommendation.arm == "retrieval"


def test_the_same_question_under_several_ids_counts_once(tmp_path: Path, start_endpoint: Start) -> None:
    url = start_endpoint(answer).url
    report = compare_rows(tmp_path, url, numbers_of(0, 5) * 3)
    assert report.differences[0].n == 5 and report.recommendation.outcome == "not_enough"
    assert report.repeats == [[f"q{n}", f"q{n + 5}", f"q{n + 10}"] for n in range(5)] and len(report.rows) == 15
    assert "10 questions repeat an earlier one under another id" in report.recommendation.text
    assert {cell.num_questions for cell in report.cells} == {5}


def test_repeats_are_named_once_and_whole_however_many_stages_there_are(tmp_path: Path, start_endpoint: Start) -> None:
    path = tmp_path / "own.jsonl"
    rows = [{"id": f"q{n}", "slice": "s"} | row for n, row in enumerate(numbers_of(0, 5) * 8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for stages in (1, 4):
        progress: list[str] = []
        config = EvaluationConfig(questions=path, arms=("base", "retrieval"), stages=stages)
        run = Run.start(Storage(tmp_path), "demo", "compare", {})
        report = measure(config, start_endpoint(answer).url, [ARMS[0], ARMS[2]], run, progress.append)
        said = [line for line in progress if "under another id" in line]
        assert said == [line for line in report.recommendation.sentences if "under another id" in line]
        assert len(said) == 1 and said[0].startswith("35 questions repeat")


def test_a_slice_of_repeats_alone_has_nothing_to_show(tmp_path: Path, start_endpoint: Start) -> None:
    rows = [*numbers_of(0, 5), *numbers_of(0, 3, slice="again")]
    report = compare_rows(tmp_path, start_endpoint(answer).url, rows)
    assert report.slices == ["s"] and {cell.slice for cell in report.cells} == {"s", "overall"}
    assert make_table(report).row_count == 4 and "q0 = q5" in report.recommendation.text


def test_looking_again_after_more_questions_has_less_error_left(tmp_path: Path, start_endpoint: Start) -> None:
    url = start_endpoint(answer).url
    reports = [compare_rows(tmp_path, url, numbers_of(0, n)) for n in (7, 7, 9)]
    assert [(report.look, round(report.error, 4)) for report in reports] == [(1, 0.04), (1, 0.04), (2, 0.005)]
    assert "look number 2" in reports[2].recommendation.text
    assert reports[2].recommendation.arm == "retrieval", "9 of 9 won: p = 0.004"


def test_an_arm_that_cannot_win_any_more_is_not_asked_the_rest(tmp_path: Path, start_endpoint: Start) -> None:
    endpoint = start_endpoint(answer)
    whole, _ = compare(tmp_path / "whole", endpoint.url, n=40)
    staged, folder = compare(tmp_path / "staged", endpoint.url, n=40, stages=4)
    assert (staged.recommendation.outcome, staged.recommendation.arm) == ("winner", whole.recommendation.arm)
    cells = {cell.arm: cell for cell in staged.cells if cell.slice == "overall"}
    assert cells["tuned_retrieval"].num_not_asked == 0 and cells["tuned_retrieval"].accuracy.n == 120
    assert cells["base"].num_not_asked == 120 - cells["base"].accuracy.n > 60
    assert "Not asked the rest, because they could not win any more" in staged.recommendation.text
    assert Report.model_validate_json((folder / "report.json").read_text()) == staged
    assert "not asked" in (folder / "report.md").read_text()
