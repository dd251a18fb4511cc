"""What readings of a growing utterance agree on.

LocalAgreement-n (Liu, Spanakis and Niehues 2020; for Whisper, Macháček, Dabre and Bojar 2023,
"Turning Whisper into Real-Time Transcription System"): what the last n readings begin with alike is
committed, and never changes any more. A later reading that says it otherwise is laid beside what is
committed, and only what lies behind that is taken from it.

Words are compared as they are written. Only behind the last that was agreed on, where one reading
stops and another goes on, punctuation may differ: there the word alone is committed.
"""

import re
import unicodedata
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

MAX_ALIGNED = 250_000
"""Pairs of words that are compared to find a place. No window of speech has so many."""

# Scripts without blanks between words: each character counts as a word there.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_MARKS = "".join(
    chr(code) for code in range(0x0E00, 0x3100) if unicodedata.category(chr(code))[0] == "M"
)
_TOKENS = re.compile(f"[{_UNSPACED}][{_MARKS}]*|[^\\s{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")


@dataclass(frozen=True, slots=True)
class Token:
    """A word in a text: [begin, end), of which what follows `stem_end` is punctuation.

    `key` is what is left of it in lower case without punctuation, and never empty.
    """

    key: str
    stem: str
    whole: str
    begin: int
    stem_end: int


def tokens_of(text: str) -> list[Token]:
    """The words of a text; what is nothing but punctuation is none."""
    found = []
    for match in _TOKENS.finditer(text):
        whole = match.group()
        letters = [place for place, char in enumerate(whole) if _is_letter(char)]
        if any(whole[place].isalnum() for place in letters):
            stem = whole[: letters[-1] + 1]
            key = "".join(whole[place] for place in letters).casefold()
            begin = match.start()
            found.append(Token(key, stem, whole, begin, begin + len(stem)))
    return found


def join(before: str, behind: str) -> str:
    """Two pieces of text behind each other, with a blank where their script has one."""
    if not before or not behind:
        return before or behind
    has_blank = before[-1].isspace() or behind[0].isspace()
    is_unspaced = _ends_unspaced(before) or _IS_UNSPACED.match(behind)
    return before + behind if has_blank or is_unspaced else f"{before} {behind}"


def _ends_unspaced(text: str) -> bool:
    letter = next((char for char in reversed(text) if _is_letter(char)), "")
    return _IS_UNSPACED.match(letter) is not None


def _is_letter(char: str) -> bool:
    """Whether it makes a word what it is: a vowel sign does, which stands behind its consonant."""
    return char.isalnum() or unicodedata.category(char)[0] == "M"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A reading behind what is committed: the first `stable` characters of `text` are that.

    `is_literal`: the reading itself begins with them. `tail` are the words behind; what the reading
    has from `taken_from` on is what `text` has from `stable` on.
    """

    text: str
    stable: int
    tail: Sequence[Token]
    taken_from: int
    is_literal: bool


class LocalAgreement:
    """Commits the words that `n` readings in a row begin with. With n = 1 the last is believed."""

    def __init__(self, n: int) -> None:
        self.stable = ""
        self._keys: list[str] = []  # of the words in `stable`
        self._before: deque[Sequence[Token]] = deque(maxlen=n - 1)  # words behind `stable`

    def holds(self, keys: Sequence[str]) -> bool:
        """Whether what is committed begins with these words."""
        return self._keys[: len(keys)] == list(keys)

    def merge(self, text: str) -> Merged:
        """Lay a reading beside what is committed."""
        tokens = tokens_of(text)
        count = _align(self._keys, [token.key for token in tokens])
        tail = tokens[count:]
        taken_from, is_glued = 0, False
        if count and _is_letter(self.stable[-1]):  # the punctuation behind it is still open
            taken_from = tokens[count - 1].stem_end
            is_glued = not text[taken_from : taken_from + 1].isalnum()
        elif self._keys:
            taken_from = tail[0].begin if tail else len(text)
        behind = text[taken_from:]
        merged = self.stable + behind if is_glued else join(self.stable, behind)
        return Merged(
            text=merged,
            stable=len(merged) - len(behind),
            tail=tail,
            taken_from=taken_from,
            is_literal=merged == text,
        )

    def add(self, text: str, *, own_stable: int = 0, may_agree: bool = True) -> Merged:
        """Take a reading in, and commit what is agreed on now.

        Args:
            text: the reading of the whole window.
            own_stable: characters of it that the engine itself will not change.
            may_agree: False: what is agreed on is not committed, but the reading counts.

        Returns:
            The reading, with `stable` as it is now.
        """
        merged = self.merge(text)
        agreed = self._agreed(merged.tail) if may_agree else 0
        # The last word of a text may be no more than its beginning.
        told = sum(1 for token in merged.tail[:-1] if token.stem_end <= own_stable)
        count = max(agreed, told)
        shift = merged.stable - merged.taken_from
        stable = merged.stable
        if count:
            stable = merged.tail[count - 1].stem_end + shift
            self.stable = merged.text[:stable]
            # What is put together may be one word now.
            self._keys = [token.key for token in tokens_of(self.stable)]
        elif len(self.stable) < stable:  # no more than the blank behind it
            stable = len(self.stable)
        self._before = deque((each[count:] for each in self._before), self._before.maxlen)
        self._before.append(merged.tail[count:])
        return Merged(
            text=merged.text,
            stable=stable,
            tail=merged.tail[count:],
            taken_from=stable - shift,
            is_literal=merged.is_literal,
        )

    def lead_in(self, text: str) -> None:
        """Readings begin with this text from now on, which is committed and stands before the rest:
        the opposite of `drop`."""
        self.stable = join(text, self.stable).rstrip()
        self._keys = [token.key for token in tokens_of(text)] + self._keys

    def drop(self, words: int, text: str) -> int:
        """Forget the first words of what is committed: they lie before the window from now on.

        Args:
            words: how many.
            text: what `add` gave last, which begins with what is committed.

        Returns:
            The characters of `text` that go: those words, and the punctuation behind them.
        """
        tokens = tokens_of(text)
        end = tokens[words].begin if words < len(tokens) else len(text)
        self.stable = self.stable[end:]
        del self._keys[:words]
        return end

    def _agreed(self, tail: Sequence[Token]) -> int:
        """How many words all of the last readings begin with, this one among them."""
        if len(self._before) < (self._before.maxlen or 0):
            return 0
        agreed = len(tail)
        for other in self._before:
            same = sum(1 for _ in takewhile(_is_same, zip(tail, other, strict=False)))
            is_cut = same < min(len(tail), len(other)) and tail[same].stem == other[same].stem
            agreed = min(agreed, same + is_cut)
        return agreed


def _is_same(pair: tuple[Token, Token]) -> bool:
    return pair[0].whole == pair[1].whole


def _align(known: Sequence[str], heard: Sequence[str]) -> int:
    """How many of the words of `heard` say what `known` says: the beginning of `heard` with the
    least edit distance (Levenshtein 1966) from it, and of those the one most equal in length."""
    if list(islice(heard, len(known))) == list(known):
        return len(known)
    if len(known) * len(heard) > MAX_ALIGNED:
        return min(len(known), len(heard))
    row = list(range(len(heard) + 1))
    for above, word in enumerate(known):
        diagonal, row[0] = row[0], above + 1
        for place, other in enumerate(heard, start=1):
            cost = min(diagonal + (word != other), row[place] + 1, row[place - 1] + 1)
            diagonal, row[place] = row[place], cost
    return min(range(len(row)), key=lambda place: (row[place], abs(place - len(known))))
