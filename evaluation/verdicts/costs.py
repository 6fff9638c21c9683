"""What each arm costs, at the prices that the project states, and from which number of questions on another is cheaper.

Nothing is assumed: where a price or a time is missing, so is the sum. An answer of the project's own endpoint costs
machine time, at `prices.machine_hour`: the time in which the endpoint was busy, shared by the calls in flight there
(engine_time.py). Calls that failed were paid for too, and are shared out over the arm's answers. An answer that was
kept costs what it did when it was given. An answer of another endpoint costs its tokens, and no machine time. Training
and indexing are paid as often as the prices say; both are the arm's alone.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations

from evaluation.arms import TRAINED, Arm
from evaluation.config import ArmName, EndpointArm, EvaluationConfig, Prices
from evaluation.questions.question import GENERAL
from evaluation.replies import Reply
from evaluation.results import BreakEven, Cost, Row

HOUR_S = 3600
MILLION = 1_000_000


def costs_of_arms(
    rows: Sequence[Row],
    arms: Sequence[Arm],
    config: EvaluationConfig,
    training_s: Mapping[ArmName, float | None],
    indexing_s: float | None,
) -> list[Cost]:
    """The costs of every arm, in the arms' order; an answer is one that came, right or not, to a question of `overall`.

    Args:
        training_s: worker-seconds of each trained arm's training; None or nothing where it is not known.
        indexing_s: seconds to index all documents anew; None where it is not known.
    """
    counted = [row for row in rows if row.question.slice != GENERAL]
    return [_cost(counted, arm, config, training_s.get(arm.name), indexing_s) for arm in arms]


def find_break_even(arm_costs: Sequence[Cost]) -> list[BreakEven]:
    """The pairs of arms of which one costs more each month and less for each answer, and where it begins to pay."""
    turns = []
    for dear, cheap in permutations(arm_costs, 2):
        if dear.monthly_money is None or cheap.monthly_money is None:
            continue
        if dear.answer_money is None or cheap.answer_money is None:
            continue
        more, saved = dear.monthly_money - cheap.monthly_money, cheap.answer_money - dear.answer_money
        if more > 0 and saved > 0:
            turns.append(BreakEven(cheaper_above=dear.arm, than=cheap.arm, questions_per_month=more / saved))
    return turns


def _cost(
    rows: Sequence[Row], arm: Arm, config: EvaluationConfig, training_s: float | None, indexing_s: float | None
) -> Cost:
    prices = config.prices
    replies = [
        row.replies[arm.name]
        for row in rows
        if row.replies[arm.name].failed is None and not row.replies[arm.name].not_asked
    ]
    training_s = training_s if arm.name in TRAINED else None
    indexing_s = indexing_s if arm.retrieves else None
    hourly = prices.machine_hour if prices.training_gpu_hour is None else prices.training_gpu_hour
    training, indexing = _times(training_s, hourly, HOUR_S), _times(indexing_s, prices.machine_hour, HOUR_S)
    machine_s = None if arm.endpoint else _machine_s([row.replies[arm.name] for row in rows])
    answer = _tokens_money(replies, arm.endpoint) if arm.endpoint else _times(machine_s, prices.machine_hour, HOUR_S)
    num_right = sum(reply.counted is not None and reply.counted.correct for reply in replies)
    return Cost(
        arm=arm.name,
        currency=prices.currency,
        training_s=training_s,
        training_money=training,
        indexing_s=indexing_s,
        indexing_money=indexing,
        prompt_tokens=_mean([reply.prompt_tokens for reply in replies]),
        completion_tokens=_mean([reply.completion_tokens for reply in replies]),
        machine_s=machine_s,
        answer_money=answer,
        right_answer_money=None if answer is None or not num_right else answer * len(replies) / num_right,
        monthly_money=_monthly(arm, training, indexing, prices),
    )


def _monthly(arm: Arm, training: float | None, indexing: float | None, prices: Prices) -> float | None:
    """None as soon as one part that the arm needs is not known; 0 for an arm that needs none and has a price."""
    parts = []
    if arm.name in TRAINED:
        parts.append(_times(training, prices.trainings_per_month))
    if arm.retrieves:
        parts.append(_times(indexing, prices.indexings_per_month))
    if not parts:
        return 0.0 if _has_price(arm, prices) else None
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _has_price(arm: Arm, prices: Prices) -> bool:
    if arm.endpoint:
        return arm.endpoint.input_price is not None and arm.endpoint.output_price is not None
    return prices.machine_hour is not None


def _machine_s(replies: Sequence[Reply]) -> float | None:
    """Machine time of one answer: the mean of the measured ones, and its part of what failed calls took.

    None where fewer than half are measured: the few that were asked anew had the engine for themselves.
    """
    answers = [reply for reply in replies if reply.failed is None]
    measured = [reply.machine_s for reply in answers if reply.machine_s is not None]
    if not measured or 2 * len(measured) < len(answers):
        return None
    failed_s = sum(reply.machine_s or 0.0 for reply in replies if reply.failed is not None)
    return sum(measured) / len(measured) + failed_s / len(answers)


def _tokens_money(replies: Sequence[Reply], endpoint: EndpointArm) -> float | None:
    sent = _times(_mean([reply.prompt_tokens for reply in replies]), endpoint.input_price, MILLION)
    received = _times(_mean([reply.completion_tokens for reply in replies]), endpoint.output_price, MILLION)
    return None if sent is None or received is None else sent + received


def _times(amount: float | None, price: float | None, per: float = 1) -> float | None:
    return None if amount is None or price is None else amount * price / per


def _mean(values: Sequence[float | None]) -> float | None:
    """Over the answers for which it is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
