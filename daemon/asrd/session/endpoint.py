"""Where speech begins and ends: a rule over speech probabilities, one per window of 512 samples.

An utterance opens at the first window that is likely speech, reaching back by the pre-roll so
that no first syllable is cut. It ends when no window has been speech for the trailing silence,
keeping some of that silence (the post-roll) because models read a word better when it is not cut
at its last sound. What has fewer likely windows than the shortest word is noise and yields
nothing. An utterance that grows to the longest allowed is split at its quietest point, or ends
there when no speech has come behind it.

Hearing begins anew behind each utterance and once a second in what is no speech: whoever begins to
listen at such an origin hears what follows as whoever has listened from the start. Commits are
origins, so a daemon that goes on where another one was killed finds the same utterances.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

WINDOW_SAMPLES = 512
"""32 ms at 16 kHz: what Silero's model reads at a time."""

ANEW_AFTER = 25 * WINDOW_SAMPLES
"""Without speech, hearing begins anew after 0.8 s, so that the commit moves about once a second."""

ORIGIN_GRID = 640
"""Origins are multiples of this where they can be: whole samples at every usual rate (640 samples
at 16 kHz are 441 at 11.025 kHz)."""

MAX_ORIGINS = 128
"""Origins remembered of what is not committed. Longer silence behind an utterance that waits is
committed in one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRule:
    """The rule's numbers, in samples unless they say otherwise.

    Two thresholds, as Silero's authors use them: speech begins at the upper and lasts down to the
    lower, so that a dip within a word ends nothing.
    """

    silence: int
    pre_roll: int = 6 * WINDOW_SAMPLES
    post_roll: int = 6 * WINDOW_SAMPLES
    longest: int = 30 * 16000
    shortest_windows: int = 4
    begin_probability: float = 0.4
    stay_probability: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechBegan:
    """Speech began at `position`."""

    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A finished stretch to be decoded.

    `start` and `end` bound the audio for the model; `speech_start` and `speech_end` the speech in
    it. `origin` is where one has to begin to listen in order to find it. `is_split`: it was cut for
    its length and speech goes on behind it.
    """

    start: int
    end: int
    speech_start: int
    speech_end: int
    origin: int
    is_split: bool = False


EndpointEvent = SpeechBegan | Utterance


@dataclass(slots=True)
class _Open:
    start: int
    speech_start: int
    speech_end: int
    likely_windows: int = 0
    is_told: bool = False
    levels: list[float] = field(default_factory=list)  # one per window from speech_start on


class Endpointer:
    """Applies an `EndpointRule` to a stream's windows, in order.

    `position` is where the next window begins. Where `has_begun_anew` after a `push`, that is what
    a listener without a past has to hear next; behind an utterance it lies before the window just
    pushed, by the pre-roll at most. `origins` are the places where hearing began anew, for their
    owner to take out once they are committed.
    """

    def __init__(self, rule: EndpointRule, position: int = 0) -> None:
        self._rule = rule
        self._open: _Open | None = None
        self.position = position
        self.origins: deque[int] = deque(maxlen=MAX_ORIGINS)
        self.has_begun_anew = False
        self.restart(position)

    def restart(self, position: int) -> None:
        """Go on at `position`; no utterance reaches back before it."""
        self.position = position
        self._floor = self._anew_at = self._before_anew = position
        self.origins.append(position)

    @property
    def open_start(self) -> int | None:
        """Where the open utterance's audio begins; None unless it surely is speech."""
        return self._open.start if self._open is not None and self._open.is_told else None

    @property
    def speech_start(self) -> int | None:
        """Where the open utterance's speech begins; None unless it surely is speech."""
        return self._open.speech_start if self._open is not None and self._open.is_told else None

    @property
    def is_listening(self) -> bool:
        """Whether the windows that come next matter to an open utterance."""
        return self._open is not None

    @property
    def is_trailing(self) -> bool:
        """Whether an utterance is open and its last window was not speech."""
        return self._open is not None and self._open.speech_end < self.position

    @property
    def pause_end(self) -> int | None:
        """Where the open utterance ends if nobody speaks any more, once that seems likely: half of
        the trailing silence has passed, and all that the utterance would keep of it. Else None."""
        speech, rule = self._open, self._rule
        if speech is None or not speech.is_told:
            return None
        silence = self.position - speech.speech_end
        if silence < max(rule.post_roll, rule.silence // 2) or rule.silence <= rule.post_roll:
            return None
        return speech.speech_end + rule.post_roll

    @property
    def settled_before(self) -> int:
        """What lies before this position stays in the open utterance, be it split or not."""
        start = self.finished_before
        return start + (self._rule.longest - self._rule.pre_roll) // 2 - WINDOW_SAMPLES

    @property
    def finished_before(self) -> int:
        """Every sample before this position can belong to no later utterance."""
        if self._open is not None:
            return self._open.start
        return max(self._floor, self.position - self._rule.pre_roll)

    @property
    def origin(self) -> int:
        """The last place from which on everything not finished yet is heard in the same way."""
        return self._anew_at if self.finished_before >= self._anew_at else self._before_anew

    @property
    def windows_to_go(self) -> int | None:
        """Windows until hearing begins anew; None while that depends on what is heard."""
        if self._open is not None:
            return None
        return -((self.position - self._anew_at - ANEW_AFTER) // WINDOW_SAMPLES)

    def push(self, probability: float, level: float) -> EndpointEvent | None:
        """Judge the next window, of mean power `level`."""
        event = self._judge(probability, level)
        self.has_begun_anew = False
        if isinstance(event, Utterance) and not event.is_split:
            self._begin_behind(event)
        elif self._open is None and self.position - self._anew_at >= ANEW_AFTER:
            # What opens here may reach back by the pre-roll: until it cannot, the last one counts.
            self._before_anew, self._anew_at = self.origin, self.position
            self.origins.append(self.position)
            self.has_begun_anew = True
        return event

    def cut(self, position: int) -> Utterance | None:
        """End whatever is open at `position`, as a flush or a hole in the audio asks for."""
        utterance = self._finish(self._open, position) if self._open is not None else None
        self.restart(position)
        return utterance

    def _judge(self, probability: float, level: float) -> EndpointEvent | None:
        begin, rule = self.position, self._rule
        end = self.position = begin + WINDOW_SAMPLES
        if self._open is None:
            if probability < rule.begin_probability:
                return None
            self._open = _Open(max(self._floor, begin - rule.pre_roll), begin, end)
        speech = self._open
        speech.levels.append(level)
        if probability >= rule.stay_probability:
            speech.speech_end = end
            speech.likely_windows += probability >= rule.begin_probability
            if not speech.is_told and speech.likely_windows >= rule.shortest_windows:
                speech.is_told = True
                return SpeechBegan(position=speech.speech_start)
        elif end - speech.speech_end >= rule.silence:
            return self._finish(speech, end)
        if end - speech.start >= rule.longest:
            return self._split(speech)
        return None

    def _begin_behind(self, utterance: Utterance) -> None:
        """Begin anew so far behind an utterance that the next one still has its pre-roll."""
        latest = max(utterance.end, self.position - self._rule.pre_roll)
        on_grid = latest - latest % ORIGIN_GRID
        self.restart(on_grid if on_grid >= utterance.end else latest)
        self.has_begun_anew = True

    def _finish(self, speech: _Open, end: int) -> Utterance | None:
        origin = self.origin
        self._open = None
        if not speech.is_told:
            return None
        end = min(end, speech.speech_end + self._rule.post_roll)
        return Utterance(
            start=speech.start,
            end=end,
            speech_start=speech.speech_start,
            speech_end=min(end, speech.speech_end),
            origin=origin,
        )

    def _split(self, speech: _Open) -> Utterance | None:
        if not speech.is_told:  # half a minute of doubt is noise
            self._open = None
            return None
        # The quietest fifth of a second of the later half, so that both parts stay long enough
        # to be read well and the first is not empty.
        levels = np.asarray(speech.levels)
        smooth = np.convolve(levels, np.ones(5) / 5, mode="same")
        half = len(levels) // 2
        index = half + int(np.argmin(smooth[half : max(half + 1, len(levels) - 2)]))
        position = speech.speech_start + index * WINDOW_SAMPLES
        if position >= speech.speech_end:  # what follows is silence, which nobody has to read
            return self._finish(speech, self.position)
        first = Utterance(
            start=speech.start,
            end=position,
            speech_start=speech.speech_start,
            speech_end=position,
            origin=self.origin,
            is_split=True,
        )
        # Speech goes on: whoever begins here hears it from its first window on, and hardly
        # otherwise. Nothing begins anew, for it would doubt what is speech already.
        self._floor = self._anew_at = self._before_anew = position
        self.origins.append(position)
        self._open = _Open(
            position,
            position,
            speech.speech_end,
            likely_windows=self._rule.shortest_windows,
            is_told=True,
            levels=speech.levels[index:],
        )
        return first
