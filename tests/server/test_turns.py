"""The line in which those wait who have much to say."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from asrd.server.turns import SHORT_SLICE_S, SLICE_S, Turns


def test_each_has_a_turn_in_order_and_one_a_loop() -> None:
    async def scenario() -> None:
        turns, had, loops = Turns(), [], 0

        def standing(name: str, left: int) -> Callable[[], None]:
            def go_on() -> None:
                had.append((loops, name))
                if left > 1:
                    turns.wait(standing(name, left - 1))

            return go_on

        assert turns.slice_s == SLICE_S
        for name, times in (("a", 3), ("b", 1), ("c", 2)):
            turns.wait(standing(name, times))
        assert turns.slice_s == SHORT_SLICE_S
        assert not had  # never at once
        for _ in range(10):
            await asyncio.sleep(0)
            loops += 1
        assert [name for _, name in had] == ["a", "b", "c", "a", "c", "a"]
        assert len({at for at, _ in had}) == len(had)
        assert turns.slice_s == SLICE_S

    asyncio.run(scenario())


def test_a_turn_that_fails_costs_nobody_else_theirs() -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        turns, had = Turns(), list[int]()

        def fail() -> None:
            raise ValueError

        turns.wait(fail)
        turns.wait(lambda: had.append(1))
        for _ in range(4):
            await asyncio.sleep(0)
        assert had == [1]

    asyncio.run(scenario())


@pytest.mark.parametrize("count", [1, 200])
def test_the_line_is_empty_behind_the_last(count: int) -> None:
    async def scenario() -> None:
        turns, had = Turns(), list[int]()
        for number in range(count):
            turns.wait(partial(had.append, number))
        while len(had) < count:  # noqa: ASYNC110 - each loop is one turn
            await asyncio.sleep(0)
        assert had == list(range(count))
        assert turns.slice_s == SLICE_S

    asyncio.run(scenario())
