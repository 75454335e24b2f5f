"""Batches of what many callers ask: their order, their faults, their limits."""

import asyncio
from collections.abc import Sequence

import pytest

from profiles.coalesce import Coalescer, Overloaded


def test_what_comes_while_a_batch_is_under_way_is_the_next_one():
    batches: list[list[int]] = []

    async def work(items: Sequence[int]) -> list[int | Exception]:
        batches.append(list(items))
        await asyncio.sleep(0.01)
        return [item * 10 for item in items]

    async def scenario() -> list[int]:
        coalescer: Coalescer[int, int] = Coalescer(work, items_max=3)
        first = coalescer.submit(1)
        await asyncio.sleep(0.001)
        return await asyncio.gather(first, *map(coalescer.submit, range(2, 7)))

    assert asyncio.run(scenario()) == [10, 20, 30, 40, 50, 60]
    assert batches == [[1], [2, 3, 4], [5, 6]]


def test_the_next_batch_is_under_way_before_the_last_ones_callers_go_on():
    told: list[str] = []

    async def ask_database(item: str) -> None:
        told.append(f"begun {item}")
        await asyncio.sleep(0.01)

    async def work(items: Sequence[str]) -> list[str | Exception]:
        await asyncio.create_task(ask_database(items[0]))
        return list(items)

    async def scenario() -> None:
        coalescer: Coalescer[str, str] = Coalescer(work, items_max=1)

        async def ask(item: str) -> None:
            told.append(f"answered {await coalescer.submit(item)}")

        await asyncio.gather(ask("a"), ask("b"))

    asyncio.run(scenario())

    assert told == ["begun a", "begun b", "answered a", "answered b"]


def test_what_goes_wrong_with_one_item_is_told_to_its_caller_alone():
    async def work(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError("odd") if item % 2 else item for item in items]

    def legible(result: object) -> object:
        return str(result) if isinstance(result, ValueError) else result

    async def scenario() -> list[object]:
        coalescer: Coalescer[int, int] = Coalescer(work)
        lone = [coalescer.submit(item) for item in (1, 2)]
        together = coalescer.submit_all([3, 4])
        told = await asyncio.gather(*lone, return_exceptions=True)
        return [*map(legible, told), list(map(legible, await together))]

    assert asyncio.run(scenario()) == ["odd", 2, ["odd", 4]]


def test_a_batch_that_fails_is_told_to_every_caller_and_the_next_one_is_done():
    async def work(items: Sequence[str]) -> list[str | Exception]:
        if "bad" in items:
            raise ConnectionError
        return list(items)

    async def scenario() -> list[object]:
        coalescer: Coalescer[str, str] = Coalescer(work, items_max=2)
        return await asyncio.gather(*map(coalescer.submit, ("good", "bad", "later")), return_exceptions=True)

    good, bad, later = asyncio.run(scenario())

    assert (type(good), type(bad), later) == (ConnectionError, ConnectionError, "later")


def test_a_caller_who_gave_up_keeps_nobody_else_from_an_answer():
    async def work(items: Sequence[int]) -> list[int | Exception]:
        await asyncio.sleep(0.01)
        return list(items)

    async def scenario() -> tuple[bool, int]:
        coalescer: Coalescer[int, int] = Coalescer(work)
        leaving, staying = coalescer.submit(1), coalescer.submit(2)
        await asyncio.sleep(0.001)
        leaving.cancel()
        return leaving.cancelled(), await staying

    assert asyncio.run(scenario()) == (True, 2)


def test_a_full_queue_refuses_at_once_and_takes_none_of_several():
    async def work(items: Sequence[int]) -> list[int | Exception]:
        await asyncio.sleep(0.01)
        return list(items)

    async def scenario() -> int:
        coalescer: Coalescer[int, int] = Coalescer(work, waiting_max=3)
        waiting = coalescer.submit_all([1, 2])
        with pytest.raises(Overloaded):
            coalescer.submit_all([3, 4])
        coalescer.submit(3)
        with pytest.raises(Overloaded):
            coalescer.submit(4)
        await waiting
        await coalescer.drain()
        return coalescer.waiting

    assert asyncio.run(scenario()) == 0
