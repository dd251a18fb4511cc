"""What waits to be written to one connection: bounded, and partials make room for newer ones.

    send ──► the batch ──flush──► channel
      └──(it takes nothing now)──► the queue ──resume──► channel

What is said in one go is written in one go: a wake-up of the reader costs more than the bytes.

A reader that takes nothing for the send timeout, or lets the queue fill, is a slow consumer; the
owner is told once and closes the connection.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol

from asrd.clock import Clock

MAX_BATCH_BYTES = 2**16


class Channel(Protocol):
    """The writing half of a byte channel, as asyncio's transports have it."""

    def write(self, data: bytes) -> None:
        """Send bytes; what cannot be sent yet is buffered there."""
        ...


class Outbox:
    """The frames that one connection has not taken yet."""

    def __init__(
        self,
        channel: Channel,
        clock: Clock,
        *,
        max_bytes: int,
        max_messages: int,
        send_timeout_s: float,
        on_slow: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._send_timeout_s = send_timeout_s
        self._on_slow = on_slow
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._waiting: OrderedDict[Hashable, bytes] = OrderedDict()
        self._bytes = 0
        self._count = 0
        self._paused_at_s: float | None = None
        self._is_closed = False
        self.coalesced = 0

    @property
    def is_empty(self) -> bool:
        """Whether the channel has been given everything."""
        return not self._waiting and not self._batch

    def send(self, frame: bytes, replaces: Hashable = None) -> None:
        """Take a frame; it is written by the next `flush`, or waits until there is room.

        Frames with the same `replaces` key are readings of one thing: the newer takes the place
        of one that still waits.
        """
        if self._is_closed:
            return
        if self._paused_at_s is None:
            self._batch.append(frame)
            self._batch_bytes += len(frame)
            if self._batch_bytes >= MAX_BATCH_BYTES:
                self.flush()  # answers to one read may be far longer than it
            return
        if replaces is None:
            self._count += 1
            replaces = self._count
        elif replaces in self._waiting:
            self._bytes -= len(self._waiting[replaces])
            self.coalesced += 1
        self._waiting[replaces] = frame
        self._bytes += len(frame)
        if self._bytes > self._max_bytes or len(self._waiting) > self._max_messages:
            self._give_up()

    def flush(self) -> None:
        """Write what was sent since the last flush."""
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._channel.write(batch[0] if len(batch) == 1 else b"".join(batch))

    def pause(self) -> None:
        """The channel's own buffer is full."""
        if self._paused_at_s is None:
            self._paused_at_s = self._clock.now_s()

    def resume(self) -> None:
        """The channel takes bytes again."""
        self._paused_at_s = None
        self.flush()
        while self._waiting and self._paused_at_s is None:
            _, frame = self._waiting.popitem(last=False)
            self._bytes -= len(frame)
            self._channel.write(frame)  # may pause again

    def check(self) -> None:
        """Give the reader up if it has taken nothing for too long. Call it now and then."""
        since_s = self._paused_at_s
        if since_s is not None and self._clock.now_s() - since_s >= self._send_timeout_s:
            self._give_up()

    def close(self) -> None:
        """Let go of everything; what is sent from now on goes nowhere."""
        self._is_closed = True
        self._batch.clear()
        self._waiting.clear()
        self._bytes = 0

    def _give_up(self) -> None:
        if not self._is_closed:
            self.close()
            self._on_slow()
