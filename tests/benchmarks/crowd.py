"""Many streams played in real time from one event loop, and what they take of the machine.

A benchmark that uses `Crowd` does nothing else in its process: that process is the load generator.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from asrd.audio import SAMPLE_RATE
from asrd.wire import messages as wire
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from benchmarks.common import FRAME_S, Kind, Span

PATIENCE_S = 120.0
SLACK_S = 0.001


class Feed:
    """One stream of a `Crowd`: what was sent of it, and all that came, with the times of both."""

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self.number = number
        self.arrivals: list[tuple[float, wire.ServerMessage]] = []
        self.lag_s = 0.0
        """How late `play` was at the worst: a generator that cannot keep up shows here."""
        self._crowd = crowd
        self._looked_at = 0
        self._more = asyncio.Event()
        self._sent_until: list[int] = []
        self._sent_at_s: list[float] = []
        self._flushed_at_s: list[tuple[float, float]] = []

    # ── sending ───────────────────────────────────────────────────────────────────────────────

    @property
    def sent_s(self) -> float:
        """Seconds of audio sent so far."""
        return self._sent_until[-1] / SAMPLE_RATE if self._sent_until else 0.0

    def send(self, data: bytes) -> None:
        """Send 16-bit audio."""
        self._crowd.write(wire.Audio(stream=self.number, data=data))
        before = self._sent_until[-1] if self._sent_until else 0
        self._sent_until.append(before + len(data) // 2)
        self._sent_at_s.append(time.perf_counter())

    def say(self, frames: Sequence[bytes]) -> None:
        """Send all pieces at once."""
        for frame in frames:
            self.send(frame)

    def flush(self) -> None:
        """Ask for all that was sent to be finished."""
        self._crowd.write(wire.Flush(stream=self.number))
        self._flushed_at_s.append((self.sent_s, time.perf_counter()))

    async def play(self, frames: Sequence[bytes], seconds: float, first: int = 0) -> None:
        """Send pieces of `FRAME_S` in a loop, each when a microphone would have it: at its end."""
        began_s = time.perf_counter()
        for number in range(round(seconds / FRAME_S)):
            left_s = began_s + (number + 1) * FRAME_S - time.perf_counter()
            self.lag_s = max(self.lag_s, -left_s)
            await asyncio.sleep(max(left_s, 0.0))
            self.send(frames[(first + number) % len(frames)])

    async def pour(self, frames: Sequence[bytes], seconds: float) -> None:
        """Send pieces of `FRAME_S` in a loop, as fast as a lossless stream's credit allows."""
        for number in range(round(seconds / FRAME_S)):
            while (credit := self._credit()) is not None and self.sent_s + FRAME_S > credit:
                self._more.clear()
                await self._more.wait()
            self.send(frames[number % len(frames)])

    def _credit(self) -> float | None:
        for _, message in reversed(self.arrivals):
            if isinstance(message, wire.Credit):
                return message.offset / SAMPLE_RATE
            if isinstance(message, wire.Opened) and isinstance(message.credit, int):
                return message.credit / SAMPLE_RATE
        return None

    def sent_at_s(self, position_s: float) -> float | None:
        """When the last of the audio before a position went out; None where it never did."""
        place = bisect_left(self._sent_until, round(position_s * SAMPLE_RATE))
        return self._sent_at_s[place] if place < len(self._sent_until) else None

    # ── what came ─────────────────────────────────────────────────────────────────────────────

    def put(self, at_s: float, message: wire.ServerMessage) -> None:
        """Something came."""
        self.arrivals.append((at_s, message))
        self._more.set()

    async def wait_for(self, kind: type[Kind]) -> tuple[float, Kind]:
        """The next message of that kind, and when it came; others are passed over.

        Raises:
            RuntimeError: an error came first, unless it is the stream's end that is waited for.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._looked_at < len(self.arrivals):
                    at_s, message = self.arrivals[self._looked_at]
                    self._looked_at += 1
                    if isinstance(message, kind):
                        return at_s, message
                    if isinstance(message, wire.Error) and kind is not wire.Closed:
                        raise RuntimeError(message.message)
                self._more.clear()
                await self._more.wait()

    def of(self, kind: type[Kind]) -> list[tuple[float, Kind]]:
        """All messages of that kind that came, and when."""
        return [(at_s, message) for at_s, message in self.arrivals if isinstance(message, kind)]

    def waits_s(self, after_s: float = 0.0) -> list[tuple[float, float]]:
        """Of each flush after that position: when it was, and how long its segment took to come."""
        found = []
        for at_s, segment in self.of(wire.Segment):
            place = bisect_left(self._flushed_at_s, (segment.end - SLACK_S, 0.0))
            if place < len(self._flushed_at_s) and segment.end > after_s:
                flushed_s = self._flushed_at_s[place][1]
                found.append((flushed_s, at_s - flushed_s))
        return found

    def dropped(self) -> list[Span]:
        """What the daemon told to have dropped."""
        events = [event for _, event in self.of(wire.Event) if event.event == "dropped"]
        return [
            (event.start, event.end)
            for event in events
            if isinstance(event.start, float) and isinstance(event.end, float)
        ]

    def read(self) -> list[Span]:
        """What became text."""
        return [(segment.start, segment.end) for _, segment in self.of(wire.Segment)]

    async def end(self, message: wire.Close | wire.Cancel) -> wire.Closed:
        """End the stream, one way or the other."""
        self._crowd.write(message)
        return (await self.wait_for(wire.Closed))[1]


class Crowd(asyncio.Protocol):
    """One connection with any number of streams, on the running event loop."""

    def __init__(self) -> None:
        self.feeds: dict[int, Feed] = {}
        self._connection = ClientConnection()
        self._answers = Feed(self, -1)
        self._transport: asyncio.Transport | None = None

    @classmethod
    @asynccontextmanager
    async def at(cls, path: Path) -> AsyncIterator["Crowd"]:
        """Connected and greeted; what it has open is cancelled in the end."""
        loop = asyncio.get_running_loop()
        transport, crowd = await loop.create_unix_connection(cls, str(path))
        try:
            await crowd.ask(wire.Hello(client="benchmark"), wire.Welcome)
            yield crowd
        finally:
            transport.close()

    def write(self, message: wire.ClientMessage) -> None:
        """Send a message."""
        if self._transport is not None:
            self._transport.write(encode(message))

    async def ask(self, message: wire.ClientMessage, kind: type[Kind]) -> Kind:
        """Send what concerns no stream, and wait for its answer."""
        self.write(message)
        return (await self._answers.wait_for(kind))[1]

    async def open(self, number: int, **fields: Any) -> Feed:
        """Open a stream, ready for audio."""
        feed = self.feeds[number] = Feed(self, number)
        self.write(wire.Open(stream=number, **fields))
        await feed.wait_for(wire.Opened)
        return feed

    # ── called by the event loop ──────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        at_s = time.perf_counter()
        for message in self._connection.receive(memoryview(data)):
            stream = getattr(message, "stream", -1)
            self.feeds.get(stream, self._answers).put(at_s, message)


class Watch:
    """The processes of a daemon and this one: what they take of the machine."""

    def __init__(self, health: wire.Health) -> None:
        if health.voice_activity is None or health.voice_activity.pid is None:
            raise RuntimeError("the daemon has no voice activity yet")
        voice = psutil.Process(health.voice_activity.pid)
        pids = [model.pid for each in health.providers.values() for model in each.models]
        self._processes = {
            "core": [voice.parent()],
            "voice activity": [voice],
            "engine": [psutil.Process(pid) for pid in pids if pid is not None],
            "this generator": [psutil.Process()],
        }
        self.restart()

    def restart(self) -> None:
        """Count CPU time from now on."""
        self._began_s = time.perf_counter()
        self._before = self.cpu_s()

    def busy(self) -> str:
        """What each had of one core since `restart`, in words; others disturb what is measured."""
        passed_s = time.perf_counter() - self._began_s
        return ", ".join(
            f"{name} {(used_s - self._before[name]) / passed_s:.0%}"
            for name, used_s in self.cpu_s().items()
        )

    def resident_mb(self) -> float:
        """Memory of the daemon with its workers."""
        ours = self._processes["this generator"]
        daemons = [
            each for group in self._processes.values() if group is not ours for each in group
        ]
        return float(sum(process.memory_info().rss for process in daemons)) / 1e6

    def cpu_s(self) -> dict[str, float]:
        """CPU time of each so far."""
        used_s = {
            name: float(sum(sum(process.cpu_times()[:2]) for process in group))
            for name, group in self._processes.items()
        }
        machine = psutil.cpu_times()
        return used_s | {"all others": machine.user + machine.system - sum(used_s.values())}
