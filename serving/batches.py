"""Work that is cheaper together: what comes while a batch is computed is the next one, and nothing waits to fill it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """Not Serve's own decorator: that one works inside of a replica only.

    Args:
        compute: gives a result for each item, in their order.
        most: items in one batch.
    """

    def __init__(self, compute: Callable[[list[Item]], Awaitable[list[Result]]], most: int) -> None:
        self._compute, self._most = compute, most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._computing: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """The item's result. Raises what its batch raised."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._computing is None or self._computing.done():
            self._computing = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            wanted = [(item, result) for item, result in batch if not result.done()]
            try:
                found = await self._compute([item for item, _ in wanted]) if wanted else []
            except Exception as error:  # noqa: BLE001  # whoever waits gets it
                for _, result in wanted:
                    if not result.done():
                        result.set_exception(error)
                continue
            for (_, result), value in zip(wanted, found, strict=True):
                if not result.done():
                    result.set_result(value)
