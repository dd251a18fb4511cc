"""One audio and its transcript, as its sender and its reader see it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal, TypedDict

from asrd.client.course import Course
from asrd.client.errors import StreamEnded
from asrd.client.inbox import StreamEvent
from asrd.wire.messages import Closed, Flushed, Opened


class StreamOptions(TypedDict, total=False):
    """What a stream may be opened with; the protocol's `open` says what each means."""

    source: str
    priority: int | None
    delivery: Literal["live", "lossless"] | None
    provider: str | None
    model: str | None
    language: str | None
    task: Literal["transcribe", "translate"]
    encoding: Literal["pcm_s16le", "pcm_f32le"]
    sample_rate: int
    channels: int
    partials: bool
    words: bool
    endpointing_ms: int | None
    prompt: str | None


class Stream:
    """A stream that a daemon has opened. Made by `Client.open_stream`.

    Send from one task and iterate in another: the transcript comes while the audio goes. A
    lossless `send` waits for the daemon's credit, and also while half of the events that may wait
    here (512) are not taken, so that a reader that stands still holds back its own audio alone.

    Iteration ends behind `Closed`. A connection that breaks and comes back is not seen here: audio
    that is not finished is held and sent again, and each segment comes once and in order. Once the
    client has failed, everything raises ConnectionLost, and goes on after `Client.retry`.
    """

    def __init__(self, course: Course) -> None:
        self.number = course.request.stream
        self.sample_rate = course.request.sample_rate
        self.frame_bytes = course.outgoing.frame_bytes
        """Bytes of one sample of all channels. Audio is sent in whole ones."""
        self._course = course
        self._was_closed_told = False

    @property
    def opened(self) -> Opened:
        """The daemon's newest answer to the opening: provider, model, priority, delivery."""
        return self._course.opened

    @property
    def sent(self) -> int:
        """Where the audio taken by `send` so far ends, in samples from the start of the stream."""
        return self._course.outgoing.held.end

    @property
    def committed(self) -> int:
        """Samples before this are finished: whatever they hold has arrived as segments."""
        return self._course.history.committed

    # ── for the sender ────────────────────────────────────────────────────────────────────────

    async def send(self, pcm: bytes | memoryview) -> None:
        """Send audio, waiting as the stream's delivery asks.

        Lossless audio waits for credit, for the answer to a flush, and while the connection is
        broken. Live audio waits for none of these: what cannot go yet is held, up to
        `Recovery.held_live_s`, beyond which the oldest is forgotten and told as a gap.

        Args:
            pcm: whole frames (`frame_bytes`) in the encoding, rate and channels of the stream.

        Raises:
            StreamEnded: the stream takes no more audio.
            ConnectionLost: the connection is lost for good. `sent` says how much was taken.
        """
        rest = memoryview(pcm).cast("B")
        if len(rest) % self.frame_bytes:
            raise ValueError(f"{len(rest)} bytes are not a multiple of {self.frame_bytes}")
        while rest:
            size = min(len(rest), await self._room_samples() * self.frame_bytes)
            # It counts as sent from here on, before the next await: a `send` that is cancelled
            # must not send it again.
            self._course.outgoing.append(bytes(rest[:size]))
            rest = rest[size:]
            await self._course.speaker.say()
            self._course.outgoing.trim()
            await asyncio.sleep(0)  # who never waits must not hold up the client that connects

    def skip(self, samples: int) -> None:
        """Say that so many samples per channel are missing before what is sent next.

        They take their time on the stream's clock and are told as a `gap` once there is audio
        behind them. For a live source that lost them: a lossless stream has no holes.

        Raises:
            ValueError: the stream is lossless, or the number is negative.
        """
        if self.opened.delivery != "live" or samples < 0:
            raise ValueError(f"{samples} samples of a {self.opened.delivery} stream")
        self._course.outgoing.skip(samples)

    async def flush(self) -> Flushed:
        """Have all audio sent so far finished now, and wait for it. The stream stays open."""
        self._raise_if_over()
        due = self._course.outgoing.flush()
        self._course.speaker.say_nowait()
        while due.answer is None:
            self._course.raise_if_over()
            await self._course.changed.wait()
        return due.answer

    async def close(self) -> Closed:
        """Have all audio finished, end the stream and wait for its end. Harmless when ended."""
        self._course.outgoing.is_closing = True
        return await self._ended()

    async def cancel(self) -> Closed:
        """Drop what is not finished and end the stream. Harmless when ended."""
        self._course.cancel()
        return await self._ended()

    # ── for the reader ────────────────────────────────────────────────────────────────────────

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        if self._was_closed_told:
            raise StopAsyncIteration
        event = await self._course.inbox.get()
        self._was_closed_told = isinstance(event, Closed)
        return event

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    async def _ended(self) -> Closed:
        course = self._course
        course.speaker.say_nowait()
        while course.closed is None:
            course.raise_if_over()
            await course.changed.wait()
        return course.closed

    async def _room_samples(self) -> int:
        """Samples that may be sent in one chunk now; waits until that is one at least."""
        course, outgoing = self._course, self._course.outgoing
        self._raise_if_over()
        if outgoing.credit is not None:
            await course.inbox.until_half_empty()
        while not (room := outgoing.room_samples):
            self._raise_if_over()
            await course.changed.wait()
        self._raise_if_over()
        return room

    def _raise_if_over(self) -> None:
        self._course.raise_if_over()
        if self._course.outgoing.is_closing:
            raise StreamEnded("the stream is being closed", "client")
