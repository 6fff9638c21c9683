import asyncio

import pytest

from serving.retriever import Batcher


def test_what_comes_meanwhile_is_the_next_batch_and_nothing_waits() -> None:
    seen: list[list[int]] = []

    async def double(numbers: list[int]) -> list[int]:
        seen.append(numbers)
        await asyncio.sleep(0.01)
        return [2 * number for number in numbers]

    async def run() -> list[int]:
        batches = Batcher(double, most=3)
        first = asyncio.create_task(batches.submit(0))
        await asyncio.sleep(0.005)
        return [*await asyncio.gather(*(batches.submit(number) for number in range(1, 6))), await first]

    assert asyncio.run(run()) == [2, 4, 6, 8, 10, 0]
    assert seen == [[0], [1, 2, 3], [4, 5]]


def test_one_that_fails_fails_its_own_batch_alone_and_one_that_left_is_not_computed() -> None:
    seen: list[list[int]] = []

    async def refuse_one(numbers: list[int]) -> list[int]:
        await asyncio.sleep(0.01)
        seen.append(numbers)
        if 1 in numbers:
            raise ValueError("one")
        return numbers

    async def run() -> None:
        batches = Batcher(refuse_one, most=8)
        failing = asyncio.create_task(batches.submit(1))
        await asyncio.sleep(0)
        left, stays = asyncio.create_task(batches.submit(2)), asyncio.create_task(batches.submit(3))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(ValueError, match="one"):
            await failing
        assert await stays == 3
        assert await batches.submit(4) == 4

    asyncio.run(run())
    assert seen == [[1], [3], [4]]
