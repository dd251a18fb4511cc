"""What one stream has yet to say on the connection it has now: pure.

    append, flush, close, cancel ─► Outgoing ─► next ─► the connection

All that was asked of the stream and is not answered stays here, so when a connection has broken
it can all be said again on the next one: the audio that is held, then what was asked behind it.
"""

from collections import deque
from dataclasses import dataclass

from asrd.choices import SAMPLE_BYTES
from asrd.client.held import Held
from asrd.wire.messages import Audio, Cancel, ClientMessage, Close, Flush, Flushed, Open


@dataclass(slots=True, eq=False)
class FlushDue:
    """A flush of all audio before `at` that is not answered yet."""

    at: int
    is_said: bool = False
    answer: Flushed | None = None


class Outgoing:
    """The audio that is held, how much of it this connection has been given, and what was asked.

    `limit_samples` is how much is held beyond need: None for all that is not finished, 0 where
    nothing would be sent again. `credit` is None on a live stream.
    """

    def __init__(self, request: Open) -> None:
        self._number = request.stream
        self.frame_bytes = SAMPLE_BYTES[request.encoding] * request.channels
        self.held = Held(self.frame_bytes, request.start_offset)
        self.credit: int | None = 0
        self.limit_samples: int | None = None
        self.max_chunk_bytes = 2**16
        self.is_here = False
        """Whether the daemon of this connection knows the stream, or is about to be told of it."""
        self.is_closing = False
        self.is_cancelling = False
        self.was_opened = False
        """Whether any daemon was ever told of the stream."""
        self._opening: Open | None = None
        self._cursor = request.start_offset
        self._flushes: deque[FlushDue] = deque()
        self._is_close_said = False
        self._is_cancel_said = False

    # ── the connection ────────────────────────────────────────────────────────────────────────

    def open_here(self, opening: Open) -> None:
        """There is a connection whose daemon has to be told of the stream first."""
        self._begin_at(opening.start_offset)
        self._opening = opening
        if self.credit is not None:
            self.credit = opening.start_offset

    def go_on_here(self, committed: int) -> None:
        """There is a connection whose daemon knows the stream up to its commit, at least."""
        self._begin_at(committed)

    def leave(self) -> None:
        """The connection is gone, or its daemon will not have the stream for now."""
        self.is_here = False
        self._opening = None

    def _begin_at(self, offset: int) -> None:
        self.is_here = True
        self._opening = None
        self._cursor = offset
        self._is_close_said = self._is_cancel_said = False
        for due in self._flushes:
            due.is_said = False

    # ── what is asked ─────────────────────────────────────────────────────────────────────────

    @property
    def chunk_samples(self) -> int:
        """The most that one message may hold."""
        return max(1, self.max_chunk_bytes // self.frame_bytes)

    @property
    def room_samples(self) -> int:
        """Samples that may be added now; 0 where their sender has to wait."""
        if self.credit is None:
            return self.chunk_samples
        if not self.is_here or self._is_held_back:
            return 0
        return max(0, min(self.chunk_samples, self.credit - self.held.end))

    def append(self, data: bytes) -> None:
        """Add audio behind all there is."""
        self.held.append(data)

    def skip(self, samples: int) -> None:
        """Leave a hole before what is added next."""
        self.held.skip(samples)

    def flush(self) -> FlushDue:
        """Ask for a flush of all audio so far."""
        due = FlushDue(self.held.end)
        self._flushes.append(due)
        return due

    # ── what is answered ──────────────────────────────────────────────────────────────────────

    def committed(self, offset: int) -> None:
        """All before `offset` is finished."""
        self.held.forget_before(offset)

    def flushed(self, offset: int) -> FlushDue | None:
        """All before `offset` is finished, as was asked; returns the flush that this answers.

        One that was asked for twice, before and behind a break, may be answered twice.
        """
        self.committed(offset)
        if not self._flushes or self._flushes[0].at > offset:
            return None
        return self._flushes.popleft()

    # ── what is said ──────────────────────────────────────────────────────────────────────────

    @property
    def has_next(self) -> bool:
        """Whether anything may be said now."""
        if not self.is_here or self._is_cancel_said:
            return False
        if self._opening is not None or self.is_cancelling:
            return True
        return self._has_audio or self._due_flush is not None or self._is_close_due

    def next(self) -> ClientMessage | None:
        """The message that is to be said now; None where there is none, or it may not be yet."""
        if not self.is_here or self._is_cancel_said:
            return None
        if (opening := self._opening) is not None:
            self._opening = None
            self.was_opened = True
            return opening
        if self.is_cancelling:
            self._is_cancel_said = True
            return Cancel(stream=self._number)
        if self._has_audio:
            return self._next_audio()
        if (due := self._due_flush) is not None:
            due.is_said = True
            return Flush(stream=self._number)
        if self._is_close_due:
            self._is_close_said = True
            return Close(stream=self._number)
        return None

    def trim(self) -> None:
        """Forget what is held beyond the limit."""
        if self.limit_samples is not None:
            self.held.forget_before(self.held.end - self.limit_samples)

    def is_finished_at(self, offset: int) -> bool:
        """Whether nothing that is held lies behind `offset`."""
        return self.held.start == self.held.end or offset >= self.held.end

    @property
    def _next_offset(self) -> int:
        # Behind a hole, which the offset tells: of what was forgotten, or what was skipped.
        return self.held.first_from(max(self._cursor, self.held.start))

    @property
    def _audio_end(self) -> int:
        """Audio before this may be said now."""
        end = self.held.end if self.credit is None else min(self.held.end, self.credit)
        return min(end, self._flushes[0].at) if self._is_held_back else end

    @property
    def _has_audio(self) -> bool:
        return self._next_offset < self._audio_end and not self._is_close_said

    def _next_audio(self) -> Audio:
        offset = self._next_offset
        data = self.held.chunk(offset, min(self.chunk_samples, self._audio_end - offset))
        self._cursor = offset + len(data) // self.frame_bytes
        return Audio(stream=self._number, data=data, offset=offset)

    @property
    def _is_held_back(self) -> bool:
        """Whether audio has to wait behind a flush that is not answered.

        A flush that is said again behind a break cuts where the audio then ends that the daemon
        has. So nothing behind the flush may get there before its answer is here: then both cut at
        the same place. Live audio that would be forgotten over that goes all the same.
        """
        if not self._flushes:
            return False
        return self.limit_samples is None or self.held.end - self._next_offset < self.limit_samples

    @property
    def _due_flush(self) -> FlushDue | None:
        """The flush that is to be said now."""
        for due in self._flushes:
            if not due.is_said and due.at <= self._next_offset:
                return due
        return None

    @property
    def _is_close_due(self) -> bool:
        has_rest = self._next_offset < self.held.end or any(
            not due.is_said for due in self._flushes
        )
        return self.is_closing and not self._is_close_said and not has_rest
