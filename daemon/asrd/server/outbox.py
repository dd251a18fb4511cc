"""What waits to be written to one connection: bounded, and newer readings replace older ones.

    send ──► the batch ──flush──► channel
      └──(it takes nothing now)──► the queue ──resume──► channel
    send_again ──► the replay ──a piece at a time──► channel, before the queue

What is said in one go is written in one go: a wake-up of the reader costs more than the bytes.

What the kernel has taken is the reader's. What counts is what this process still holds for it: the
channel's own buffer and the queue. A reader is a slow consumer when that is over the hard limit,
when it has been over the soft limit for a while although a little is taken now and then, or when
it takes nothing for the send timeout: nothing of the channel's buffer, nor of what lies in the
kernel. The owner is told once and closes the connection.

All outboxes of the daemon stand on one shelf, whose room is less than what they might take
together. When it is full, the reader who takes most of it is given up, whoever filled it.

A replay (segments that are sent again after a resume) is made as fast as it is taken, a piece at a
time. It costs no memory here, however long it is, so it counts for no limit. What is said meanwhile
waits behind it, through no fault of the reader: it counts for the hard limit of bytes alone.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Protocol

from asrd.clock import Clock
from asrd.config import Limits

MAX_BATCH_BYTES = 10 * 2**10
"""Enough to spare system calls, and no more: the kernel counts a write as taken when all of it is,
so a reader who takes little at a time would seem to take nothing."""


FULL_S = 0.25
"""Who asks for more than there is room for, and takes nothing of it, is waited for no longer."""


class Channel(Protocol):
    """The writing half of a byte channel, as asyncio's transports have it."""

    @property
    def buffered_bytes(self) -> int:
        """What was written and has not been sent."""
        ...

    @property
    def untaken_bytes(self) -> int:
        """What was written and the reader has not taken, as far as anybody can tell.

        What matters is when it becomes less. The kernel counts its own overhead in.
        """
        ...

    def write(self, data: bytes) -> None:
        """Send bytes; what cannot be sent yet is buffered there."""
        ...


class Shelf:
    """The room for what waits in all outboxes together."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._outboxes: set[Outbox] = set()

    def put(self, outbox: "Outbox", size: int) -> None:
        """So many bytes more wait in an outbox, or less."""
        self.held_bytes += size
        if outbox.waiting_bytes:
            self._outboxes.add(outbox)
        else:
            self._outboxes.discard(outbox)
        while self.held_bytes > self.max_bytes:
            max(self._outboxes, key=lambda each: each.waiting_bytes).give_up()


class Outbox:
    """The frames that one connection has not taken yet."""

    def __init__(
        self,
        channel: Channel,
        clock: Clock,
        limits: Limits,
        shelf: Shelf,
        *,
        on_slow: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._limits = limits
        self._shelf = shelf
        self._on_slow = on_slow
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._replay: Iterator[bytes] | None = None
        self._waiting: OrderedDict[Hashable, bytes] = OrderedDict()
        self.waiting_bytes = 0
        self._count = 0
        self._excused = 0
        self._paused_at_s: float | None = None
        self._taken_at_s = 0.0
        self._untaken_bytes = 0
        self._above_since_s: float | None = None
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether the channel has been given everything."""
        return not self._waiting and not self._batch and self._replay is None

    @property
    def held_bytes(self) -> int:
        """What this process holds for the reader."""
        return self._channel.buffered_bytes + self.waiting_bytes + self._batch_bytes

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits that who asks for more ought to take what there is first."""
        if self._paused_at_s is None and self._replay is None:
            return False
        has_many = 2 * len(self._waiting) > self._limits.outbox_messages
        return has_many or self.held_bytes > self._limits.outbox_soft_bytes

    @property
    def is_replaying(self) -> bool:
        """Whether something is still to be sent again."""
        return self._replay is not None

    @property
    def may_replay(self) -> bool:
        """Whether there is something to be sent again, and the channel takes it now."""
        return self._replay is not None and self._paused_at_s is None

    def send(self, frame: bytes, replaces: Hashable = None) -> None:
        """Take a frame; it is written by the next `flush`, or waits until there is room.

        Frames with the same `replaces` key are readings of one thing. Where one of them still
        waits it is left out, and the newer stands where it was said: nothing is told early.
        """
        if self._is_closed:
            return
        if self._paused_at_s is None and self._replay is None:
            self._batch.append(frame)
            self._batch_bytes += len(frame)
            if self._batch_bytes >= MAX_BATCH_BYTES:
                self.flush()  # answers to one read may be far longer than it
            return
        if replaces is None:
            self._count += 1
            replaces = self._count
        elif (older := self._waiting.pop(replaces, None)) is not None:
            self._wait_for(-len(older))
        self._waiting[replaces] = frame
        self._wait_for(len(frame))
        has_many = self._replay is None and (
            len(self._waiting) - self._excused > self._limits.outbox_messages
        )
        if has_many or self.held_bytes > self._limits.outbox_bytes or self._is_long_above():
            self.give_up()

    def send_again(self, frames: Iterator[bytes]) -> None:
        """Send frames that are made one by one as they are taken. To be called once.

        A first piece is written now; `replay_on` writes the next, where `may_replay`. What is sent
        meanwhile waits behind all of them.
        """
        self.flush()
        if not self._is_closed:
            self._replay = frames
            self.replay_on()

    def replay_on(self) -> None:
        """Write the next piece of what is sent again.

        Whatever the making of a frame raises is raised here. The outbox is closed then: nothing
        may be told behind the gap.
        """
        piece: list[bytes] = []
        size = 0
        while self.may_replay and size < MAX_BATCH_BYTES:
            try:
                frame = next(self._replay or iter(()), None)
            except Exception:
                self.close()
                raise
            if frame is None:
                self._replay = None
                self._excused = len(self._waiting)
            else:
                piece.append(frame)
                size += len(frame)
        if piece:
            self._channel.write(b"".join(piece))  # may pause
        if self._replay is None:
            self._write_waiting()

    def flush(self) -> None:
        """Write what was sent since the last flush."""
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._channel.write(batch[0] if len(batch) == 1 else b"".join(batch))

    def pause(self) -> None:
        """The channel's own buffer is full."""
        if self._paused_at_s is None:
            self._paused_at_s = self._taken_at_s = self._clock.now_s()
            self._untaken_bytes = self._channel.untaken_bytes

    def resume(self) -> None:
        """The channel takes bytes again."""
        self._paused_at_s = None
        self.flush()
        if self._replay is not None:
            self.replay_on()
        else:
            self._write_waiting()
        self._is_long_above()

    def check(self, *, is_asked_for_more: bool = False) -> None:
        """Give the reader up if it has been too slow for too long. Call it now and then.

        `is_asked_for_more`: requests of the reader's wait until it has taken some of its answers.
        """
        is_full = is_asked_for_more and self.is_crowded and self._replay is None
        patience_s = FULL_S if is_full else self._limits.send_timeout_s
        if self._is_long_above() or self._is_stalled(patience_s):
            self.give_up()

    def give_up(self) -> None:
        """Drop what waits and tell the owner that this reader is too slow, once."""
        if not self._is_closed:
            self.close()
            self._on_slow()

    def finish(self) -> None:
        """Hand all that waits over to the channel, which is about to close, and close.

        While something is still to be sent again, nothing that waits behind it is handed over: it
        must not be heard without that. Who comes back is sent both.
        """
        self.flush()
        if self._waiting and self._replay is None:
            self._channel.write(b"".join(self._waiting.values()))
        self.close()

    def close(self) -> None:
        """Let go of everything; what is sent from now on goes nowhere."""
        self._is_closed = True
        self._batch.clear()
        self._batch_bytes = 0
        self._waiting.clear()
        self._wait_for(-self.waiting_bytes)
        self._replay = None

    def _write_waiting(self) -> None:
        """Write what waits, in batches, for as long as the channel takes it."""
        while self._waiting and self._paused_at_s is None:
            batch: list[bytes] = []
            size = 0
            while self._waiting and size < MAX_BATCH_BYTES:
                _, frame = self._waiting.popitem(last=False)
                batch.append(frame)
                size += len(frame)
            self._excused = max(0, self._excused - len(batch))
            self._wait_for(-size)
            self._channel.write(b"".join(batch))  # may pause again

    def _wait_for(self, size: int) -> None:
        self.waiting_bytes += size
        self._shelf.put(self, size)

    def _is_long_above(self) -> bool:
        """Note whether the soft limit is passed; tell whether it has been for too long."""
        is_above = self.held_bytes > self._limits.outbox_soft_bytes
        if not is_above or self._paused_at_s is None or self._replay is not None:
            self._above_since_s = None
            return False
        now_s = self._clock.now_s()
        if self._above_since_s is None:
            self._above_since_s = now_s
        return now_s - self._above_since_s >= self._limits.outbox_soft_s

    def _is_stalled(self, patience_s: float) -> bool:
        """Note whether anything was taken since the last look; tell whether it is too long ago."""
        if self._paused_at_s is None:
            return False
        now_s = self._clock.now_s()
        before_bytes, self._untaken_bytes = self._untaken_bytes, self._channel.untaken_bytes
        if self._untaken_bytes < before_bytes:
            self._taken_at_s = now_s
        return now_s - self._taken_at_s >= patience_s
