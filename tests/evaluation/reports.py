# ruff: noqa: E501
"""Reports with everything in them, made without a comparison: what the page and the Markdown have to show."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations

from evaluation.arms import title
from evaluation.config import BUILT_IN, ArmName, EvaluationConfig
from evaluation.questions.question import GENERAL, OVERALL, Question
from evaluation.replies import CitedSource, FailureKind, Grade, Reply
from evaluation.results import (
    ArmResult,
    BreakEven,
    Cell,
    Consistency,
    Cost,
    Difference,
    Freshness,
    Gate,
    JudgeCheck,
    Recommendation,
    Report,
    Row,
    Share,
    Staging,
)
from evaluation.verdicts.statistics import share

EVIL = "<script>alert('&')</script>"
HOSTILE = [
    EVIL,
    "</script><img src=x onerror=alert(1)>",
    "| a | b |\n| --- | --- |\n**bold** `code` [link](http://example.org)",
    "שלום עולם، مرحبا بالعالم 123 abc \u202e reversed",
    "W" * 3000,
    "line separators \u2028 and \u2029 and \x7f <!-- --> ]]>",
    "word " * 20_000,
    "",
]
REMARK = "The epochs were chosen on these questions."
RETRIEVING = ("retrieval", "tuned_retrieval", "raft")
SKILL = {"base": 0.15, "few_shot": 0.3, "retrieval": 0.75, "tuned": 0.5, "tuned_retrieval": 0.82, "raft": 0.9}
KINDS: tuple[FailureKind, ...] = ("not_retrieved", "misread", "not_in_documents", "wrong_form", "wrong_reasoning")


def make_report(
    num_questions: int = 24, arms: Sequence[ArmName] = (*BUILT_IN, "hosted-model"), hostile: bool = False
) -> Report:
    """All sections; every seventh question of an arm failed and every eleventh could not be graded."""
    rows = [_row(number, arms, hostile) for number in range(num_questions)]
    cells = [_cell(name, rows, arm) for name in (OVERALL, "seen", "unseen", "form", GENERAL) for arm in arms]
    recommended = "raft" if "raft" in arms else arms[-1]
    return Report(
        run="compare-20261123T150000-abcdef", created=datetime(2026, 11, 23, 15, 0, tzinfo=UTC), duration_s=312.0,
        machine="2 CPUs", versions={"vllm": "0.29.0"}, git_commit="0" * 40,
        config=EvaluationConfig(arms=("base",), remarks=(REMARK,)), questions_digest="ab" * 32,
        arms=[_arm(arm, rows) for arm in arms],
        slices=["seen", "unseen", "form", GENERAL], cells=cells,
        differences=[_difference(first, second, num_questions) for first, second in combinations(arms, 2)],
        consistency=[
            Consistency(arm=arm, repeated=_part(0.9, 50), paraphrased=_part(0.8, 50), right_in_all=_part(SKILL.get(arm, 0.6), 50))
            for arm in arms
        ],
        freshness=[
            Freshness(arm=arm, num_questions=10, stale=_part(0.0 if arm in RETRIEVING else 1.0, 10),
                      new=_part(1.0 if arm in RETRIEVING else 0.0, 10), seconds=4.2 if arm in RETRIEVING else None)
            for arm in arms
        ],
        costs=[_cost(index, arm) for index, arm in enumerate(arms)],
        break_even=[BreakEven(cheaper_above=arms[0], than=arms[-1], questions_per_month=12345.6)],
        judge=JudgeCheck(
            model="judge-model", n=40, num_failed=1, agreement=0.85, kappa=0.69,
            counts={"right_right": 20, "right_wrong": 4, "wrong_right": 2, "wrong_wrong": 14}, trusted=True,
            reason="kappa is at least 0.60",
        ),
        staging=Staging(
            trained=True, reason="31 of 80 wrong answers are of a kind that training can correct.",
            failures={"not_retrieved": 20, "misread": 20}, num_questions=100, repayable=31,
        ),
        gates=[Gate(name="no slice worse than live", passed=True, seen="form 95 % against 90 %"),
               Gate(name="no forgetting", passed=False, seen="general questions 70 % against 80 %, at most 5 points less")],
        index_version="cd" * 32,
        recommendation=Recommendation(
            outcome="winner", arm=recommended, headline=f"Use {title(recommended)}.",
            sentences=[f"{title(recommended)} answers 90 % (85 to 94) of {num_questions} questions right. The next best is "
                       "tuned + retrieval with 82 %; the lead is 8 points (3 to 13).", "Even the best arm is wrong at times.",
                       *([EVIL] if hostile else [])],
            by_slice={"seen": f"{title(recommended)} (92 %)", "unseen": "tuned + retrieval (88 %) and tuned for retrieval (90 %), not told apart",
                      "form": f"{title(recommended)} (95 %)"},
            leaders={OVERALL: [recommended], "seen": [recommended], "unseen": [recommended, arms[-2]], "form": [recommended]},
            would_change=["Fewer than 3,000 questions a month: then retrieval alone costs less.",
                          "Prices of machines that fall by half."],
            adopt="serving:\n  preload: [helpdesk]\nretrieval:\n  sources: [docs]   # <- your documents\n",
            more_questions=None,
        ),
        rows=rows,
    )  # fmt: skip


def _row(number: int, arms: Sequence[ArmName], hostile: bool) -> Row:
    slice_name = ("seen", "unseen", "form", GENERAL)[number % 4]
    evil = HOSTILE[number % len(HOSTILE)] if hostile else ""
    question = Question(
        id=f"{slice_name}-{number}", slice=slice_name, question=f"What is the number of item {number}? {evil[:5000]}".strip(),
        answers=(f"<i>{number}</i>" if hostile else str(number), "other"), sources=("docs/a.md",),
        form=r"<b>(?P<value>\w+)</b>" if slice_name == "form" else None,
    )  # fmt: skip
    replies = {
        arm: _reply(number, index, arm, slice_name, evil if index == 0 else evil[:400])
        for index, arm in enumerate(arms)
    }
    again = {arm: [Reply(text=f"It is {number}, again.", latency_s=0.1)] for arm in arms[:1]} if number == 0 else {}
    return Row(question=question, replies=replies, again=again)


def _reply(number: int, index: int, arm: ArmName, slice_name: str, evil: str) -> Reply:
    chance = random.Random(f"{number} {arm}")
    if (number + index) % 29 == 7:
        return Reply(failed=f"the endpoint answered 503 {evil}".strip())
    words = f"It is {number} [1], as the register of {arm} says. {evil}".strip()
    model, latency = f"model-{arm}", 0.05 * (index + 1) + chance.random() / 10
    if (number + index) % 31 == 11:
        return Reply(text=words, model=model, latency_s=latency, ungradable="the judge did not answer")
    if (number + index) % 37 == 17:
        return Reply(text=None, model=model, latency_s=latency, no_answer="cut_off")
    correct = chance.random() < SKILL.get(arm, 0.6)
    grade = Grade(
        unclear=(number + index) % 41 == 3, correct=correct, content=correct, form=correct if slice_name == "form" else None, refused=False,
        cited_right=correct if arm in RETRIEVING else None, retrieved_right=True if arm in RETRIEVING else None,
        failure=None if correct or (number + index) % 41 == 3 else chance.choice(KINDS), f1=0.5, grounded=True if arm in RETRIEVING else None,
    )  # fmt: skip
    citations = [_passage(number, place, evil) for place in (1, 2, 3)] if arm in RETRIEVING else []
    return Reply(text=words, model=model, latency_s=latency, citations=citations, grade=grade)


def _passage(number: int, place: int, evil: str) -> CitedSource:
    source, text = (
        f"docs/{(number + place) % 900}.md",
        f"Passage {(number + place) % 900}. {'Words of a document. ' * 30}",
    )
    return CitedSource(index=place, source=f"{source}{evil[:200]}", title="", cited=place == 1, text=f"{text}{evil}")


def _cell(slice_name: str, rows: Sequence[Row], arm: ArmName) -> Cell:
    chosen = [
        row
        for row in rows
        if slice_name in (row.question.slice, OVERALL) and (slice_name == GENERAL or row.question.slice != GENERAL)
    ]
    replies = [row.replies[arm] for row in chosen]
    grades = [reply.counted for reply in replies if reply.counted]
    retrieves = arm in RETRIEVING
    right = share([grade.correct for grade in grades])
    return Cell(
        arm=arm, slice=slice_name, num_questions=len(chosen),
        num_failed=sum(reply.failed is not None for reply in replies),
        num_ungradable=sum(reply.ungradable is not None for reply in replies),
        num_no_answer=sum(reply.no_answer is not None for reply in replies),
        num_unclear=sum(reply.grade is not None and reply.grade.unclear for reply in replies),
        accuracy=right, content=right if slice_name == "form" else None, form=right if slice_name == "form" else None,
        refused=share([False for _ in grades]), false_answers=None, cited_right=right if retrieves else None,
        retrieved_right=right if retrieves else None, grounded=right if retrieves else None, f1=0.61,
        latency_p50_s=0.2 * len(arm) / 10, latency_p95_s=0.5 * len(arm) / 10,
    )  # fmt: skip


def _difference(first: ArmName, second: ArmName, n: int) -> Difference:
    apart = SKILL.get(first, 0.6) - SKILL.get(second, 0.6)
    return Difference(
        slice=OVERALL, first=first, second=second, n=n, difference=apart, low=apart - 0.1, high=apart + 0.1,
        p_value=0.01, adjusted_p=0.02, separated=abs(apart) > 0.1, smallest_effect=0.06,
        more_questions=None if abs(apart) > 0.1 else 240,
    )  # fmt: skip


def _arm(arm: ArmName, rows: Sequence[Row]) -> ArmResult:
    failed = [row.replies[arm].missing for row in rows]
    model = f"base:helpdesk@3+{arm}" if arm in RETRIEVING else f"base:{arm}"
    return ArmResult(
        name=arm, title=title(arm), model=model, answered_as=[model], warm_up_s=0.4,
        warm_up_failed=None, failures={reason: failed.count(reason) for reason in failed if reason},
    )  # fmt: skip


def _cost(index: int, arm: ArmName) -> Cost:
    trained = arm in ("tuned", "tuned_retrieval", "raft")
    return Cost(
        arm=arm, currency="USD", training_s=5400.0 if trained else None, training_money=4.5 if trained else None,
        indexing_s=90.0 if arm in RETRIEVING else None, indexing_money=0.04 if arm in RETRIEVING else None,
        prompt_tokens=120.0 + 900 * (arm in RETRIEVING), completion_tokens=38.5, machine_s=0.021 * (index + 1),
        answer_money=0.00017 * (index + 1), right_answer_money=0.00021 * (index + 1), monthly_money=4.54 if trained else 0.0,
    )  # fmt: skip


def _part(value: float, n: int) -> Share:
    return share([True] * round(value * n) + [False] * (n - round(value * n)))
