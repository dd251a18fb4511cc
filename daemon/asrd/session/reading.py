"""What of a stream a model reads next: the oldest final, else the utterance that is still open."""

import math
from dataclasses import dataclass
from enum import Enum, auto

from asrd.audio import SAMPLE_RATE, Samples
from asrd.session.ahead import Ahead, Queued
from asrd.session.endpoint import Utterance
from asrd.session.listener import Listener

DECODE_ATTEMPTS = 2
"""Workers that one utterance may end before it is set aside."""


class Want(Enum):
    """What a stream would have decoded."""

    FINAL = auto()
    PARTIAL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Audio for one decode: [start, end) of the stream's 16 kHz clock.

    `coalesced` is how many partials this one stands for beside itself: whole intervals of new audio
    that it covers beyond the first, because nobody read it when they were there. 0 for a final.
    """

    start: int
    end: int
    audio: Samples
    want: Want
    coalesced: int = 0


class Reading:
    """The one decode of a stream that may run at a time, and what the next should be.

    `partial_interval_s` is the new speech that an open utterance must hold before it is read again;
    None where no partials are wanted. It may be changed at any time. `heard_samples` are those of
    all utterances that were finished.
    """

    def __init__(self, listener: Listener, ahead: Ahead, partial_interval_s: float | None) -> None:
        self._listener = listener
        self._speech = listener.endpointer
        self._ahead = ahead
        self.partial_interval_s = partial_interval_s
        self.heard_samples = 0
        self._current: Window | None = None
        # How far the open utterance was read, or need not be; and how far before `_current`.
        self._read_until: float = 0
        self._read_before: float = 0
        self._partial_deaths = 0  # workers that the open utterance has ended

    @property
    def want(self) -> Want | None:
        """What should be decoded now; None while a decode runs."""
        if self._current is not None:
            return None
        if self._ahead:
            return Want.FINAL
        return Want.PARTIAL if self._intervals >= 1 else None

    @property
    def next_samples(self) -> int:
        """16 kHz samples in the window that `begin` would give now; 0 where it would give none."""
        want = self.want
        if want is None:
            return 0
        start, end = self._span(want)
        return end - start

    @property
    def waiting_since_s(self) -> float | None:
        """When the oldest utterance that no model has read was finished; None where none waits."""
        head = self._ahead.head
        return head.queued_at_s if isinstance(head, Queued) else None

    @property
    def is_at_final(self) -> bool:
        """Whether the utterance that stands first is being read."""
        return self._current is not None and self._current.want is Want.FINAL

    def begin(self) -> Window | None:
        """The window to decode now: the oldest final, or all of the open utterance."""
        want = self.want
        if want is None:
            return None
        start, end = self._span(want)
        coalesced = 0
        if want is Want.PARTIAL:
            coalesced = math.floor(self._intervals) - 1
            self._read_before, self._read_until = self._read_until, end
        audio = self._listener.audio(start, end)
        self._current = Window(start=start, end=end, audio=audio, want=want, coalesced=coalesced)
        return self._current

    def end(self) -> Window | None:
        """The decode is over: the window it had, or None if there was none."""
        window, self._current = self._current, None
        return window

    def heard(self, utterance: Utterance, now_s: float) -> None:
        """The open utterance is finished and waits for a model now."""
        attempts, self._partial_deaths = self._partial_deaths, 0
        self._ahead.put(Queued(utterance=utterance, queued_at_s=now_s, attempts=attempts))
        self._read_until = utterance.end
        self.heard_samples += utterance.end - utterance.start

    def put_back(self, window: Window) -> None:
        """Nothing came of `window`, which was the last and is over: have it read as though it had
        never begun."""
        if window.want is Want.PARTIAL and self.is_of_open_utterance(window):
            self._read_until = self._read_before

    def blame(self, window: Window) -> bool:
        """A worker has died over `window`, which was the last and is over.

        The utterance that it was of is read again, but by no partial. Returns whether that is the
        one that stands first and has now ended as many workers as it may.
        """
        if window.want is Want.FINAL:
            queued = self._ahead.first
            queued.attempts += 1
            return queued.attempts >= DECODE_ATTEMPTS
        queued_meanwhile = self._ahead.beginning_at(window.start)
        if queued_meanwhile is not None:
            queued_meanwhile.attempts += 1
        elif self.is_of_open_utterance(window):
            self._partial_deaths += 1
            self._read_until = math.inf  # until it is finished
        return False

    def is_of_open_utterance(self, window: Window) -> bool:
        """Whether a partial of `window` still says something about the next segment."""
        return self._speech.open_start == window.start

    @property
    def _intervals(self) -> float:
        """How many times over the open utterance has grown enough to be read again."""
        start = self._speech.open_start
        if start is None or self.partial_interval_s is None or self._speech.is_trailing:
            return 0.0
        new_samples = self._speech.position - max(start, self._read_until)
        return new_samples / (self.partial_interval_s * SAMPLE_RATE)

    def _span(self, want: Want) -> tuple[int, int]:
        if want is Want.FINAL:
            utterance = self._ahead.first.utterance
            return utterance.start, utterance.end
        return self._speech.finished_before, self._speech.position
