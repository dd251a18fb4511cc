"""Work that goes on side by side."""

import asyncio

import pytest

from asrd.cli.together import together


def test_what_each_returns_comes_in_their_order() -> None:
    async def later(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    async def run() -> list[int]:
        return await together([later(3), later(0)])

    assert asyncio.run(run()) == [3, 0]


def test_an_error_of_one_ends_the_others_before_it_is_raised() -> None:
    ended = []

    async def waits() -> int:
        try:
            return await asyncio.Future()
        finally:
            await asyncio.sleep(0)
            ended.append("waits")

    async def fails() -> int:
        raise ValueError("the first")

    async def run() -> None:
        with pytest.raises(ValueError, match="the first"):
            await together([waits(), fails()])
        assert ended == ["waits"]

    asyncio.run(run())
