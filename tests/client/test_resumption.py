"""A stream over connections that are cut between any two messages, on daemons that may be killed.

The daemon here is a model of a few lines: every ten samples, counted from the start or the last
flush, are a segment that says which samples it heard. So the transcript of an unbroken connection
is known, and whatever happens has to come to the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from asrd.client.course import Course, StreamMessage
from asrd.client.errors import ConnectionLost, SegmentsMissing
from asrd.client.inbox import StreamEvent
from asrd.client.recovery import Recovery
from asrd.client.stream import Stream
from asrd.wire.messages import (
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Closed,
    Credit,
    Error,
    Flush,
    Flushed,
    Open,
    Opened,
    Segment,
    ServerMessage,
)
from support.fake_daemon import closed, refusal, segment
from support.profiles import examples

WORD = 10
WINDOW = 35
CHUNK_BYTES = 24


def sound(start: int, end: int) -> bytes:
    """Samples that say where they stand."""
    return np.arange(start, end, dtype="<u2").tobytes()


@dataclass
class ModelStream:
    """What a daemon knows of a stream, and what it will tell when it gets to work."""

    opening: Open
    is_live: bool
    audio: bytearray = field(default_factory=bytearray)
    marks: deque[tuple[str, int]] = field(default_factory=deque)
    told: list[ServerMessage] = field(default_factory=list)
    segments: int = 0
    is_closing: bool = False
    has_ended: bool = False

    def __post_init__(self) -> None:
        self.cursor = self.opening.start_offset

    @property
    def expected(self) -> int:
        return self.opening.start_offset + len(self.audio) // 2

    @property
    def credit(self) -> int | None:
        return None if self.is_live else self.cursor + WINDOW

    def opened(self) -> Opened:
        return Opened(
            stream=1,
            provider="model",
            model="m",
            priority=5,
            delivery="live" if self.is_live else "lossless",
            credit=self.credit,
        )

    def hear(self, message: ClientMessage) -> list[ServerMessage]:
        if self.has_ended or (self.is_closing and not isinstance(message, Cancel)):
            return [refusal("unknown_stream", stream=1)]
        match message:
            case Audio(data=data, offset=int(offset)):
                assert offset <= self.expected, "a hole"
                assert self.is_live or offset + len(data) // 2 <= self.cursor + WINDOW
                self.audio += data[2 * (self.expected - offset) :]
            case Flush():
                self.marks.append(("flush", self.expected))
            case Close():
                self.is_closing = True
                self.marks.append(("close", self.expected))
            case _:
                raise AssertionError(f"{message} was not expected")
        return []

    def work(self) -> list[ServerMessage]:
        """Read the next word, or answer the next mark."""
        what, limit = self.marks[0] if self.marks else ("", self.expected)
        if self.cursor + WORD <= limit or (what and self.cursor < limit):
            return self._read(min(self.cursor + WORD, limit))
        if not what:
            return []
        self.marks.popleft()
        if what == "flush":
            return [Flushed(stream=1, offset=limit)]
        self.has_ended = True
        return [
            Closed(
                stream=1,
                reason="client",
                offset=limit,
                segments=self.segments,
                audio_seconds=round(len(self.audio) / 2 / 16000, 4),
                dropped_seconds=0.0,
            )
        ]

    def _read(self, end: int) -> list[ServerMessage]:
        start = self.opening.start_offset
        heard = np.frombuffer(self.audio, "<u2")[self.cursor - start : end - start]
        self.cursor = end
        number = self.opening.start_id + self.segments
        self.segments += 1
        told: list[ServerMessage] = [
            segment(number=number, text=" ".join(map(str, heard)), offset=end)
        ]
        return told if self.credit is None else [*told, Credit(stream=1, offset=self.credit)]


@dataclass
class ModelSession:
    """What outlives a connection: the stream, its segments, and answers that found nobody."""

    is_live: bool
    stream: ModelStream | None = None
    told: list[tuple[ServerMessage, bool]] = field(default_factory=list)

    def hear(self, message: ClientMessage) -> list[ServerMessage]:
        if isinstance(message, Open):
            assert self.stream is None
            self.stream = ModelStream(message, self.is_live)
            return [self.stream.opened()]
        if self.stream is None:
            return [refusal("unknown_stream", stream=1)]
        return self.stream.hear(message)

    def work(self, *, is_attached: bool) -> list[ServerMessage]:
        told = self.stream.work() if self.stream is not None else []
        self.told += [(message, is_attached) for message in told]
        return told

    def again(self, last: int) -> list[ServerMessage]:
        """What a client hears that comes back and has the segments up to `last`.

        Some come that it has, as from a daemon that would rather say a thing twice than never.
        """
        if self.stream is None:
            return []
        again: list[ServerMessage] = []
        for message, was_attached in self.told:
            is_missed = isinstance(message, Segment) and message.id > last - 2
            is_answer = isinstance(message, Flushed) and not was_attached
            if is_missed or is_answer or isinstance(message, Closed):
                again.append(message)
        self.told = [(message, True) for message, _ in self.told]
        if self.stream.has_ended:
            return again
        if not self.stream.audio:
            return [self.stream.opened(), *again]
        credit = self.stream.credit
        return again if credit is None else [*again, Credit(stream=1, offset=credit)]


class CutAnywhere(RuleBasedStateMachine):
    """Everything that is sent is heard, once and in order, wherever the connection is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.up: deque[ClientMessage] = deque()
        self.down: deque[StreamMessage] = deque()
        self.is_connected = False
        self.asked: list[tuple[str, int]] = []
        self.sent = 0
        self.flushed_at: list[int] = []
        self.flushes: list[tuple[int, asyncio.Task[Flushed]]] = []
        self.is_closing = False
        self.events: list[StreamEvent] = []

    @initialize(is_live=st.booleans())
    def begin(self, is_live: bool) -> None:
        self.is_live = is_live
        self.session = ModelSession(is_live)
        recovery = Recovery(held_live_s=1000.0)
        self.course = Course(Open(stream=1), self, recovery)
        self.stream = Stream(self.course)
        self.orders: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.user = self.loop.create_task(self.use())
        self.reader = self.loop.create_task(self.read())
        self.connect()

    # ── the client's side ─────────────────────────────────────────────────────────────────────

    def send_nowait(self, message: ClientMessage) -> None:
        if not self.is_connected:
            raise ConnectionLost("cut")
        self.up.append(message)

    async def drain(self) -> None:
        await asyncio.sleep(0)
        if not self.is_connected:
            raise ConnectionLost("cut")

    async def use(self) -> None:
        await self.course.until_opened()
        while True:
            what, samples = await self.orders.get()
            if what == "send":
                begin = self.stream.sent
                await self.stream.send(sound(begin, begin + samples))
            elif what == "flush":  # what is sent meanwhile must not get before its answer
                at = self.stream.sent
                self.flushes.append((at, self.loop.create_task(self.stream.flush())))
                self.flushed_at.append(at)
                await asyncio.sleep(0)
            else:
                await self.stream.close()
                return

    async def read(self) -> None:
        async for event in self.stream:
            self.events.append(event)

    def settle(self, first: Callable[[], None] = lambda: None) -> None:
        async def turns() -> None:
            first()
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    # ── what may happen ───────────────────────────────────────────────────────────────────────

    @precondition(lambda self: not self.is_closing)
    @rule(samples=st.integers(1, 40))
    def send(self, samples: int) -> None:
        self.sent += samples
        self.orders.put_nowait(("send", samples))
        self.settle()

    @precondition(lambda self: not self.is_closing)
    @rule()
    def flush(self) -> None:
        self.orders.put_nowait(("flush", 0))
        self.settle()

    @precondition(lambda self: not self.is_closing)
    @rule()
    def close(self) -> None:
        self.is_closing = True
        self.orders.put_nowait(("close", 0))
        self.settle()

    @rule(count=st.integers(1, 5))
    def carry_up(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            self.say(self.session.hear(self.up.popleft()))

    @rule(count=st.integers(1, 5))
    def carry_down(self, count: int) -> None:
        for _ in range(min(count, len(self.down))):
            self.loop.run_until_complete(self.course.deliver(self.down.popleft()))
        self.settle()

    @rule(count=st.integers(1, 3))
    def work(self, count: int) -> None:
        for _ in range(count):
            self.say(self.session.work(is_attached=self.is_connected))

    @precondition(lambda self: self.is_connected)
    @rule(rounds=st.integers(1, 6))
    def flow(self, rounds: int) -> None:
        """All three, for a while."""
        for _ in range(rounds):
            self.carry_up(5)
            self.work(2)
            self.carry_down(5)

    @precondition(lambda self: self.is_connected)
    @rule(rounds=st.integers(1, 6), lost=st.integers(0, 4))
    def flow_and_cut(self, rounds: int, lost: int) -> None:
        """What was told last is lost on its way."""
        self.flow(rounds)
        self.carry_up(5)
        self.work(lost)
        self.cut()

    @precondition(lambda self: self.is_connected)
    @rule()
    def cut(self) -> None:
        self.is_connected = False
        self.up.clear()
        self.down.clear()
        self.settle(self.course.disconnected)

    @rule()
    def kill(self) -> None:
        if self.is_connected:
            self.cut()
        self.session = ModelSession(self.is_live)

    @precondition(lambda self: not self.is_connected)
    @rule()
    def connect(self) -> None:
        self.is_connected = True
        last = self.course.last_id
        stream = self.session.stream
        known = {} if stream is None else {1: stream.cursor}
        self.settle(lambda: self.course.connected(known, CHUNK_BYTES))
        if stream is not None:
            self.say(self.session.again(-1 if last is None else last))
        self.settle()

    def say(self, told: list[ServerMessage]) -> None:
        if self.is_connected:
            self.down += told  # type: ignore[arg-type]

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            for task in (self.user, self.reader, *(flush for _, flush in self.flushes)):
                task.cancel()
            self.loop.run_until_complete(self.course.stop())
            self.settle()
            assert not asyncio.all_tasks(self.loop)
            self.loop.close()

    def finish(self) -> None:
        if not self.is_closing:
            self.close()
        if not self.is_connected:
            self.connect()
        for _ in range(500):
            if self.reader.done():
                break
            self.flow(1)
        assert self.reader.done(), "it hangs"
        self.loop.run_until_complete(asyncio.wait_for(self.user, 1))
        for at, flush in self.flushes:
            assert flush.result().offset >= at
        segments = [event for event in self.events if isinstance(event, Segment)]
        assert [event.id for event in segments] == list(range(len(segments)))
        assert [event.text for event in segments] == self.expected()
        assert sum(isinstance(event, Flushed) for event in self.events) == len(self.flushed_at)
        assert not [event for event in self.events if isinstance(event, Error)]
        end = self.events[-1]
        assert isinstance(end, Closed)
        assert (end.segments, end.offset) == (len(segments), self.sent)
        assert end.audio_seconds == pytest.approx(self.sent / 16000, abs=2e-4)

    def expected(self) -> list[str]:
        """The transcript of an unbroken connection."""
        edges: list[int] = []
        for start, end in pairwise([0, *self.flushed_at, self.sent]):
            edges += range(start, end, WORD)
        words = pairwise([*dict.fromkeys(edges), self.sent])
        return [" ".join(map(str, range(start, end))) for start, end in words if start < end]


TestCutAnywhere = CutAnywhere.TestCase
TestCutAnywhere.settings = examples(300, steps=40)


class Nowhere:
    """Takes everything."""

    def __init__(self) -> None:
        self.said: list[ClientMessage] = []

    def send_nowait(self, message: ClientMessage) -> None:
        self.said.append(message)

    async def drain(self) -> None:
        await asyncio.sleep(0)


def opened_course(outlet: Nowhere, **asked: object) -> Course:
    course = Course(Open(stream=1, **asked), outlet, Recovery())  # type: ignore[arg-type]
    course.connected({}, CHUNK_BYTES)
    course._open(ModelStream(Open(stream=1), is_live=True).opened())
    outlet.said.clear()
    return course


def test_a_segment_that_was_left_out_is_an_error_and_ends_the_stream() -> None:
    async def scenario() -> None:
        outlet = Nowhere()
        course = opened_course(outlet)
        stream = Stream(course)
        await course.deliver(segment(number=0))
        await course.deliver(segment(number=2))
        assert (await anext(stream)) == segment(number=0)
        for attempt in (anext(stream), stream.send(bytes(2)), stream.close()):
            with pytest.raises(SegmentsMissing, match="segment 2 of stream 1 came where 1 was due"):
                await attempt
        assert outlet.said == [Cancel(stream=1)]
        assert course.is_ended

    asyncio.run(scenario())


def test_the_welcomes_commit_forgets_no_audio_whose_segments_are_on_their_way() -> None:
    """Else a second break, with a daemon that is killed, would lose what they say."""

    async def scenario() -> None:
        outlet = Nowhere()
        course = opened_course(outlet)
        await Stream(course).send(bytes(200))
        course.disconnected()
        course.connected({1: 80}, CHUNK_BYTES)
        course.disconnected()
        course.connected({}, CHUNK_BYTES)
        outlet.said.clear()
        for _ in range(20):
            await asyncio.sleep(0)
        first, second = outlet.said[0], outlet.said[1]
        assert first == Open(stream=1)
        assert isinstance(second, Audio)
        assert second.offset == 0
        await course.stop()

    asyncio.run(scenario())


def test_a_stream_that_is_cancelled_while_there_is_no_daemon_has_ended() -> None:
    async def scenario() -> None:
        outlet = Nowhere()
        course = opened_course(outlet)
        stream = Stream(course)
        await course.deliver(segment(number=0, offset=16000))
        course.disconnected()
        end = await stream.cancel()
        assert (end.reason, end.segments, end.audio_seconds) == ("cancelled", 1, 1.0)
        assert [event async for event in stream] == [segment(number=0, offset=16000), end]
        course.connected({1: 16000}, CHUNK_BYTES)  # the daemon was not gone after all
        assert outlet.said == [Cancel(stream=1)]

    asyncio.run(scenario())


def test_a_daemon_that_is_drained_leaves_the_stream_to_the_next_one() -> None:
    async def scenario() -> None:
        outlet = Nowhere()
        course = opened_course(outlet)
        stream = Stream(course)
        await stream.send(bytes(40))
        await course.deliver(segment(number=0, offset=15))
        await course.deliver(closed(reason="shutdown", offset=15))
        await stream.send(bytes(20))
        course.disconnected()
        outlet.said.clear()
        course.connected({}, CHUNK_BYTES)
        for _ in range(10):
            await asyncio.sleep(0)
        opening, audio = outlet.said[:2]
        assert opening == Open(stream=1, start_offset=15, start_id=1)
        assert isinstance(audio, Audio)
        assert audio.offset == 15
        closing = asyncio.create_task(stream.close())
        await asyncio.sleep(0)
        await course.deliver(
            closed(offset=30, segments=0, audio_seconds=15 / 16000, dropped_seconds=0.0)
        )
        await closing
        first, end = [event async for event in stream]
        assert first == segment(number=0, offset=15)
        assert isinstance(end, Closed)
        assert (end.reason, end.segments) == ("client", 1)
        assert end.audio_seconds == pytest.approx(30 / 16000, abs=1e-4)
        await course.stop()

    asyncio.run(scenario())


def test_a_drain_that_finished_all_there_is_ends_the_stream() -> None:
    async def scenario() -> None:
        course = opened_course(Nowhere())
        stream = Stream(course)
        await stream.send(bytes(40))
        closing = asyncio.create_task(stream.close())
        await asyncio.sleep(0)
        await course.deliver(closed(reason="shutdown", offset=20))
        assert (await closing).reason == "client"

    asyncio.run(scenario())
