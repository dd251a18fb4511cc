"""A stream sends what it may, when it may, and each sample once."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.client.course import Course
from asrd.client.errors import ConnectionLost, StreamEnded
from asrd.client.recovery import Recovery
from asrd.client.stream import Stream
from asrd.wire.messages import (
    Ack,
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Credit,
    Flush,
    Flushed,
    Open,
    Opened,
)
from support.fake_daemon import closed, segment


class Wire:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[ClientMessage] = []

    def send_nowait(self, message: ClientMessage) -> None:
        self.sent.append(message)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    @property
    def audio(self) -> list[Audio]:
        return [message for message in self.sent if isinstance(message, Audio)]


def make(
    wire: Wire, *, credit: int | None = None, chunk_bytes: int = 65536, **asked: Any
) -> Stream:
    opened = Opened(
        stream=1,
        provider="fake",
        model="none",
        priority=5,
        delivery="live" if credit is None else "lossless",
        credit=credit,
    )
    course = Course(Open(stream=1, **asked), wire, Recovery.none())
    course.connected({}, chunk_bytes)
    course._open(opened)
    wire.sent.clear()
    return Stream(course)


async def settle(turns: int = 20) -> None:
    """Let every task run until it waits for something outside."""
    for _ in range(turns):
        await asyncio.sleep(0)


@given(
    pieces=st.lists(st.integers(0, 60), max_size=6),
    raises=st.lists(st.integers(0, 60), max_size=6),
    chunk_bytes=st.integers(6, 100),
    channels=st.integers(1, 3),
)
def test_lossless_audio_arrives_whole_in_order_and_never_beyond_the_credit(
    pieces: list[int], raises: list[int], chunk_bytes: int, channels: int
) -> None:
    async def scenario() -> None:
        wire = Wire()
        stream = make(wire, credit=0, chunk_bytes=chunk_bytes, channels=channels)
        width = 2 * channels
        total = sum(pieces)
        pcm = bytes(index % 251 for index in range(total * width))

        async def send() -> None:
            position = 0
            for piece in pieces:
                await stream.send(pcm[position * width : (position + piece) * width])
                position += piece

        sender = asyncio.create_task(send())
        allowed = 0
        for more in [*raises, total]:
            allowed += more
            await stream._course.deliver(Credit(stream=1, offset=allowed))
            await settle(200)
            assert stream.sent == min(allowed, total)
        await sender
        position = 0
        for chunk in wire.audio:
            assert chunk.offset == position
            assert 0 < len(chunk.data) <= max(chunk_bytes, width)
            position += len(chunk.data) // width
        assert b"".join(chunk.data for chunk in wire.audio) == pcm

    asyncio.run(scenario())


def test_live_audio_waits_for_no_credit() -> None:
    async def scenario() -> None:
        wire = Wire()
        await make(wire).send(bytes(200_000))
        assert [len(chunk.data) for chunk in wire.audio] == [65536, 65536, 65536, 3392]

    asyncio.run(scenario())


def test_a_cancelled_send_is_not_repeated_by_the_next() -> None:
    async def scenario() -> None:
        wire = Wire()
        stream = make(wire, credit=10)
        sender = asyncio.create_task(stream.send(bytes(40)))
        await settle()
        sender.cancel()
        await asyncio.wait([sender])
        await stream._course.deliver(Credit(stream=1, offset=15))
        await stream.send(bytes(10))
        assert [(chunk.offset, len(chunk.data)) for chunk in wire.audio] == [(0, 20), (10, 10)]

    asyncio.run(scenario())


def test_a_lossless_sender_waits_for_a_reader_that_stands_still() -> None:
    async def scenario() -> None:
        wire = Wire()
        stream = make(wire, credit=10**6)
        for number in range(512):
            await stream._course.deliver(segment(number=number))
        sender = asyncio.create_task(stream.send(bytes(2)))
        await settle()
        assert not wire.audio
        await anext(stream)
        await sender
        assert len(wire.audio) == 1

    asyncio.run(scenario())


def test_half_a_sample_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="multiple of 4"):
            await make(Wire(), channels=2).send(bytes(6))

    asyncio.run(scenario())


def test_the_commit_follows_segments_acks_and_flushes_and_never_goes_back() -> None:
    async def scenario() -> None:
        stream = make(Wire(), start_offset=5)
        seen = [stream.committed]
        for message in (
            segment(offset=100),
            Ack(stream=1, offset=50),
            Ack(stream=1, offset=150),
            Flushed(stream=1, offset=200),
        ):
            await stream._course.deliver(message)
            seen.append(stream.committed)
        assert seen == [5, 100, 100, 150, 200]

    asyncio.run(scenario())


def test_flush_returns_with_its_own_answer() -> None:
    async def scenario() -> None:
        wire = Wire()
        stream = make(wire)
        first, second = (asyncio.create_task(stream.flush()) for _ in range(2))
        await settle()
        assert wire.sent == [Flush(stream=1), Flush(stream=1)]
        await stream._course.deliver(Flushed(stream=1, offset=1))
        await stream._course.deliver(Flushed(stream=1, offset=2))
        assert ((await first).offset, (await second).offset) == (1, 2)

    asyncio.run(scenario())


def test_close_returns_with_closed_and_iteration_ends_behind_it() -> None:
    async def scenario() -> None:
        wire = Wire()
        stream = make(wire)
        closing = asyncio.create_task(stream.close())
        await settle()
        assert wire.sent == [Close(stream=1)]
        await stream._course.deliver(segment())
        await stream._course.deliver(closed())
        assert await closing == closed()
        assert [event async for event in stream] == [segment(), closed()]
        assert [event async for event in stream] == []
        assert await stream.cancel() == closed()
        assert Cancel(stream=1) not in wire.sent

    asyncio.run(scenario())


def test_a_stream_that_the_daemon_ends_takes_no_more() -> None:
    async def scenario() -> None:
        stream = make(Wire(), credit=0)
        sender = asyncio.create_task(stream.send(bytes(2)))
        flush = asyncio.create_task(stream.flush())
        await settle()
        await stream._course.deliver(closed(reason="idle"))
        for waiting in (sender, flush, asyncio.create_task(stream.send(bytes(2)))):
            with pytest.raises(StreamEnded, match="idle") as caught:
                await waiting
            assert caught.value.reason == "idle"

    asyncio.run(scenario())


def test_a_broken_connection_is_told_to_everyone_who_waits() -> None:
    async def scenario() -> None:
        stream = make(Wire(), credit=0)
        waiting = [
            asyncio.create_task(stream.send(bytes(2))),
            asyncio.create_task(stream.flush()),
            asyncio.create_task(stream.close()),
            asyncio.ensure_future(anext(stream)),
        ]
        await settle()
        stream._course.fail(ConnectionLost("gone"))
        for task in waiting:
            with pytest.raises(ConnectionLost, match="gone"):
                await task

    asyncio.run(scenario())


def test_what_is_skipped_is_a_hole_before_what_is_sent_next() -> None:
    async def scenario() -> list[tuple[int | None, int]]:
        wire = Wire()
        stream = make(wire)
        await stream.send(bytes(200))
        stream.skip(30)
        stream.skip(20)
        assert stream.sent == 100
        await stream.send(bytes(100))
        assert stream.sent == 200
        return [(each.offset, len(each.data)) for each in wire.audio]

    assert asyncio.run(scenario()) == [(0, 200), (150, 100)]


def test_a_lossless_stream_has_no_holes() -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="1 samples of a lossless stream"):
            make(Wire(), credit=1000).skip(1)
        with pytest.raises(ValueError, match="-1 samples of a live stream"):
            make(Wire()).skip(-1)

    asyncio.run(scenario())
