"""Models that think before they answer, over real HTTP: what is graded, which limit they get, and what is kept."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.runs import Run
from cluster.storage.storage import Storage
from evaluation.arms import Arm, make_arms
from evaluation.asking.answer_cache import AnswerCache
from evaluation.asking.ask import WARM_UP, CollectedReplies, ask_all
from evaluation.asking.thinking import separate_thinking
from evaluation.asking.turns import Turn, answer_key, turn_body
from evaluation.config import EvaluationConfig, Judge
from evaluation.grading.answer_line import with_answer_line
from evaluation.measure import measure
from evaluation.measure_again import grade_rows_anew
from evaluation.questions.question import Question
from evaluation.replies import CitedSource, Reply
from evaluation.results import ArmResult, Report
from evaluation.verdicts.adoption import adoption_steps
from tests.evaluation.endpoint import Endpoint

THOUGHT = " ".join(["So is it 7, or is it 8?"] * 20)
"""120 words: more than the 64 tokens of an answer."""

QUESTIONS = [Question(id=f"q{n}", slice="s", question=f"What is {n}?", answers=(str(n),)) for n in range(6)]
VERSIONS = {"base": "weights-1"}
Shape = Callable[[str, str | None], dict[str, Any]]


def tagged(thought: str, answer: str | None) -> dict[str, Any]:
    return {"content": f"<think>\n{thought}" if answer is None else f"<think>\n{thought}\n</think>\n\n{answer}"}


def opened_in_the_prompt(thought: str, answer: str | None) -> dict[str, Any]:
    return {"content": thought if answer is None else f"{thought}\n</think>\n\n{answer}"}


def in_a_field(name: str) -> Shape:
    return lambda thought, answer: {"content": answer and f"\n\n{answer}", name: thought}


def in_parts(thought: str, answer: str | None) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}]
    return {"content": parts + ([] if answer is None else [{"type": "text", "text": answer}])}


def hidden(thought: str, answer: str | None) -> dict[str, Any]:
    return {"content": answer or ""}


SHAPES: dict[str, Shape] = {
    "tags": tagged, "opened in the prompt": opened_in_the_prompt, "reasoning_content": in_a_field("reasoning_content"),
    "reasoning": in_a_field("reasoning"), "parts": in_parts, "hidden": hidden,
}  # fmt: skip


class ThinkingModel(Endpoint):
    """A word is a token. It thinks `THOUGHT`, and answers what it is asked for; `room` is what its context holds."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(lambda model, question: (500, {}))
        self.shape, self.room, self.thought = shape, 10_000, THOUGHT
        self.answers = lambda question: f"It is {question.rstrip('?').split()[-1]}."

    def answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        limit = request.get("max_tokens", self.room)
        if limit > self.room:
            return 400, {"error": {"message": f"The model's context length is {self.room} tokens."}}
        answer, thinks = self.answers(request["messages"][-1]["content"]), self.thinks(request)
        words = self.thought.split() if thinks else []
        ended = len(words) + len(answer.split()) <= limit
        thought = " ".join(words[:limit])
        message = self.shape(thought, answer if ended else None) if thinks else {"content": answer}
        reasoning = {"completion_tokens_details": {"reasoning_tokens": len(thought.split())}}
        usage = {"prompt_tokens": 9, "completion_tokens": limit, **(reasoning if self.shape is hidden else {})}
        choice = {"index": 0, "finish_reason": "stop" if ended else "length", "message": message}
        return 200, {"model": request["model"], "choices": [choice], "usage": usage}

    def thinks(self, request: dict[str, Any]) -> bool:
        return bool(request.get("chat_template_kwargs", {}).get("enable_thinking", True))


@pytest.fixture
def start() -> Iterator[Callable[[Shape], ThinkingModel]]:
    started: list[ThinkingModel] = []

    def start_model(shape: Shape) -> ThinkingModel:
        model = ThinkingModel(shape)
        model.start()
        started.append(model)
        return model

    yield start_model
    for model in started:
        model.shutdown()
        model.server_close()


Start = Callable[[Shape], ThinkingModel]


def ask(
    endpoint: Endpoint, folder: Path | None = None, arms: tuple[str, ...] = ("base",), **settings: Any
) -> CollectedReplies:
    config, quiet = EvaluationConfig(concurrency=1, **settings), lambda line: None
    chosen = make_arms(arms, collection="demo")
    if folder is None:
        return ask_all(config, endpoint.url, chosen, QUESTIONS, quiet)
    with closing(AnswerCache(folder / "answers.sqlite")) as answers:
        return ask_all(config, endpoint.url, chosen, QUESTIONS, quiet, answers, VERSIONS)


def replies(collected: CollectedReplies, arm: str = "base") -> list[Reply]:
    return [collected.of("first", question.id, arm)[0] for question in QUESTIONS]


def compare(folder: Path, endpoint: Endpoint, thinks: bool | None = None, **settings: Any) -> Report:
    path = folder / "questions.jsonl"
    rows = [{"id": each.id, "slice": "s", "question": each.question, "answers": each.answers} for each in QUESTIONS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = EvaluationConfig(questions=path, **{"arms": ("base",)} | settings)
    run = Run.start(Storage(folder), "demo", "compare", {})
    arms = [replace(arm, thinks=thinks) for arm in make_arms(config.arms)]
    return measure(config, endpoint.url, arms, run, lambda line: None)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_model_that_thinks_has_room_for_it_and_its_answer_is_graded(
    shape: Shape, start: Start, tmp_path: Path
) -> None:
    endpoint = start(shape)
    report = compare(tmp_path, endpoint)
    cell, (arm,) = report.cell("base", "overall"), report.arms
    assert (cell.accuracy.share, cell.num_no_answer, cell.num_failed) == (1.0, 0, 0)
    assert (arm.thinking_tokens, arm.num_thinking) == (4096, 6)
    assert {row.replies["base"].text for row in report.rows} == {f"It is {n}." for n in range(6)}
    asked = [body["max_tokens"] for body in endpoint.bodies]
    assert asked[-6:] == [64 + 4096] * 6 and asked.count(64) == 1, "the warm-up alone had the limit of an answer"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_answer_that_never_came_is_counted_apart(shape: Shape, start: Start, tmp_path: Path) -> None:
    """Whatever the thinking ends with: it is no answer."""
    endpoint = start(shape)
    endpoint.thought = f"{THOUGHT} " * 3 + " ".join(["The answer is surely 3."] * 2000)
    # Without a tag anywhere the chat template alone says that this is thinking.
    thinks = True if shape is opened_in_the_prompt else None
    report = compare(tmp_path, endpoint, thinks, thinking_tokens=300)
    cell = report.cell("base", "overall")
    assert (cell.num_no_answer, cell.accuracy.n) == (6, 0)
    assert report.recommendation.outcome == "failures" and "evaluation.thinking_tokens" in str(report.arms[0].failures)


@pytest.mark.parametrize(
    ("message", "no_answer"),
    [
        ({"content": None, "reasoning_content": "It is 3."}, "thinking_only"),
        ({"content": "", "reasoning": "It is 3."}, "thinking_only"),
        ({"reasoning": "It is 3."}, "thinking_only"),
        ({"content": [{"type": "thinking", "thinking": "It is 3."}]}, "thinking_only"),
        ({"content": "<think>It is 3.</think>"}, "thinking_only"),
        ({"content": "<think>It is 3."}, "thinking_only"),
    ],
)
def test_a_reply_that_ends_without_an_answer_is_never_right(
    message: dict[str, Any], no_answer: str | None, start: Start, tmp_path: Path
) -> None:
    """Whether the model stopped there or a parser took the answer for thinking: the reply holds none."""
    endpoint = start(lambda thought, answer: message)
    endpoint.thought = "It is 3."
    reply = next(row for row in compare(tmp_path, endpoint).rows if row.question.answers == ("3",)).replies["base"]
    assert reply.no_answer == no_answer
    assert reply.grade is None if no_answer else reply.grade is not None and not reply.grade.correct


def test_without_its_tag_what_is_cut_off_is_no_answer_where_the_arm_thinks(start: Start) -> None:
    endpoint = start(opened_in_the_prompt)
    said = endpoint.answer

    def sometimes_long(request: dict[str, Any]) -> tuple[int, Any]:
        is_long = request["messages"][-1]["content"] in ("What is 2?", "What is 3?")
        endpoint.thought = " ".join(["Then it is 3."] * 2000) if is_long else THOUGHT
        return said(request)

    endpoint.answer = sometimes_long  # type: ignore[method-assign]
    collected = ask(endpoint)
    assert collected.thinking == {"base"}
    assert [reply.no_answer for reply in replies(collected)].count("cut_off") == 2
    assert sorted(reply.text for reply in replies(collected) if reply.text) == [
        "It is 0.",
        "It is 1.",
        "It is 4.",
        "It is 5.",
    ]


def test_a_model_that_begins_to_think_later_is_asked_again_with_room(start: Start) -> None:
    endpoint = start(tagged)
    endpoint.thinks = lambda request: request["messages"][-1]["content"] != WARM_UP  # type: ignore[method-assign]
    collected = ask(endpoint)
    assert [reply.text for reply in replies(collected)] == [f"It is {n}." for n in range(6)]
    assert len(endpoint.asked) == 1 + 1 + 6, "one question twice"


def test_where_the_context_has_no_room_for_the_limit_the_model_gets_what_there_is(start: Start) -> None:
    endpoint = start(tagged)
    endpoint.room = 2048
    assert [reply.text for reply in replies(ask(endpoint))] == [f"It is {n}." for n in range(6)]
    assert len(endpoint.asked) == 1 + 2 + 5, "the limit is refused once"
    endpoint.room = 100
    collected = ask(endpoint)
    assert {reply.no_answer for reply in replies(collected)} == {"cut_off"}, "and not failed"


def test_a_limit_of_your_own_is_kept(start: Start) -> None:
    endpoint = start(tagged)
    ask(endpoint, max_tokens=200, thinking_tokens=0)
    assert {body["max_tokens"] for body in endpoint.bodies} == {200}


def test_thinking_on_and_off_are_two_arms(start: Start, tmp_path: Path) -> None:
    endpoint = start(tagged)
    report = compare(tmp_path, endpoint, arms=("base_thinking", "base_no_thinking"))
    assert [arm.title for arm in report.arms] == ["base, thinking", "base, not thinking"]
    assert [arm.thinking_tokens for arm in report.arms] == [4096, None]
    sent = {(body["chat_template_kwargs"]["enable_thinking"], body["max_tokens"]) for body in endpoint.bodies}
    assert sent == {(True, 4160), (False, 64)}
    assert endpoint.bodies[0]["chat_template_kwargs"].keys() == {"enable_thinking", "thinking"}


def test_variants_are_of_their_arms() -> None:
    names = ("tuned_retrieval_no_thinking", "raft_thinking", "few_shot_thinking", "retrieval")
    with_rows: Any = {"tuned": "base:demo@1", "raft": "base:demo-raft@1", "collection": "docs", "shots": ["shot"]}
    arms = make_arms(EvaluationConfig(arms=names).arms, **with_rows)
    assert [(arm.model, arm.thinking, len(arm.shots), arm.retrieves) for arm in arms] == [
        ("base:demo@1+docs", False, 0, True), ("base:demo-raft@1+docs", True, 0, True), ("base", True, 1, False),
        ("base+docs", None, 0, True),
    ]  # fmt: skip


def test_what_adopts_a_variant_says_how_to_ask() -> None:
    arm = {"name": "few_shot_no_thinking", "title": "", "model": "base", "answered_as": [], "warm_up_s": None,
           "warm_up_failed": None, "failures": {}}  # fmt: skip
    steps = adoption_steps(ArmResult.model_validate(arm), {}) or ""
    assert "chat_template_kwargs: {enable_thinking: false}" in steps and "examples" in steps


def test_what_was_kept_is_not_asked_again_but_what_was_cut_off_is(start: Start, tmp_path: Path) -> None:
    """Answers of an earlier version hold the thinking in their text, and had the limit of an answer."""
    endpoint, config = start(tagged), EvaluationConfig()
    kept = [("<think>\n3 + 4 = 7\n</think>\n\nIt is 0.", False), (f"<think>\n{THOUGHT}", True), ("It is 2.", False)]
    with closing(AnswerCache(tmp_path / "answers.sqlite")) as answers:
        for question, (text, cut_off) in zip(QUESTIONS, kept, strict=False):
            turn = Turn(Arm("base", "base"), question, question.question)
            key = answer_key(turn, turn_body(config, turn), VERSIONS)
            assert key
            answers.put(key, Reply(text=text, model="base", cut_off=cut_off))
    collected = ask(endpoint, tmp_path)
    assert [reply.text for reply in replies(collected)] == [f"It is {n}." for n in range(6)]
    assert collected.reused == {"base": 2} and len(endpoint.asked) == 1 + 4
    again = ask(endpoint, tmp_path)
    assert again.reused == {"base": 6} and len(endpoint.asked) == 1 + 4, "not even a warm-up"
    assert replies(again) == replies(collected)


def test_a_mark_that_stands_in_the_thinking_alone_cites_nothing() -> None:
    sources = [CitedSource(index=n, source=f"{n}.md", title="", cited=True) for n in (1, 2)]
    reply = separate_thinking(Reply(text="<think>[1] says so.</think>It is 7 [2].", citations=sources))
    assert [citation.cited for citation in reply.citations] == [False, True]
    assert separate_thinking(reply) == reply


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_of_a_choice_the_letter_is_read_behind_the_thinking(shape: Shape, start: Start) -> None:
    """The likeliest first token of a model that thinks says nothing about the choices."""
    question = Question(
        id="c", slice="s", question="Which?", kind="choice", choices=("Iron", "Gold", "Tin"), answers=("Gold",)
    )
    endpoint = start(shape)
    endpoint.answers = lambda asked: "**B) Gold**"
    arms = make_arms(("base",))
    collected = ask_all(EvaluationConfig(), endpoint.url, arms, [question], lambda line: None)
    assert collected.of("first", "c", "base")[0].choices == {"Gold": 0.0}


@pytest.mark.parametrize("shape", [tagged, opened_in_the_prompt, in_a_field("reasoning_content")])
def test_a_judge_may_think(shape: Shape, start: Start, tmp_path: Path) -> None:
    endpoint = start(tagged)
    judge = start(shape)
    judge.answers = lambda asked: "Yes" if "salt" in asked.rsplit("<", 2)[1].lower() else "No"
    rows = [{"question": f"Why {n}?", "rubric": "Names it.", "answer": f"{'Salt' if n % 2 else 'Wind'} {n}.",
             "right": bool(n % 2)} for n in range(30)]  # fmt: skip
    (tmp_path / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [{"id": "r", "slice": "s", "question": "Why is it salt", "kind": "rubric", "rubric": "Names it."}]
    (tmp_path / "questions.jsonl").write_text(json.dumps(questions[0]) + "\n")
    config = EvaluationConfig(
        questions=tmp_path / "questions.jsonl", arms=("base",),
        judge=Judge(model="judge", url=judge.url, calibration=tmp_path / "graded.jsonl"),
    )  # fmt: skip
    run = Run.start(Storage(tmp_path), "demo", "compare", {})
    report = measure(config, endpoint.url, make_arms(("base",)), run, lambda line: None)
    assert report.judge and report.judge.trusted and report.judge.num_failed == 0
    assert report.cell("base", "overall").accuracy.share == 1.0


def test_every_arm_is_asked_for_the_line_in_the_same_words(start: Start) -> None:
    """The sentence is not searched for, and no answer that is graded otherwise is asked for on a line."""
    endpoint = start(tagged)
    endpoint.answers = lambda question: "It is near.\nAnswer: 7"
    hosted = {"hosted": {"url": endpoint.url, "model": "large"}}
    config = EvaluationConfig.model_validate(
        {"arms": ["base", "retrieval", "hosted"], "endpoints": hosted, "answer_line": True}
    )
    formed = QUESTIONS[1].model_copy(update={"form": "<(?P<value>.+)>"})
    arms = make_arms(config.arms, collection="demo", endpoints=config.endpoints)
    ask_all(config, endpoint.url, arms, [QUESTIONS[0], formed], lambda line: None)
    asked = {
        body["model"]: body for body in endpoint.bodies if body["messages"][-1]["content"].startswith("What is 0?")
    }
    assert {body["messages"][-1]["content"] for body in asked.values()} == {with_answer_line("What is 0?")}
    assert set(asked) == {"base", "base+demo", "large"}
    assert asked["base+demo"]["retrieval"] == {"return_passages": True, "query": "What is 0?"}
    assert "What is 1?" in {body["messages"][-1]["content"] for body in endpoint.bodies}


def test_an_earlier_report_is_graded_anew_where_thinking_was_graded(tmp_path: Path, start: Start) -> None:
    endpoint = start(tagged)
    report = compare(tmp_path, endpoint)
    row = report.rows[0]
    told = row.replies["base"].model_copy(update={"text": f"<think>{THOUGHT}", "cut_off": True, "thinking": None})
    earlier = row.model_copy(update={"replies": {"base": told}})
    arms, config = make_arms(("base",)), EvaluationConfig()
    rows, judge = grade_rows_anew(config, endpoint.url, arms, [earlier, *report.rows[1:]], report, lambda line: None)
    again = rows[0].replies["base"]
    assert (again.grade, again.no_answer, again.thinking) == (None, "cut_off", THOUGHT)
    assert rows[1:] == report.rows[1:] and judge is None


def test_in_stages_an_arm_that_thinks_is_known_to_think_from_the_first_one_on(tmp_path: Path, start: Start) -> None:
    """Without the tag of the prompt, what was cut off in a later stage would be graded as an answer."""
    report = compare(tmp_path, endpoint := start(tagged), stages=3)
    (arm,) = report.arms
    assert (arm.thinking_tokens, arm.num_thinking) == (report.config.thinking_tokens, len(report.rows))
    assert [body["max_tokens"] > 1000 for body in endpoint.bodies][-len(QUESTIONS) :] == [True] * len(QUESTIONS)
