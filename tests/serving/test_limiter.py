"""Limits of a key over time, with a clock of our own."""

import asyncio
from pathlib import Path

import pytest

from serving.keys import Limits
from serving.limiter import DAY_S, Admitted, Limiter, Refused

START = 20_000 * DAY_S + 1000.0


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(tmp_path: Path, clock: Clock) -> Limiter:
    return Limiter(tmp_path / "usage.json", longest_s=120, clock=clock)


def admit(limiter: Limiter, limits: Limits, num_tokens: int = 1, key: str = "a") -> Admitted | Refused:
    return asyncio.run(limiter.admit(key, limits, num_tokens))


def test_no_sixty_seconds_hold_more_requests_than_the_limit(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(requests_per_minute=5)
    admitted: list[float] = []
    for tick in range(2000):
        clock.now = START + tick * 0.37
        if isinstance(admit(limiter, limits), Admitted):
            admitted.append(clock.now)
    busiest = max(sum(1 for other in admitted if each <= other < each + 60) for each in admitted)
    assert busiest == 5
    assert len(admitted) >= 5 * 12, "and it is used up"


def test_a_refusal_says_when_to_come_back(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(requests_per_minute=1)
    assert isinstance(admit(limiter, limits), Admitted)
    clock.now += 20
    refused = admit(limiter, limits)
    assert isinstance(refused, Refused) and refused.retry_after_s == 41
    clock.now += refused.retry_after_s
    assert isinstance(admit(limiter, limits), Admitted)


def test_concurrency_is_given_back_by_the_end_or_in_time(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(concurrency=1)
    first = admit(limiter, limits)
    assert isinstance(first, Admitted) and isinstance(admit(limiter, limits), Refused)
    asyncio.run(limiter.settle("a", first.ticket, 1, 1))
    assert isinstance(admit(limiter, limits), Admitted) and isinstance(admit(limiter, limits), Refused)
    clock.now += 120
    assert isinstance(admit(limiter, limits), Admitted), "its gateway has died"


def test_tokens_are_reserved_and_then_settled(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(tokens_per_minute=100)
    first = admit(limiter, limits, 80)
    assert isinstance(first, Admitted) and isinstance(admit(limiter, limits, 21), Refused)
    asyncio.run(limiter.settle("a", first.ticket, 80, 30))
    assert isinstance(admit(limiter, limits, 70), Admitted)
    assert isinstance(admit(limiter, limits, 1), Refused)
    clock.now += 60
    assert isinstance(admit(limiter, limits, 100), Admitted)
    assert isinstance(admit(limiter, limits, 101, key="b"), Refused), "more than a whole minute's"


def test_a_days_tokens_are_kept_over_a_restart_and_forgotten_at_midnight(
    limiter: Limiter, clock: Clock, tmp_path: Path
) -> None:
    limits = Limits(tokens_per_day=100)
    first = admit(limiter, limits, 90)
    assert isinstance(first, Admitted)
    asyncio.run(limiter.settle("a", first.ticket, 90, 95))
    restarted = Limiter(tmp_path / "usage.json", longest_s=120, clock=clock)
    refused = admit(restarted, limits, 6)
    assert isinstance(refused, Refused) and refused.retry_after_s == DAY_S - 1000
    assert isinstance(admit(restarted, limits, 5), Admitted)
    clock.now += refused.retry_after_s
    assert isinstance(admit(restarted, limits, 100), Admitted)


def test_one_key_does_not_use_up_another(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=1, concurrency=1)
    assert isinstance(admit(limiter, limits, key="a"), Admitted)
    assert isinstance(admit(limiter, limits, key="b"), Admitted)


def test_a_file_that_is_torn_counts_from_nought(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "usage.json").write_text('{"day": 1')
    assert isinstance(admit(Limiter(tmp_path / "usage.json", 120, clock), Limits(tokens_per_day=1)), Admitted)
