"""Speakers on the recovering client, and what they hear: with faults, and without.

What is compared is what a user gets of a stream: every final with its id, times and text, how the
stream ended, and what was told as lost.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from asrd.client import Client, Recovery, Unreachable, connect
from asrd.wire.messages import Closed, Error, Event, Segment
from faults.scenes import LONG, PHRASE
from support.audio import silent_pcm

RESTLESS = Recovery(
    first_wait_s=0.002,
    longest_wait_s=0.05,
    max_attempts=10**6,
    breaker_failures=10**6,
    held_live_s=60.0,
)
"""Tries again at once and for ever: the faults are to be many, not the waits."""

CHUNK_BYTES = 6_400
MOST_AHEAD_SAMPLES = 16_000 * 20
"""Live audio may be dropped when it comes much faster than it is read, which is no fault."""

ROUNDING_S = 0.01


@dataclass(frozen=True)
class Script:
    """What one speaker says, and how: pieces of audio with a flush behind each."""

    delivery: Literal["live", "lossless"]
    pieces: tuple[bytes, ...]
    partials: bool = False


@dataclass
class Heard:
    """What came of it."""

    segments: list[tuple[int, float, float, str]] = field(default_factory=list)
    troubles: list[Error | Event] = field(default_factory=list)
    end: tuple[str, int, int] | None = None
    audio_s: float = 0.0
    dropped_s: float = 0.0


SCRIPTS = (
    Script("lossless", (LONG,)),
    Script("live", (LONG, PHRASE), partials=True),
    Script("lossless", (PHRASE[:70_000], PHRASE[70_000:] + silent_pcm(3.0), PHRASE)),
    Script("live", (PHRASE, LONG)),
)
"""A file; a microphone with partials; push-to-talk, amid a word; system audio."""


async def speak(client: Client, script: Script) -> Heard:
    """One stream, from its opening to its end."""
    stream = await client.open_stream(
        source="test", delivery=script.delivery, partials=script.partials
    )
    heard = Heard()

    async def talk() -> None:
        for piece in script.pieces:
            for begin in range(0, len(piece), CHUNK_BYTES):
                while stream.sent - stream.committed > MOST_AHEAD_SAMPLES:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
                await stream.send(piece[begin : begin + CHUNK_BYTES])
            await stream.flush()
        await stream.close()

    talking = asyncio.create_task(talk())
    try:
        async for event in stream:
            match event:
                case Segment():
                    heard.segments.append((event.id, event.start, event.end, event.text))
                case Error():
                    heard.troubles.append(event)
                case Event(event="dropped" | "gap"):
                    heard.troubles.append(event)
                case Closed():
                    heard.end = (event.reason, event.offset, event.segments)
                    heard.audio_s, heard.dropped_s = event.audio_seconds, event.dropped_seconds
                case _:
                    pass
        await talking
    finally:
        talking.cancel()
        await asyncio.wait([talking])
    return heard


async def converse(path: Path, scripts: Iterable[Script]) -> list[Heard]:
    """A connection on which all scripts are spoken at once.

    The first one is the caller's to try again: a program that finds no daemon wants to know.
    """
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                client = await stack.enter_async_context(connect(path, recovery=RESTLESS))
                break
            except Unreachable:
                await asyncio.sleep(RESTLESS.first_wait_s)
        return list(await asyncio.gather(*(speak(client, script) for script in scripts)))


def assert_same(heard: list[Heard], wanted: list[Heard]) -> None:
    """What readers got is what they would have got without faults."""
    for got, want in zip(heard, wanted, strict=True):
        assert got.segments == want.segments
        assert got.troubles == want.troubles, got.troubles
        assert got.end == want.end, (got.end, want.end)
        # Each daemon on the way has rounded its part to a tenth of a millisecond.
        assert abs(got.audio_s - want.audio_s) < ROUNDING_S
        assert got.dropped_s == want.dropped_s == 0
