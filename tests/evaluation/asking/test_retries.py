"""How long an endpoint asks to wait, and who is let in when calls are slowed down."""

import asyncio
from datetime import UTC, datetime

import pytest

from evaluation.asking.retries import FIRST_WAIT_S, LONGEST_WAIT_S, Throttle, backoff_s, wait_asked_for

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After": "Mon, 30 Nov 2026 12:00:09 GMT"}, 9.0),
        ({"Retry-After": "Mon, 30 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset-requests": "8s", "x-ratelimit-remaining-requests": "5",
          "x-ratelimit-reset-tokens": "30s", "x-ratelimit-remaining-tokens": "0"}, 30.0),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 12)}, 12.0),
        ({"X-RateLimit-Reset": str(1000 * int(NOW.timestamp()) + 3500)}, 3.5),
        ({"anthropic-ratelimit-requests-reset": "2026-11-30T12:00:20Z"}, 20.0),
        ({"Retry-After": "soon"}, None), ({"Retry-After": "-3"}, None), ({"Retry-After": "nan"}, None),
        ({"Retry-After": ""}, None), ({"Retry-After": "inf"}, None), ({}, None),
    ],
)  # fmt: skip
def test_the_wait_is_read_from_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked_for(headers, now=NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("Rate limit reached. Please try again in 7.66s.", 7.66), ("Please retry after 6 seconds.", 6.0),
     ("Please try again in 1m30s. Visit us.", 90.0), ("Try again later.", None)],
)  # fmt: skip
def test_the_wait_is_read_from_the_words(text: str, seconds: float | None) -> None:
    assert wait_asked_for({}, [text]) == seconds


def test_waits_grow_and_are_not_alike() -> None:
    for tries in range(1, 12):
        waits = {backoff_s(tries) for _ in range(50)}
        assert len(waits) > 40 and min(waits) >= 0.5 * min(FIRST_WAIT_S * 2 ** (tries - 1), LONGEST_WAIT_S)
        assert max(waits) <= LONGEST_WAIT_S
    assert all(5.0 <= backoff_s(1, 5.0) <= 5.6 for _ in range(50))
    assert backoff_s(9, 0.001) > 5, "an endpoint that always asks for a millisecond is not asked all the time"


def test_those_that_were_first_go_first_and_fewer_at_once() -> None:
    async def run() -> tuple[list[int], float]:
        throttle, done = Throttle(8), list[int]()
        started = asyncio.get_running_loop().time()

        async def call(place: int) -> None:
            await throttle.enter(place)
            try:
                done.append(place)
                await asyncio.sleep(0.01)
            finally:
                throttle.leave()

        await throttle.enter(0)
        throttle.in_flight = 8
        throttle.slow_down(started, 0.05)
        throttle.slow_down(started, 0.05)  # of a call that was made before the first was slowed down
        throttle.in_flight = 1
        limit = throttle.limit
        throttle.leave()
        await asyncio.gather(*(call(place) for place in (5, 3, 4, 2, 1)))
        assert throttle.in_flight == 0
        for _ in range(100):
            throttle.answered()
        assert throttle.limit == 8
        return done, limit

    assert asyncio.run(run()) == ([1, 2, 3, 4, 5], 4)


def test_a_call_that_is_cancelled_while_it_waits_leaves_its_place() -> None:
    async def run() -> None:
        throttle = Throttle(1)
        await throttle.enter(0)
        waiting = [asyncio.create_task(throttle.enter(place)) for place in (1, 2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        throttle.leave()
        await asyncio.wait_for(waiting[1], 1)
        assert throttle.in_flight == 1

    asyncio.run(run())
