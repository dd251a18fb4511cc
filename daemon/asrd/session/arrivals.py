"""How audio and marks come into a stream, and what is told of it there and then.

Chunks refused in a row are told together, and the hole that they leave is there once they are told:
the commit does not pass what nobody has heard of yet.
"""

from collections.abc import Callable

from asrd.audio import PcmFormat
from asrd.errors import ErrorCode, ProtocolError
from asrd.session import effects
from asrd.session.effects import DropReason, Effect
from asrd.session.intake import Intake, MarkKind
from asrd.session.ledger import Ledger

REFUSED_TOLD_EVERY_S = 1.0
"""Audio refused in a row after which it is told, though more may follow."""

MAX_FLUSHES_DUE = 1000
"""Flushes that wait for their answers; one more is refused."""


class Arrivals:
    """The way into one stream's intake. What is to be told is put into `told`."""

    def __init__(
        self,
        stream: int,
        pcm_format: PcmFormat,
        intake: Intake,
        ledger: Ledger,
        told: list[Effect],
    ) -> None:
        self._stream = stream
        self._format = pcm_format
        self._intake = intake
        self._ledger = ledger
        self._told = told
        self._refused_for: DropReason = "rate_limited"
        self._flushes_due = 0

    def receive(self, data: bytes, offset: int | None) -> None:
        """Take a chunk in. Raises ProtocolError for a bad one."""
        self.tell_refused()
        self._take(self._intake.receive, data, offset)

    def new_bytes(self, data: bytes, offset: int | None) -> int:
        """Bytes of a chunk that lie behind what came before."""
        expected = self._intake.expected
        known = 0 if offset is None else max(0, expected - offset) * self._format.frame_bytes
        return max(0, len(data) - known)

    def refuse(self, data: bytes, offset: int | None, reason: DropReason) -> None:
        """Let a chunk pass. Raises ProtocolError for a bad one."""
        is_behind_hole = offset is not None and offset > self._intake.expected
        if is_behind_hole or reason != self._refused_for:
            self.tell_refused()
        self._refused_for = reason
        self._take(self._intake.refuse, data, offset)
        if self._intake.refused >= REFUSED_TOLD_EVERY_S * self._format.sample_rate:
            self.tell_refused()

    def flush(self) -> None:
        """Ask for a cut here. Raises ProtocolError when too many wait for their answers."""
        if self._flushes_due >= MAX_FLUSHES_DUE:
            raise ProtocolError(
                ErrorCode.BUSY,
                f"{MAX_FLUSHES_DUE} flushes of stream {self._stream} wait for their answers",
                stream=self._stream,
                retry_after_ms=1000,
            )
        self._flushes_due += 1
        self.tell_refused()
        self._intake.mark(MarkKind.FLUSH)

    def flushed(self) -> None:
        """The oldest flush has been answered."""
        self._flushes_due -= 1

    def close(self) -> None:
        """Ask for the end here."""
        self.tell_refused()
        self._intake.mark(MarkKind.CLOSE)

    def tell_refused(self) -> None:
        """What was refused and not told yet is told, and leaves its hole."""
        span = self._intake.leave_refused()
        if span is not None:
            start, end = (self._format.to_16k(edge) for edge in span)
            if start < end:
                self._told.append(self._ledger.dropped(start, end, self._refused_for))

    def _take(
        self,
        take: Callable[[bytes, int | None], tuple[int, int] | None],
        data: bytes,
        offset: int | None,
    ) -> None:
        try:
            hole = take(data, offset)
        except ProtocolError as error:
            error.stream = self._stream
            raise
        if hole is not None:
            start, end = (self._format.to_16k(edge) for edge in hole)
            self._told.append(effects.Gap(stream=self._stream, start=start, end=end))
