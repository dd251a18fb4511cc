"""The guard against engines that repeat themselves.

Over noise, music and long silence an engine may write one phrase again and again until it has no
room for more. Such a text betrays itself: it can be compressed much better than speech. Where the
same phrase follows itself many times in it, one of them is kept.
"""

import re
import unicodedata
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from asrd.transcript import Boundary, Hypothesis, Word

MAX_COMPRESSION_RATIO = 2.4
"""Bytes of a text over its bytes compressed. More is no speech: Whisper's own threshold, from
Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"."""

LEAST_OCCURRENCES = 4
"""A phrase that follows itself less often may be meant."""

MAX_PHRASE = 64
"""Tokens in the longest phrase looked for: four times as much is more than an engine writes for
one window."""

MAX_WORD_CHARACTERS = 32
"""What is longer without a blank is compared character by character ("aaaaaaa...")."""

_SEARCHED_CHARACTERS = 64
"""How far ahead of the word before it a word is looked for in the text."""

# Tibetan and the scripts of South East Asia, kana, and Chinese characters.
_UNSPACED = (
    "\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_TOKEN = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")


def without_loops(hypothesis: Hypothesis) -> Hypothesis:
    """Cut what an engine has repeated senselessly; the same object where it has not.

    A text is cut where it exceeds `MAX_COMPRESSION_RATIO` and more than half of it repeats the
    phrase just before. The phrase's first occurrence stays. Words, boundaries and `stable` are
    those of what is left; a word that is cut in its middle keeps its times.
    """
    while (shorter := _cut_once(hypothesis)) is not hypothesis:
        hypothesis = shorter  # less than half as long: this ends soon
    return hypothesis


def compression_ratio(text: str) -> float:
    """How much shorter `text` gets by compressing it."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded))


@dataclass(frozen=True, slots=True)
class _Token:
    """A word, or a character where words are not told apart: `begin` to `end` in the text."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Run:
    """A phrase of `period` tokens that repeats itself from token `first` to before token `behind`,
    the last time perhaps in part."""

    period: int
    first: int
    behind: int

    @property
    def repeats(self) -> int:
        """Tokens behind the first occurrence."""
        return self.behind - self.first - self.period


class _Cuts:
    """Stretches of a text to be left out, in order."""

    def __init__(self, stretches: list[tuple[int, int]]) -> None:
        self.stretches = stretches
        self._begins = [begin for begin, _ in stretches]
        self._cut_before = list(accumulate((end - begin for begin, end in stretches), initial=0))

    @property
    def characters(self) -> int:
        return self._cut_before[-1]

    def moved(self, position: int) -> int:
        """Where what stands at `position` is found after the cuts; what is cut, at its cut."""
        cuts_before = bisect_right(self._begins, position)
        if not cuts_before:
            return position
        begin, end = self.stretches[cuts_before - 1]
        return min(position, begin) - self._cut_before[cuts_before - 1] + max(0, position - end)

    def of_text(self, text: str) -> str:
        ends = [0, *(end for _, end in self.stretches)]
        return "".join(
            text[end:begin] for end, begin in zip(ends, [*self._begins, len(text)], strict=True)
        )


def _cut_once(hypothesis: Hypothesis) -> Hypothesis:
    text = hypothesis.text
    if compression_ratio(text) <= MAX_COMPRESSION_RATIO:
        return hypothesis
    cuts = _cuts(text)
    if 2 * cuts.characters <= len(text):
        return hypothesis
    shorter = cuts.of_text(text)
    return replace(
        hypothesis,
        text=shorter,
        words=tuple(_words_left(hypothesis.words, text, cuts, shorter)),
        boundaries=tuple(_boundaries_left(hypothesis.boundaries, cuts)),
        stable=cuts.moved(hypothesis.stable),
    )


def _cuts(text: str) -> _Cuts:
    tokens, identities = _tokens(text)
    stretches: list[tuple[int, int]] = []
    for run in _apart(_runs(identities), len(tokens)):
        last = run.behind - 1
        if run.behind < len(tokens):  # what begins like the phrase and goes on otherwise is no loop
            last -= run.repeats % run.period
        end = tokens[last].end if last < len(tokens) - 1 else len(text)
        stretches.append((tokens[run.first + run.period - 1].end, end))
    return _Cuts(sorted(stretches))


def _tokens(text: str) -> tuple[list[_Token], np.ndarray[tuple[int], np.dtype[np.int32]]]:
    """The text's tokens, and one number for each that equal ones share."""
    tokens: list[_Token] = []
    identities: list[int] = []
    known: dict[str, int] = {}
    numbers: dict[str, int] = {}
    for match in _TOKEN.finditer(text):
        begin, end = match.span()
        step = end - begin if end - begin <= MAX_WORD_CHARACTERS else 1
        for at in range(begin, end, step):
            written = text[at : at + step]
            if written not in known:
                known[written] = numbers.setdefault(_sounding(written), len(numbers))
            tokens.append(_Token(at, at + step))
            identities.append(known[written])
    return tokens, np.array(identities, np.int32)


def _sounding(written: str) -> str:
    """Without case, punctuation and signs; empty where nothing else is written."""
    return "".join(
        character for character in written if unicodedata.category(character)[0] not in "PSC"
    ).casefold()


def _runs(identities: np.ndarray[tuple[int], np.dtype[np.int32]]) -> list[_Run]:
    """Every stretch in which a phrase follows itself often enough, those of a phrase and of its
    doubles alike."""
    runs: list[_Run] = []
    for period in range(1, min(MAX_PHRASE, len(identities) // LEAST_OCCURRENCES) + 1):
        differ = np.flatnonzero(identities[period:] != identities[:-period])
        edges = np.concatenate(([-1], differ, [len(identities) - period]))
        lengths = np.diff(edges) - 1
        for index in np.flatnonzero(lengths >= (LEAST_OCCURRENCES - 1) * period):
            first = int(edges[index]) + 1
            runs.append(_Run(period, first, first + int(lengths[index]) + period))
    return runs


def _apart(runs: list[_Run], tokens: int) -> Iterable[_Run]:
    """The runs that leave out most, of those that share a token."""
    taken = bytearray(tokens)
    for run in sorted(runs, key=lambda run: (-run.repeats, run.period, run.first)):
        if taken.find(1, run.first, run.behind) < 0:
            taken[run.first : run.behind] = b"\1" * (run.behind - run.first)
            yield run


def _words_left(words: Iterable[Word], text: str, cuts: _Cuts, shorter: str) -> Iterable[Word]:
    """Walks the words along the text; one that is not found there goes with what precedes it."""
    walked = 0
    for word in words:
        written = word.word.strip()
        begin = text.find(written, walked, walked + len(written) + _SEARCHED_CHARACTERS)
        if begin < 0:
            begin, written = max(0, walked - 1), ""
        else:
            walked = begin + len(written)
        left = shorter[cuts.moved(begin) : cuts.moved(walked)]
        if len(left) == walked - begin:
            yield word
        elif left:
            yield replace(word, word=word.word.replace(written, left))


def _boundaries_left(boundaries: Iterable[Boundary], cuts: _Cuts) -> Iterable[Boundary]:
    """Each stands before what follows it; of those that a cut brings together, the last is left."""
    left: dict[int, Boundary] = {}
    for boundary in boundaries:
        characters = cuts.moved(boundary.characters)
        left[characters] = replace(boundary, characters=characters)
    return left.values()
