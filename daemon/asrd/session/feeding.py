"""How far an utterance has been fed to a model that hears bit by bit.

Such a model keeps the state of each utterance, and that is no more than a cache: the audio is here
until the utterance is final. Whatever goes wrong, the utterance is fed from its first sample again.
"""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an utterance: its audio from `start` on, to the end that was asked for.

    `number` names the utterance among all that this stream has fed.
    """

    number: int
    start: int
    is_first: bool
    is_last: bool


class Feeding:
    """Which utterance of a stream a model keeps, and how much of it. Positions are 16 kHz samples.

    `feed_s` is the new audio that the model likes at a time; None for one that reads windows.
    """

    def __init__(self) -> None:
        self.feed_s: float | None = None
        self.utterance: int | None = None
        """Where the utterance begins that is kept; None where none is."""
        self.fed_until = 0
        self._model: Hashable = None
        self._number = 0
        self._is_last_out = False  # the last part of an utterance is with the model
        self._given_up: list[tuple[Hashable, int]] = []

    def go_by(self, model: Hashable, feed_s: float | None) -> None:
        """Another model may read from now on."""
        if (model, feed_s) != (self._model, self.feed_s):
            self.forget()
            self._model, self.feed_s = model, feed_s

    def begin_of(self, utterance: int, end: int) -> int:
        """Where the part would begin that `part` would give."""
        is_kept = self.utterance == utterance and self.fed_until <= end
        return self.fed_until if is_kept else utterance

    def part(self, utterance: int, end: int, *, is_last: bool) -> Part:
        """Feed the utterance that begins at `utterance` up to `end`."""
        start = self.begin_of(utterance, end)
        is_first = self.utterance != utterance or self.fed_until > end
        if is_first:
            self.forget()
            self._number += 1
        self.utterance, self.fed_until = (None, 0) if is_last else (utterance, end)
        self._is_last_out = is_last
        return Part(number=self._number, start=start, is_first=is_first, is_last=is_last)

    def forget(self) -> None:
        """What was fed counts no more, be it that the model lost it or that nobody wants it."""
        if self.utterance is not None or self._is_last_out:
            self._given_up.append((self._model, self._number))
        self.utterance, self.fed_until, self._is_last_out = None, 0, False

    def heard(self) -> None:
        """The model has heard the part that it was given last."""
        self._is_last_out = False

    def take_given_up(self) -> list[tuple[Hashable, int]]:
        """Utterances that a model may still keep and nobody goes on with, each given once."""
        given_up, self._given_up = self._given_up, []
        return given_up
