"""Limits of a key over time, with a clock of our own: counted in a process, and in a real Redis."""

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from serving.access.keys import Limits
from serving.access.limiter import DAY_S, Admitted, Limiter, Refusal
from serving.access.redis_limiter import RedisLimiter
from serving.api.errors import ApiError
from tests.serving.redis_server import redis_server

START = 20_000 * DAY_S + 1000.0


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class Counter:
    """Asks one of the two, or one that was started again."""

    clock: Clock
    daily: Path
    redis: str | None
    prefix: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self._limiter = None if self.redis else Limiter(self.daily, longest_s=120, clock=self.clock)

    def admit(self, limits: Limits, num_tokens: int = 1, key: str = "a") -> Admitted | Refusal:
        return asyncio.run(self._asked("admit", self.prefix + key, limits, num_tokens))

    def settle(self, ticket: int, reserved: int, num_tokens: int) -> None:
        asyncio.run(self._asked("settle", self.prefix + "a", ticket, reserved, num_tokens))

    def restarted(self) -> "Counter":
        return Counter(self.clock, self.daily, self.redis, self.prefix)

    async def _asked(self, method: str, *arguments: Any) -> Any:
        if self._limiter:
            return await getattr(self._limiter, method)(*arguments)
        assert self.redis
        limiter = RedisLimiter(self.redis, longest_s=120, clock=self.clock)
        try:
            return await getattr(limiter, method)(*arguments)
        finally:
            await limiter.close()


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as (url, _):
        yield url


@pytest.fixture(params=["process", "redis"])
def limiter(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Counter:
    return Counter(
        clock, tmp_path / "usage.json", request.getfixturevalue("redis") if request.param == "redis" else None
    )


def test_no_sixty_seconds_hold_more_requests_than_the_limit(limiter: Counter, clock: Clock) -> None:
    limits = Limits(requests_per_minute=5)
    admitted: list[float] = []
    for tick in range(2000):
        clock.now = START + tick * 0.37
        if isinstance(limiter.admit(limits), Admitted):
            admitted.append(clock.now)
    busiest = max(sum(1 for other in admitted if each <= other < each + 60) for each in admitted)
    assert busiest == 5
    assert len(admitted) >= 5 * 12, "and it is used up"


def test_a_refusal_says_when_to_come_back(limiter: Counter, clock: Clock) -> None:
    limits = Limits(requests_per_minute=1)
    assert isinstance(limiter.admit(limits), Admitted)
    clock.now += 20
    refused = limiter.admit(limits)
    assert isinstance(refused, Refusal) and refused.retry_after_s == 41
    clock.now += refused.retry_after_s
    assert isinstance(limiter.admit(limits), Admitted)


def test_concurrency_is_given_back_by_the_end_or_in_time(limiter: Counter, clock: Clock) -> None:
    limits = Limits(concurrency=1)
    first = limiter.admit(limits)
    assert isinstance(first, Admitted) and isinstance(limiter.admit(limits), Refusal)
    limiter.settle(first.ticket, 1, 1)
    assert isinstance(limiter.admit(limits), Admitted) and isinstance(limiter.admit(limits), Refusal)
    clock.now += 120
    assert isinstance(limiter.admit(limits), Admitted), "its gateway has died"


def test_tokens_are_reserved_and_then_settled(limiter: Counter, clock: Clock) -> None:
    limits = Limits(tokens_per_minute=100)
    first = limiter.admit(limits, 80)
    assert isinstance(first, Admitted) and isinstance(limiter.admit(limits, 21), Refusal)
    limiter.settle(first.ticket, 80, 30)
    assert isinstance(limiter.admit(limits, 70), Admitted)
    assert isinstance(limiter.admit(limits, 1), Refusal)
    clock.now += 60
    assert isinstance(limiter.admit(limits, 100), Admitted)
    assert isinstance(limiter.admit(limits, 101, key="b"), Refusal), "more than a whole minute's"


def test_a_days_tokens_are_kept_over_a_restart_and_forgotten_at_midnight(limiter: Counter, clock: Clock) -> None:
    limits = Limits(tokens_per_day=100)
    first = limiter.admit(limits, 90)
    assert isinstance(first, Admitted)
    limiter.settle(first.ticket, 90, 95)
    restarted = limiter.restarted()
    refused = restarted.admit(limits, 6)
    assert isinstance(refused, Refusal) and 0 <= refused.retry_after_s - (DAY_S - 1000) <= 1
    assert isinstance(restarted.admit(limits, 5), Admitted)
    clock.now += refused.retry_after_s
    assert isinstance(restarted.admit(limits, 100), Admitted)


def test_one_key_does_not_use_up_another(limiter: Counter) -> None:
    limits = Limits(requests_per_minute=1, concurrency=1)
    assert isinstance(limiter.admit(limits, key="a"), Admitted)
    assert isinstance(limiter.admit(limits, key="b"), Admitted)


def test_a_file_that_is_torn_counts_from_nought(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "usage.json").write_text('{"day": 1')
    assert isinstance(Counter(clock, tmp_path / "usage.json", None).admit(Limits(tokens_per_day=1)), Admitted)


def test_nobody_is_let_in_uncounted_while_redis_is_gone(clock: Clock, tmp_path: Path) -> None:
    with redis_server() as (url, process):
        counter = Counter(clock, tmp_path, url)
        first = counter.admit(Limits(concurrency=1))
        assert isinstance(first, Admitted)
        process.kill()
        process.wait()
        with pytest.raises(ApiError) as refused:
            counter.admit(Limits(concurrency=1))
        assert (refused.value.status, refused.value.code) == (503, "limits_unavailable")
        counter.settle(first.ticket, 1, 1)


def test_redis_own_clock_is_taken_where_none_is_given(redis: str) -> None:
    async def admit() -> list[Admitted | Refusal]:
        limiter = RedisLimiter(redis, longest_s=120)
        found = [await limiter.admit("clock", Limits(requests_per_minute=2), 1) for _ in range(3)]
        await limiter.close()
        return found

    *admitted, refused = asyncio.run(admit())
    assert all(isinstance(each, Admitted) for each in admitted)
    assert isinstance(refused, Refusal) and 59 <= refused.retry_after_s <= 61


def test_an_answer_that_ends_after_midnight_gives_nothing_back_to_the_new_day(limiter: Counter, clock: Clock) -> None:
    limits = Limits(tokens_per_day=100)
    clock.now = START - 1050
    before = limiter.admit(limits, 90)
    assert isinstance(before, Admitted)
    clock.now = START - 960
    assert isinstance(limiter.admit(limits, 90), Admitted)
    limiter.settle(before.ticket, reserved=90, num_tokens=1)
    assert isinstance(limiter.admit(limits, 20), Refusal), "the new day has 90 of 100, whatever ended in it"
