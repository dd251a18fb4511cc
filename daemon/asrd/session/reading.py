"""What of a stream a model reads next: the oldest final, else the utterance that is still open."""

from dataclasses import dataclass
from enum import Enum, auto

from asrd.audio import Samples
from asrd.session.ahead import Ahead
from asrd.session.endpoint import Utterance
from asrd.session.listener import Listener


class Want(Enum):
    """What a stream would have decoded."""

    FINAL = auto()
    PARTIAL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Audio for one decode: [start, end) of the stream's 16 kHz clock."""

    start: int
    end: int
    audio: Samples
    want: Want


class Reading:
    """The one decode of a stream that may run at a time, and what the next should be.

    `partial_interval` is the new speech, in 16 kHz samples, that an open utterance must hold
    before it is read again; None where no partials are wanted.
    """

    def __init__(self, listener: Listener, ahead: Ahead, partial_interval: float | None) -> None:
        self._listener = listener
        self._speech = listener.endpointer
        self._ahead = ahead
        self._partial_interval = partial_interval
        self._current: Window | None = None
        self._read_until = 0  # how far the open utterance was read, or need not be

    @property
    def want(self) -> Want | None:
        """What should be decoded now; None while a decode runs."""
        if self._current is not None:
            return None
        if self._ahead:
            return Want.FINAL
        start = self._speech.open_start
        if start is None or self._partial_interval is None or self._speech.is_trailing:
            return None
        new_samples = self._speech.position - max(start, self._read_until)
        return Want.PARTIAL if new_samples >= self._partial_interval else None

    @property
    def is_at_final(self) -> bool:
        """Whether the utterance that stands first is being read."""
        return self._current is not None and self._current.want is Want.FINAL

    def begin(self) -> Window | None:
        """The window to decode now: the oldest final, or all of the open utterance."""
        want = self.want
        if want is None:
            return None
        if want is Want.FINAL:
            utterance = self._ahead.first.utterance
            start, end = utterance.start, utterance.end
        else:
            start, end = self._speech.finished_before, self._speech.position
            self._read_until = end
        audio = self._listener.audio(start, end)
        self._current = Window(start=start, end=end, audio=audio, want=want)
        return self._current

    def end(self) -> Window | None:
        """The decode is over: the window it had, or None if there was none."""
        window, self._current = self._current, None
        return window

    def heard(self, utterance: Utterance) -> None:
        """The open utterance is finished."""
        self._read_until = utterance.end

    def give_up_partials(self, window: Window, longest: int) -> None:
        """Read the open utterance no more, if it is still the one that `window` was of."""
        if self._speech.open_start == window.start:
            self._read_until = window.start + longest

    def is_of_open_utterance(self, window: Window) -> bool:
        """Whether a partial of `window` still says something about the next segment."""
        return self._speech.open_start == window.start
