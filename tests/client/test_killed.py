"""The client and real daemons that are killed, drained and cut off while a stream goes on."""

import asyncio
import dataclasses
import os
import random
import signal
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from asrd.choices import Delivery
from asrd.client import Client, ClientState, Recovery, Stream, StreamEvent, connect
from asrd.wire.messages import Closed, Error, Event, Segment
from conftest import Recording
from support.audio import read_wav
from support.daemon import START_PATIENCE_S, Daemon, running_daemon
from support.relay import Relay
from support.waiting import until

RECOVERY = Recovery(
    first_wait_s=0.02,
    longest_wait_s=0.1,
    max_attempts=1000,
    breaker_failures=1000,
    held_live_s=60.0,
)
RATE = 16000
PIECE_BYTES = 16000
PACE_S = 0.02
"""Between two pieces of half a second: 25 times as fast as it was spoken."""

LOSSES = ("dropped", "gap")
Events = list[StreamEvent]


@pytest.fixture(scope="module")
def pcm(two_cities: Recording) -> bytes:
    return (read_wav(two_cities.path) * 32767).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def unbroken(pcm: bytes, tmp_path_factory: pytest.TempPathFactory) -> Events:
    """What is told when nothing happens."""

    async def nothing(stream: Stream) -> None:
        pass

    async def scenario() -> Events:
        async with connect(daemon.path, recovery=None) as client:
            return await transcribe(client, pcm, "lossless", nothing)

    with running_daemon(tmp_path_factory.mktemp("unbroken")) as daemon:
        return asyncio.run(scenario())


async def transcribe(
    client: Client, pcm: bytes, delivery: Delivery, trouble: Callable[[Stream], Awaitable[None]]
) -> Events:
    stream = await client.open_stream(source="file", delivery=delivery, partials=False)

    async def send() -> None:
        for begin in range(0, len(pcm), PIECE_BYTES):
            await stream.send(pcm[begin : begin + PIECE_BYTES])
            await asyncio.sleep(PACE_S)
        await stream.close()

    async def read() -> Events:
        return [event async for event in stream]

    events, *_ = await asyncio.gather(read(), send(), trouble(stream))
    return events


async def until_it_moves(stream: Stream) -> None:
    """Wait until a daemon goes on with the stream, or has finished it."""
    before = stream.committed
    async with asyncio.timeout(START_PATIENCE_S):
        await until(lambda: stream.committed > before or stream.committed == stream.sent)


def check(events: Events, unbroken: Events, pcm: bytes) -> None:
    """Each segment came once and in order, all speech is in them, and nothing was lost."""
    segments = segments_of(events)
    assert [event.id for event in segments] == list(range(len(segments)))
    assert all(one.end <= other.start for one, other in pairwise(segments))
    assert not [event for event in events if isinstance(event, Error)]
    assert not [event for event in events if isinstance(event, Event) and event.event in LOSSES]
    assert len(speech_of(unbroken) - speech_of(events)) <= 0.02 * len(speech_of(unbroken))
    end, usual = events[-1], unbroken[-1]
    assert isinstance(end, Closed)
    assert isinstance(usual, Closed)
    assert (end.reason, end.offset, end.segments) == ("client", len(pcm) // 2, len(segments))
    assert end.audio_seconds == pytest.approx(usual.audio_seconds, abs=1e-3)
    assert end.dropped_seconds == 0


def segments_of(events: Events) -> list[Segment]:
    return [event for event in events if isinstance(event, Segment)]


def speech_of(events: Events) -> set[int]:
    """The tenths of seconds that lie in segments."""
    spans = ((round(10 * event.start), round(10 * event.end)) for event in segments_of(events))
    return {tenth for span in spans for tenth in range(*span)}


@pytest.mark.parametrize("delivery", ["lossless", "live"])
def test_a_daemon_that_is_killed_again_and_again(
    tmp_path: Path, pcm: bytes, unbroken: Events, delivery: Delivery
) -> None:
    """Each time another one is started on the same path."""
    daemons = [Daemon(tmp_path)]
    daemons[0].wait_until_ready()
    chance = random.Random(7)

    async def kill(stream: Stream) -> None:
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.05, 0.2))
            daemons[-1].kill()
            daemons.append(Daemon(tmp_path))
            await until_it_moves(stream)

    async def scenario() -> Events:
        async with connect(daemons[0].path, recovery=RECOVERY) as client:
            return await transcribe(client, pcm, delivery, kill)

    try:
        check(asyncio.run(scenario()), unbroken, pcm)
    finally:
        daemons[-1].kill()


def test_a_daemon_that_is_drained(tmp_path: Path, pcm: bytes, unbroken: Events) -> None:
    daemons = [Daemon(tmp_path)]
    daemons[0].wait_until_ready()

    async def drain(stream: Stream) -> None:
        """Its model stands still at first, so that audio goes on while the stream is closing."""
        await until_it_moves(stream)
        stopped = daemons[-1].worker_pids
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        daemons[-1].process.send_signal(signal.SIGTERM)
        before = stream.sent
        await until(lambda: stream.sent >= before + PIECE_BYTES)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        assert await asyncio.to_thread(daemons[-1].process.wait, START_PATIENCE_S) == 0
        daemons.append(Daemon(tmp_path))

    async def scenario() -> list[StreamEvent]:
        async with connect(daemons[0].path, recovery=RECOVERY) as client:
            return await transcribe(client, pcm, "lossless", drain)

    try:
        check(asyncio.run(scenario()), unbroken, pcm)
    finally:
        daemons[-1].kill()


@pytest.mark.parametrize("delivery", ["lossless", "live"])
def test_a_connection_that_is_cut_anywhere(
    tmp_path: Path, pcm: bytes, unbroken: Events, delivery: Delivery
) -> None:
    """It is one daemon, which has its session still: the transcript is the same to the letter."""
    chance = random.Random(3)

    async def cut(stream: Stream) -> None:
        for _ in range(12):
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            relay.cut()

    async def scenario() -> Events:
        async with relay.running(), connect(relay.front, recovery=RECOVERY) as client:
            return await transcribe(client, pcm, delivery, cut)

    with running_daemon(tmp_path / "daemon") as daemon:
        relay = Relay(tmp_path / "relay", daemon.path, read_bytes=700)  # messages in pieces
        events = asyncio.run(scenario())
    check(events, unbroken, pcm)
    texts = [(event.start, event.end, event.text) for event in segments_of(unbroken)]
    assert [(event.start, event.end, event.text) for event in segments_of(events)] == texts


def test_live_audio_that_was_forgotten_is_told_as_a_gap(tmp_path: Path, pcm: bytes) -> None:
    daemons = [Daemon(tmp_path)]
    daemons[0].wait_until_ready()
    recovery = dataclasses.replace(RECOVERY, held_live_s=4.0)
    half = len(pcm) // 4 * 2

    async def scenario() -> Events:
        async with connect(daemons[0].path, recovery=recovery) as client:
            stream = await client.open_stream(source="mic", partials=False)
            await stream.send(pcm[:half])
            daemons[0].kill()
            await until(lambda: client.state is ClientState.RECONNECTING)
            for begin in range(half, len(pcm), PIECE_BYTES):
                await stream.send(pcm[begin : begin + PIECE_BYTES])
            daemons.append(Daemon(tmp_path))
            await stream.close()
            return [event async for event in stream]

    try:
        events = asyncio.run(asyncio.wait_for(scenario(), 60))
    finally:
        daemons[-1].kill()
    (gap,) = (event for event in events if isinstance(event, Event) and event.event == "gap")
    length_s = len(pcm) / 2 / RATE
    assert isinstance(gap.start, float)
    assert isinstance(gap.end, float)
    assert gap.end == pytest.approx(length_s - 4.0, abs=0.6)
    end = events[-1]
    assert isinstance(end, Closed)
    assert end.audio_seconds == pytest.approx(length_s - (gap.end - gap.start), abs=1e-3)
