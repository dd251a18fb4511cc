"""The account of one stream: how far it is finished, what was counted, what its client knows.

Offsets are the stream's own, positions 16 kHz samples. Each method named for an effect makes that
effect and enters it.
"""

from collections import deque
from collections.abc import Iterator

from asrd.audio import PcmFormat
from asrd.session import effects
from asrd.session.draft import Told
from asrd.session.effects import CloseReason, DropReason, Effect
from asrd.session.endpoint import Utterance
from asrd.transcript import Hypothesis

TOLD_EVERY_S = 0.5
"""Audio by which commit or credit moves before it is told by itself."""

MAX_ACKS_AT_ONCE = 128
"""A commit that moves by many seconds at once is told second by second up to here: more than the
audio that may wait to be heard. What goes further is a hole, whose length is up to its sender."""


class Ledger:
    """Commit, credit, ids and counts.

    `segments` were told so far and `dropped_samples` (16 kHz) let go of; `delay_s` is the
    newest that a segment had, None before the first.

    `window` is how far ahead of the commit audio may be sent, in samples; None on a live stream.
    """

    def __init__(
        self,
        stream: int,
        pcm_format: PcmFormat,
        *,
        start_offset: int,
        start_id: int,
        window: int | None,
    ) -> None:
        self._stream = stream
        self._format = pcm_format
        self._window = window
        self._second = pcm_format.sample_rate
        self._step = round(TOLD_EVERY_S * pcm_format.sample_rate)
        self._told = start_offset
        self.segments = 0
        self.dropped_samples = 0
        self.delay_s: float | None = None
        self.committed = start_offset
        self.next_id = start_id
        self.credit = self._credit_now

    def move_to(self, offset: int) -> None:
        """All before `offset` is finished. The commit never goes back."""
        self.committed = max(self.committed, offset)

    def advance(self, offset: int, origins: deque[int]) -> Iterator[effects.Committed]:
        """Move the commit to `offset` and tell of its way there, for it may be far.

        Each step is one of `origins`, positions where another daemon may go on as this one does;
        those that were passed are taken out. Where they are more than a second apart (behind a hole
        or what was dropped), it is told second by second.
        """
        while origins and (origin := self._format.to_own(origins[0])) <= offset:
            origins.popleft()
            self.move_to(origin)
            yield from self._due_commit()
        self.move_to(offset)
        yield from self._overdue()

    def is_overdrawn(self, expected: int) -> bool:
        """Whether audio up to `expected` is past twice the window."""
        return self._window is not None and expected - self.committed > 2 * self._window

    # ── what is told ──────────────────────────────────────────────────────────────────────────

    def opened(self) -> effects.OpenedStream:
        """The stream's first effect, with its credit."""
        self.credit = self._credit_now
        return effects.OpenedStream(stream=self._stream, credit=self.credit)

    def due(self) -> Iterator[Effect]:
        """Commit and credit, where they moved so far that they are told by themselves."""
        yield from self._due_commit()
        credit = self._credit_now
        if credit is not None and self.credit is not None and credit - self.credit >= self._step:
            self.credit = credit
            yield effects.CreditRaised(stream=self._stream, offset=credit)

    def flushed(self, offset: int) -> effects.Flushed:
        """All before `offset` is finished, as was asked for."""
        self._tell_commit()
        return effects.Flushed(stream=self._stream, offset=offset)

    def partial(self, start: int, end: int, told: Told) -> effects.Partial:
        """The reading so far of what will be the next segment."""
        return effects.Partial(
            stream=self._stream,
            id=self.next_id,
            start=start,
            end=end,
            text=told.text,
            stable=told.stable,
        )

    def segment(
        self,
        utterance: Utterance,
        hypothesis: Hypothesis,
        latency_s: float,
        late_s: float | None = None,
    ) -> effects.Segment:
        """The next segment, with the commit. `late_s` of audio had come behind its speech."""
        segment = effects.Segment(
            stream=self._stream,
            id=self.next_id,
            start=utterance.speech_start,
            end=utterance.speech_end,
            window_start=utterance.start,
            hypothesis=hypothesis,
            offset=self._tell_commit(),
            latency_s=latency_s,
            delay_s=None if late_s is None or utterance.is_split else late_s + latency_s,
        )
        self.next_id += 1
        self.segments += 1
        if segment.delay_s is not None:
            self.delay_s = segment.delay_s
        return segment

    def dropped(self, start: int, end: int, reason: DropReason) -> effects.Dropped:
        """Audio between two positions that will not be recognised."""
        self.dropped_samples += end - start
        return effects.Dropped(stream=self._stream, start=start, end=end, reason=reason)

    def closed(self, reason: CloseReason, received: int) -> effects.StreamClosed:
        """The last effect, of a stream that received so many samples."""
        return effects.StreamClosed(
            stream=self._stream,
            reason=reason,
            offset=self.committed,
            segments=self.segments,
            audio=self._format.to_16k(received),
            dropped=self.dropped_samples,
        )

    def _due_commit(self) -> Iterator[effects.Committed]:
        yield from self._overdue()
        if self.committed - self._told >= self._step:
            yield effects.Committed(stream=self._stream, offset=self._tell_commit())

    def _overdue(self) -> Iterator[effects.Committed]:
        if self.committed - self._told <= MAX_ACKS_AT_ONCE * self._second:
            while self.committed - self._told > self._second:
                self._told += self._second
                yield effects.Committed(stream=self._stream, offset=self._told)

    def _tell_commit(self) -> int:
        self._told = self.committed
        return self.committed

    @property
    def _credit_now(self) -> int | None:
        return None if self._window is None else self.committed + self._window
