"""What of a stream's audio waits, how much of it may, and what goes when that is too much."""

from collections.abc import Iterator

from asrd.audio import SAMPLE_RATE
from asrd.session.ahead import Ahead
from asrd.session.effects import Dropped, DropReason
from asrd.session.intake import Intake
from asrd.session.ledger import Ledger
from asrd.session.reading import Reading
from asrd.session.rule import StreamRule

DROPPED_AT_ONCE_S = 1.0
"""Unscored audio dropped in one go, so that a long overload is not told chunk by chunk."""

MAX_PIECES = 16384
"""Unscored pieces of audio, and marks between them: what splinters cost beside their samples."""


class Backlog:
    """Decides what a stream lets go of; of a lossless one nothing ever.

    What is returned is gone already and has to be told. `shed_to_s` may be set to a smaller bound
    than the rule's `window_s`.
    """

    def __init__(
        self, rule: StreamRule, intake: Intake, ahead: Ahead, reading: Reading, ledger: Ledger
    ) -> None:
        self._intake = intake
        self._ahead = ahead
        self._reading = reading
        self._ledger = ledger
        self._format = rule.pcm_format
        self._window_s = None if rule.is_lossless else rule.window_s
        self.shed_to_s: float | None = None

    @property
    def has_splinters(self) -> bool:
        """Whether the audio that waits costs more than its samples, because it is in splinters."""
        return self._intake.pieces > MAX_PIECES

    @property
    def waiting_s(self) -> float:
        """Audio that waits: what nobody has looked at, and utterances that no decode has begun."""
        waiting = self._format.to_16k(self._intake.waiting)
        if self._ahead:
            waiting += sum(self._ahead.waiting(has_begun=self._reading.is_at_first))
        return waiting / SAMPLE_RATE

    def drop_too_much(self) -> Iterator[Dropped]:
        """The oldest goes first: utterances that no decode has begun, then unscored audio.

        Whoever is given one of them settles the stream before asking for the next.
        """
        while (reason := self._too_much) is not None:
            dropped = self.drop_waiting(reason)
            if dropped is not None:
                yield dropped
            else:
                yield from self._drop_unscored(reason)
        while self._window_s is not None and self.has_splinters and self._intake.waiting:
            yield from self._drop_unscored("backlog")

    def drop_waiting(self, reason: DropReason) -> Dropped | None:
        """Drop the oldest utterance that no decode has begun; None where there is none."""
        if self._window_s is None:
            return None
        utterance = self._ahead.drop_oldest(has_begun=self._reading.is_at_first)
        if utterance is None:
            return None
        return self._ledger.dropped(utterance.start, utterance.end, reason)

    def _drop_unscored(self, reason: DropReason) -> Iterator[Dropped]:
        dropped = self._intake.drop_oldest(round(DROPPED_AT_ONCE_S * self._format.sample_rate))
        start, end = (self._format.to_16k(edge) for edge in dropped)
        if start < end:
            yield self._ledger.dropped(start, end, reason)

    @property
    def _too_much(self) -> DropReason | None:
        """By which bound too much waits: unscored, or in utterances that no decode has begun.

        The smaller bound spares a single utterance that is too long for it: as long as nothing else
        is too much, a stream that is shed has something to be read when its turn comes.
        """
        if self._window_s is None:
            return None
        unscored = self._format.to_16k(self._intake.waiting)
        utterances = self._ahead.waiting(has_begun=self._reading.is_at_first)
        waiting = unscored + sum(utterances)
        if waiting > self._window_s * SAMPLE_RATE:
            return "backlog"
        if self.shed_to_s is None or waiting <= self.shed_to_s * SAMPLE_RATE:
            return None
        is_spared = len(utterances) == 1 and unscored <= self.shed_to_s * SAMPLE_RATE
        return None if is_spared else "overload"
