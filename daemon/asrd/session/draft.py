"""What has been read of an utterance that is not final: its partials, and what becomes of them.

A growing utterance is read again and again. What readings agree on is committed. Once the window
is long, it begins anew behind a place where the words before are committed and the audio was quiet,
or where the engine itself ended a segment, so the cost of a reading does not grow with the
utterance.
The text before that place is the prompt of the next reading.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from asrd.audio import SAMPLE_RATE
from asrd.session.agreement import LocalAgreement, Merged, join, tokens_of
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.transcript import Hypothesis, Word

TRIM_AFTER = 10 * SAMPLE_RATE
"""A window longer than this is trimmed where it can be."""

LEAD_IN = 3 * WINDOW_SAMPLES
"""Of a pause, this much is left before the words behind it."""

MAX_PLACES = 64
"""Places remembered where a window may begin."""

PROMPT_CHARACTERS = 400
"""Of the text before the window, the end that is given to the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A partial: the first `stable` characters of `text` will not change."""

    text: str
    stable: int


@dataclass(frozen=True, slots=True)
class _Place:
    """All of these words, counted from the window's beginning, were spoken before `position`."""

    keys: tuple[str, ...]
    position: int


class Draft:
    """The readings of one utterance so far. Positions are 16 kHz samples.

    Args:
        start: where the utterance's audio begins.
        settled_before: words behind this may yet become another utterance's, and are not committed.
        agreement: readings in a row that have to agree.
    """

    def __init__(self, start: int, settled_before: int, agreement: int) -> None:
        self.start = start
        self.begin = start
        self._settled_before = settled_before
        self._agreement = LocalAgreement(agreement)
        self._oldest_ends = [start] * agreement  # of the readings that are compared
        self._before = ""
        self._words_before: list[Word] = []
        self._stable_words: list[tuple[int, Word]] = []  # with their places in what is committed
        self._places: list[_Place] = []
        self._conclusion: tuple[int, Hypothesis] | None = None

    @property
    def prompt(self) -> str:
        """The text before the window, as far as an engine wants it; empty where there is none."""
        return self._before[-PROMPT_CHARACTERS:].strip()

    def add(
        self, end: int, hypothesis: Hypothesis, *, is_at_pause: bool, may_trim: bool = True
    ) -> Told:
        """Take in a reading of the window, which ends at `end`.

        `is_at_pause`: nobody speaks there, so that no word is cut. `may_trim`: the window may begin
        anew further on.
        """
        if self._conclusion is not None and self._conclusion[0] != end:
            self._conclusion = None  # somebody spoke on, and more may be committed than it knows
        if not hypothesis.text:
            return self._told(self._agreement.merge(""))
        self._oldest_ends = [*self._oldest_ends[1:], end]
        committed = len(self._agreement.stable)
        merged = self._agreement.add(
            hypothesis.text,
            own_stable=hypothesis.stable if end <= self._settled_before else 0,
            may_agree=self._oldest_ends[0] <= self._settled_before,
        )
        self._note_words(hypothesis, merged, committed)
        self._note_places(end, hypothesis, is_at_pause=is_at_pause)
        told = self._told(merged)
        if may_trim and end - self.begin > TRIM_AFTER:
            self._trim(merged.text)
            # What stands before the window is committed, with the punctuation behind it.
            told = replace(told, stable=max(told.stable, len(self._before.rstrip())))
        return told

    def conclude(self, hypothesis: Hypothesis) -> Hypothesis:
        """The utterance's text, given a reading of the window to the utterance's end.

        What is committed stays, and times count from the utterance's start.
        """
        if not self._before and not self._agreement.stable:
            return hypothesis
        merged = self._agreement.merge(hypothesis.text)
        shift_s = (self.begin - self.start) / SAMPLE_RATE
        words = hypothesis.words
        if not merged.is_literal and self._stable_words:
            tail = (word for place, word in _placed(hypothesis) if place >= merged.taken_from)
            words = (*(word for _, word in self._stable_words), *(_later(tail, shift_s)))
        else:
            words = tuple(_later(words, shift_s))
        text = join(self._before, merged.text).rstrip()
        has_words = hypothesis.words or self._words_before
        return replace(
            hypothesis,
            text=text,
            words=tuple(_in_order([*self._words_before, *words])) if has_words else (),
            boundaries=(),
            stable=len(text),
        )

    def widen(self) -> None:
        """Readings are of the whole utterance from now on, whatever the window was."""
        if self.begin == self.start:
            return
        shift = len(join(self._before, self._agreement.stable)) - len(self._agreement.stable)
        before = [(0, word) for word in self._words_before]
        self._stable_words = before + [(at + shift, word) for at, word in self._stable_words]
        self._agreement.lead_in(self._before)
        self.begin, self._before, self._words_before, self._places = self.start, "", [], []

    def note_conclusion(self, end: int, hypothesis: Hypothesis) -> None:
        """The window was read as a final is: if the utterance ends at `end`, that is its text."""
        self._conclusion = end, self.conclude(hypothesis)

    def conclusion(self, end: int) -> Hypothesis | None:
        """The final reading of the utterance that ends at `end`, if there is one already."""
        if self._conclusion is None or self._conclusion[0] != end:
            return None
        return self._conclusion[1]

    def _told(self, merged: Merged) -> Told:
        text = join(self._before, merged.text)
        lead = len(text) - len(merged.text)
        least = len(self._before.rstrip())
        return Told(text=text, stable=lead + merged.stable if merged.stable else least)

    def _note_words(self, hypothesis: Hypothesis, merged: Merged, committed: int) -> None:
        shift = merged.stable - merged.taken_from
        shift_s = (self.begin - self.start) / SAMPLE_RATE
        for place, word in _placed(hypothesis):
            if committed <= place + shift < merged.stable and place + shift >= 0:
                self._stable_words += ((place + shift, late) for late in _later([word], shift_s))

    def _note_places(self, end: int, hypothesis: Hypothesis, *, is_at_pause: bool) -> None:
        keys = [(token.stem_end, token.key) for token in tokens_of(hypothesis.text)]
        found = [
            (boundary.characters, self.begin + round(boundary.at * SAMPLE_RATE))
            for boundary in hypothesis.boundaries
        ]
        if is_at_pause:
            found.append((len(hypothesis.text), end - LEAD_IN))
        for characters, position in found[-MAX_PLACES:]:
            words = tuple(key for stem_end, key in keys if stem_end <= characters)
            is_inside = self.begin < position <= min(end, self._settled_before)
            if words and is_inside:
                self._places.append(_Place(words, position))
        del self._places[:-MAX_PLACES]

    def _trim(self, text: str) -> None:
        """Begin the window at the latest place before which all is committed."""
        places = [place for place in self._places if self._agreement.holds(place.keys)]
        if not places:
            return
        place = max(places, key=lambda each: each.position)
        count = len(place.keys)
        cut = self._agreement.drop(count, text)
        self._before = join(self._before, text[:cut])
        self._words_before += [word for at, word in self._stable_words if at < cut]
        self._stable_words = [(at - cut, word) for at, word in self._stable_words if at >= cut]
        self._places = [
            _Place(other.keys[count:], other.position)
            for other in self._places
            if other.position > place.position and other.keys[:count] == place.keys
        ]
        self.begin = place.position


def _later(words: Iterator[Word] | tuple[Word, ...] | list[Word], by_s: float) -> Iterator[Word]:
    for word in words:
        yield replace(word, start=word.start + by_s, end=word.end + by_s)


def _in_order(words: list[Word]) -> Iterator[Word]:
    """Words of several readings, which may differ in when they were: none begins before another
    that stands before it."""
    latest = 0.0
    for word in words:
        latest = max(latest, word.start)
        yield replace(word, start=latest, end=max(latest, word.end))


def _placed(hypothesis: Hypothesis) -> Iterator[tuple[int, Word]]:
    """Each word with where it stands in the text; a word that the text lacks is left out."""
    place = 0
    for word in hypothesis.words:
        found = hypothesis.text.find(word.word, place)
        if found >= 0:
            yield found, word
            place = found + len(word.word)
