"""Blocking reads beside the loop."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from asrd.cli.feeder import Feeder


def test_blocks_come_in_order_and_end() -> None:
    async def scenario() -> list[bytes]:
        return [block async for block in Feeder(iter([b"a", b"b", b"c"]), "t", depth=1)]

    assert asyncio.run(scenario()) == [b"a", b"b", b"c"]


def test_no_more_is_read_ahead_than_allowed() -> None:
    taken = 0
    full = threading.Event()

    def source() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            if taken == 4:
                full.set()
            yield b"x"

    async def scenario() -> None:
        feeder = Feeder(source(), "t", depth=3)
        await asyncio.to_thread(full.wait, 10)
        assert taken == 4  # three wait, one is in the hand of the thread
        assert len([block async for block in feeder]) == 100

    asyncio.run(scenario())


def test_an_error_of_the_source_is_raised_behind_what_came_before() -> None:
    def source() -> Iterator[bytes]:
        yield b"a"
        raise OSError("broken")

    async def scenario() -> None:
        blocks = aiter(Feeder(source(), "t", depth=4))
        assert await anext(blocks) == b"a"
        with pytest.raises(OSError, match="broken"):
            await anext(blocks)

    asyncio.run(scenario())


def test_it_can_be_stopped_while_the_source_hangs() -> None:
    hanging = threading.Event()

    def source() -> Iterator[bytes]:
        yield b"a"
        hanging.wait(10)
        yield b"never taken"

    async def scenario() -> list[bytes]:
        feeder = Feeder(source(), "t", depth=4)
        seen = []
        async for block in feeder:
            seen.append(block)
            feeder.stop()
        return seen

    assert asyncio.run(scenario()) == [b"a"]
    hanging.set()
