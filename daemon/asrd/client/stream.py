"""One audio and its transcript, as its sender sees it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal, Protocol, TypedDict, TypeVar

from asrd.client.errors import ClientError, ConnectionLost, StreamEnded
from asrd.client.inbox import Inbox, StreamEvent
from asrd.wire.messages import (
    Ack,
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Closed,
    Credit,
    Error,
    Event,
    Flush,
    Flushed,
    Open,
    Opened,
    Partial,
    Segment,
)

T = TypeVar("T")

SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4}


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
    endpointing_ms: int
    prompt: str | None


class Outlet(Protocol):
    """Where a stream's messages go: the client, over whichever link it has just now."""

    def send_nowait(self, message: ClientMessage) -> None:
        """Send; raises ConnectionLost."""

    async def drain(self) -> None:
        """Wait until there is room for more; raises ConnectionLost."""


StreamMessage = StreamEvent | Opened | Credit


class Stream:
    """A stream that a daemon has opened. Made by `Client.open_stream`.

    Send from one task and iterate in another: the transcript comes while the audio goes. A
    lossless `send` waits for the daemon's credit, and also while half of the events that may wait
    here (512) are not taken, so that a reader that stands still holds back its own audio alone.

    Iteration ends behind `Closed`. It raises ConnectionLost where the connection broke before.
    """

    def __init__(self, request: Open, opened: Opened, outlet: Outlet, max_chunk_bytes: int) -> None:
        self.opened = opened
        self.number = request.stream
        self.sample_rate = request.sample_rate
        self.frame_bytes = SAMPLE_BYTES[request.encoding] * request.channels
        """Bytes of one sample of all channels. Audio is sent in whole ones."""
        self.sent = request.start_offset
        """Samples sent so far, from the start of the stream."""
        self.committed = request.start_offset
        """Samples before this are finished: whatever they hold has arrived as segments."""
        self._outlet = outlet
        self._chunk_samples = max(1, max_chunk_bytes // self.frame_bytes)
        self._credit: int | None = None if opened.delivery == "live" else _credit_of(opened)
        self._credited = asyncio.Event()
        self._inbox = Inbox()
        self._flushes: deque[asyncio.Future[Flushed]] = deque()
        self._closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._was_closed_told = False

    # ── for the sender ────────────────────────────────────────────────────────────────────────

    async def send(self, pcm: bytes | memoryview) -> None:
        """Send audio, waiting as the stream's delivery asks.

        Args:
            pcm: whole frames (`frame_bytes`) in the encoding, rate and channels of the stream.

        Raises:
            StreamEnded: the stream takes no more audio.
            ConnectionLost: the connection broke; what lies behind `committed` may not be read.
        """
        rest = memoryview(pcm).cast("B")
        if len(rest) % self.frame_bytes:
            raise ValueError(f"{len(rest)} bytes are not a multiple of {self.frame_bytes}")
        while rest:
            samples = min(len(rest) // self.frame_bytes, await self._room_samples())
            size = samples * self.frame_bytes
            chunk = Audio(stream=self.number, data=bytes(rest[:size]), offset=self.sent)
            self._outlet.send_nowait(chunk)
            self.sent += samples  # before the next await: a cancelled send must not repeat it
            rest = rest[size:]
            await self._outlet.drain()

    async def flush(self) -> Flushed:
        """Have all audio sent so far finished now, and wait for it. The stream stays open."""
        self._raise_if_ended()
        answer: asyncio.Future[Flushed] = asyncio.get_running_loop().create_future()
        self._flushes.append(answer)
        self._outlet.send_nowait(Flush(stream=self.number))
        return await answer

    async def close(self) -> Closed:
        """Have all audio finished, end the stream and wait for its end. Harmless when ended."""
        if not self._closed.done():
            self._outlet.send_nowait(Close(stream=self.number))
        return await asyncio.shield(self._closed)

    async def cancel(self) -> Closed:
        """Drop what is not finished and end the stream. Harmless when ended."""
        if not self._closed.done():
            self._outlet.send_nowait(Cancel(stream=self.number))
        return await asyncio.shield(self._closed)

    # ── for the reader ────────────────────────────────────────────────────────────────────────

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        if self._was_closed_told:
            raise StopAsyncIteration
        event = await self._inbox.get()
        self._was_closed_told = isinstance(event, Closed)
        return event

    # ── for the client ────────────────────────────────────────────────────────────────────────

    @property
    def is_ended(self) -> bool:
        """Whether the daemon has closed it or the connection broke."""
        return self._closed.done()

    async def deliver(self, message: StreamMessage) -> None:
        """Take what the daemon said of this stream, waiting while the reader is far behind."""
        match message:
            case Credit(offset=offset):
                self._credit = max(self._credit or 0, offset)
                self._credited.set()
                return
            case Opened():
                return
            case Segment(offset=offset) | Ack(offset=offset):
                self.committed = max(self.committed, offset)
            case Flushed(offset=offset):
                self.committed = max(self.committed, offset)
                await self._inbox.put(message)
                if self._flushes:
                    _resolve(self._flushes.popleft(), message)
                return
            case Closed(offset=offset):
                self.committed = max(self.committed, offset)
                await self._inbox.put(message)
                self._end(StreamEnded(f"the stream has ended ({message.reason})", message.reason))
                _resolve(self._closed, message)
                return
            case Partial() | Event() | Error():
                pass
        await self._inbox.put(message)

    def fail(self, error: ConnectionLost) -> None:
        """The connection broke: whoever waits on this stream is told."""
        self._end(error)
        if not self._closed.done():
            self._closed.set_exception(error)
            self._closed.exception()  # somebody may ask later, nobody has to

    def abandon(self) -> None:
        """Nobody will read it any more."""
        self._inbox.discard()

    def _end(self, error: ClientError) -> None:
        self._inbox.end(error)
        self._credited.set()
        while self._flushes:
            waiting = self._flushes.popleft()
            if not waiting.done():
                waiting.set_exception(error)

    async def _room_samples(self) -> int:
        """Samples that may be sent in one chunk now; waits until that is one at least."""
        self._raise_if_ended()
        if self._credit is None:
            return self._chunk_samples
        await self._inbox.until_half_empty()
        while self._credit <= self.sent:
            self._raise_if_ended()
            self._credited.clear()
            await self._credited.wait()
        self._raise_if_ended()
        return min(self._chunk_samples, self._credit - self.sent)

    def _raise_if_ended(self) -> None:
        if not self._closed.done():
            return
        error = self._closed.exception()
        if error is not None:
            raise error
        reason = self._closed.result().reason
        raise StreamEnded(f"the stream has ended ({reason})", reason)


def _credit_of(opened: Opened) -> int:
    return opened.credit if isinstance(opened.credit, int) else 0


def _resolve(future: asyncio.Future[T], value: T) -> None:
    if not future.done():  # its waiter may have been cancelled
        future.set_result(value)
