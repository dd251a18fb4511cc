"""What waits for a stream's reader."""

import asyncio

import pytest

from asrd.client.errors import ConnectionLost
from asrd.client.inbox import Inbox
from asrd.wire.messages import Ack, Partial
from support.fake_daemon import segment


def partial(number: int, text: str) -> Partial:
    return Partial(stream=1, id=number, start=0.0, end=1.0, text=text, stable=0)


def test_a_newer_partial_of_the_same_segment_takes_the_place_of_the_older() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        for item in (
            partial(0, "a"),
            partial(0, "a b"),
            partial(1, "c"),
            segment(),
            partial(1, "d"),
        ):
            await inbox.put(item)
        assert len(inbox) == 4
        assert [await inbox.get() for _ in range(2)] == [partial(0, "a b"), partial(1, "c")]

    asyncio.run(scenario())


def test_a_newer_ack_takes_the_place_of_the_older() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        await inbox.put(Ack(stream=1, offset=1))
        await inbox.put(Ack(stream=1, offset=2))
        assert len(inbox) == 1
        assert await inbox.get() == Ack(stream=1, offset=2)

    asyncio.run(scenario())


def test_a_full_inbox_makes_its_producer_wait() -> None:
    async def scenario() -> None:
        inbox = Inbox(limit=2)
        await inbox.put(segment(number=0))
        await inbox.put(segment(number=1))
        third = asyncio.create_task(inbox.put(segment(number=2)))
        await asyncio.sleep(0)
        assert not third.done()
        assert await inbox.get() == segment(number=0)
        await third
        assert len(inbox) == 2

    asyncio.run(scenario())


def test_what_came_before_the_end_is_still_there() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        await inbox.put(segment())
        inbox.end(ConnectionLost("gone"))
        assert await inbox.get() == segment()
        with pytest.raises(ConnectionLost, match="gone"):
            await inbox.get()

    asyncio.run(scenario())


def test_who_waits_is_told_of_the_end() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        reader = asyncio.create_task(inbox.get())
        await asyncio.sleep(0)
        inbox.end(ConnectionLost("gone"))
        with pytest.raises(ConnectionLost):
            await reader

    asyncio.run(scenario())


def test_an_abandoned_inbox_never_makes_its_producer_wait() -> None:
    async def scenario() -> None:
        inbox = Inbox(limit=1)
        await inbox.put(segment(number=0))
        waiting = asyncio.create_task(inbox.put(segment(number=1)))
        await asyncio.sleep(0)
        inbox.discard()
        await waiting
        await inbox.put(segment(number=2))
        assert len(inbox) == 0

    asyncio.run(scenario())
