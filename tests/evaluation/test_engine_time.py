"""Whatever the schedule, the shares of all requests add up to the time in which the engine was busy."""

import asyncio
import random
from fractions import Fraction

import pytest

from evaluation.engine_time import EngineTime, Spent, in_flight


class Clock:
    """Seconds that pass when the test says so, as fractions: sums are exact."""

    def __init__(self) -> None:
        self.now = Fraction(0)

    def __call__(self) -> float:
        return self.now  # type: ignore[return-value]


def busy_time(spans: list[tuple[Fraction, Fraction]]) -> Fraction:
    """The length of the union, worked out from sorted intervals."""
    busy, reached = Fraction(0), Fraction(0)
    for begin, end in sorted(spans):
        busy += max(end - max(begin, reached), Fraction(0))
        reached = max(reached, end)
    return busy


def shares(spans: list[tuple[Fraction, Fraction]]) -> tuple[list[Fraction], EngineTime]:
    """The engine's shares of requests that begin and end at these times; ends come before beginnings."""
    clock = Clock()
    engine, begun, found = EngineTime(clock), {}, {}
    events = [(begin, 1, number) for number, (begin, _) in enumerate(spans)]
    events += [(end, 0 if end > spans[number][0] else 2, number) for number, (_, end) in enumerate(spans)]
    for clock.now, kind, number in sorted(events):
        if kind == 1:
            begun[number] = engine.begin()
        else:
            found[number] = engine.end(begun[number])
    return [Fraction(found[number]) for number in range(len(spans))], engine


def test_sums_by_hand() -> None:
    """Alone for 1 s, two together for 2 s, then nobody for 5 s, then one alone for 1 s."""
    found, engine = shares([(Fraction(0), Fraction(3)), (Fraction(1), Fraction(3)), (Fraction(8), Fraction(9))])
    assert found == [2, 1, 1] and engine.busy_s == 4


@pytest.mark.parametrize("seed", range(60))
def test_the_shares_add_up_to_the_busy_time(seed: int) -> None:
    rng = random.Random(seed)
    latest, longest = rng.choice([1, 20, 1000]), rng.choice([0, 1, 50, 2000])
    spans = []
    for _ in range(rng.randrange(1, 120)):
        begin = Fraction(rng.randrange(latest + 1), 7)
        spans.append((begin, begin + Fraction(rng.randrange(longest + 1), 3)))
    found, engine = shares(spans)
    assert sum(found) == engine.busy_s == busy_time(spans)
    assert all(0 <= share <= end - begin for share, (begin, end) in zip(found, spans, strict=True))


def test_requests_of_one_question_are_added_failed_and_cancelled_ones_too() -> None:
    """Three tries with pauses between them, beside a call that is cancelled in the middle."""
    clock = Clock()
    engine, found = EngineTime(clock), {}

    async def question(name: str, tries: list[tuple[int, int]]) -> None:
        with engine.measure() as spent:
            found[name] = spent
            for begin, end in tries:
                await until(begin)
                try:
                    with in_flight():
                        await until(end)
                        raise ConnectionResetError
                except ConnectionResetError:
                    pass

    async def until(second: int) -> None:
        while clock.now < second:
            await asyncio.sleep(0)

    async def schedule() -> None:
        tasks = [asyncio.create_task(question("retried", [(0, 2), (4, 5), (7, 9)])),
                 asyncio.create_task(question("cancelled", [(1, 100)]))]  # fmt: skip
        for second in range(10):
            clock.now = Fraction(second)
            if second == 8:
                tasks[1].cancel()
            for _ in range(20):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(schedule())
    # 0-1 alone, 1-2 shared, 2-4 the other alone, 4-5 shared, 5-7 the other alone, 7-8 shared, 8-9 alone.
    assert (found["retried"].seconds, found["cancelled"].seconds) == (Fraction(7, 2), Fraction(11, 2))
    assert engine.busy_s == 9


def test_a_request_that_nobody_measures_takes_no_time() -> None:
    with in_flight():
        pass
    engine = EngineTime()
    with engine.measure() as spent:
        assert isinstance(spent, Spent)
    with in_flight():
        pass
    assert engine.busy_s == spent.seconds == 0
