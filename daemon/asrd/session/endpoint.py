"""Where speech begins and ends: a rule over speech probabilities, one per window of 512 samples.

An utterance opens at the first window that is likely speech, reaching back by the pre-roll so
that no first syllable is cut. It ends when no window has been speech for the trailing silence,
keeping some of that silence (the post-roll) because models read a word better when it is not cut
at its last sound. What has fewer likely windows than the shortest word is noise and yields
nothing. An utterance that grows to the longest allowed is split at its quietest point, or ends
there when no speech has come behind it.
"""

from dataclasses import dataclass, field

import numpy as np

WINDOW_SAMPLES = 512
"""32 ms at 16 kHz: what Silero's model reads at a time."""


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
    it. `is_split`: it was cut for its length and speech goes on behind it.
    """

    start: int
    end: int
    speech_start: int
    speech_end: int
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
    """Applies an `EndpointRule` to a stream's windows, in order."""

    def __init__(self, rule: EndpointRule, position: int = 0) -> None:
        self._rule = rule
        self._open: _Open | None = None
        self.restart(position)

    def restart(self, position: int) -> None:
        """Go on at `position`; no utterance reaches back before it."""
        self.position = position
        self._floor = position

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
    def finished_before(self) -> int:
        """Every sample before this position can belong to no later utterance."""
        if self._open is not None:
            return self._open.start
        return max(self._floor, self.position - self._rule.pre_roll)

    def push(self, probability: float, level: float) -> EndpointEvent | None:
        """Judge the next window, of mean power `level`."""
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

    def cut(self, position: int) -> Utterance | None:
        """End whatever is open at `position`, as a flush or a hole in the audio asks for."""
        utterance = self._finish(self._open, position) if self._open is not None else None
        self.restart(position)
        return utterance

    def _finish(self, speech: _Open, end: int) -> Utterance | None:
        self._open = None
        if not speech.is_told:
            return None
        end = min(end, speech.speech_end + self._rule.post_roll)
        self._floor = end
        return Utterance(
            start=speech.start,
            end=end,
            speech_start=speech.speech_start,
            speech_end=min(end, speech.speech_end),
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
        self._floor = position
        self._open = _Open(
            position,
            position,
            speech.speech_end,
            likely_windows=self._rule.shortest_windows,
            is_told=True,
            levels=speech.levels[index:],
        )
        return Utterance(
            start=speech.start,
            end=position,
            speech_start=speech.speech_start,
            speech_end=position,
            is_split=True,
        )
