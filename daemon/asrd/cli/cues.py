"""Words laid along the text they belong to, and short subtitle cues made of them. No I/O."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from asrd.wire.messages import WordTime

MOST_WORDS = 7
MOST_CELLS = 42
"""What a line of subtitles holds. Characters of East Asia are two cells wide."""
MOST_S = 3.0
PAUSE_S = 0.5
"""A silence after which the next word is another cue's."""
FEWEST_WORDS_BEFORE_A_MARK = 3
"""Punctuation ends no cue that is shorter: an abbreviation, or the "no" of "no, I think not"."""

_MARKS = tuple(".!?…,;:。！？，、；：")  # noqa: RUF001 - the full-width ones are meant
_CLOSING = "\"')]}»”’」』"  # noqa: RUF001 - quotes of several languages
_REACH_CHARACTERS = 64
"""How much text may lie between two words: what an engine wrote and gave no time for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A word as it stands in its text, and when it was said, in milliseconds.

    `text` has the punctuation and the blank that follow it: put together, the texts of all words
    are the whole text.
    """

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """Text that is shown from one time to another, in milliseconds."""

    text: str
    start_ms: int
    end_ms: int


def milliseconds(seconds: float) -> int:
    """The nearest whole millisecond, none of them before the beginning."""
    return max(0, round(seconds * 1000))


def spoken_words(
    text: str, words: Sequence[WordTime], *, start_ms: int, end_ms: int
) -> list[Spoken]:
    """Cut `text` where its words begin, be there blanks between them or not.

    Times are held inside `start_ms` to `end_ms`, and each word starts no earlier than the one
    before. A word that is not in the text is left out; what has no time of its own goes with the
    word before it. Empty where no word is in the text.
    """
    places: list[tuple[int, WordTime]] = []
    reached = 0
    for word in words:
        found = _find(text, word.word.strip(), reached)
        if found is not None:
            places.append((_cut(text, reached, found) if places else 0, word))
            reached = found + len(word.word.strip())
    spoken: list[Spoken] = []
    earliest_ms = start_ms
    edges = [begin for begin, _ in places] + [len(text)]
    for (begin, word), end in zip(places, edges[1:], strict=True):
        earliest_ms = min(max(milliseconds(word.start), earliest_ms), end_ms)
        until_ms = min(max(milliseconds(word.end), earliest_ms), end_ms)
        spoken.append(Spoken(text=text[begin:end], start_ms=earliest_ms, end_ms=until_ms))
    return spoken


def cut_into_cues(spoken: Sequence[Spoken], *, start_ms: int, end_ms: int) -> list[Cue]:
    """Cues of a few words each, one after the other from `start_ms` to `end_ms`.

    A cue ends at a pause, behind punctuation, and before it has more than `MOST_WORDS`,
    `MOST_CELLS` or `MOST_S`. It may have more where the times leave none for another cue. It is
    shown until the next begins, or to its last word's end where a pause follows.
    """
    groups: list[list[Spoken]] = []
    shown_ms = start_ms
    for word in spoken:
        has_time = shown_ms < word.start_ms < end_ms
        if not groups or (has_time and _begins_cue(word, groups[-1], shown_ms)):
            shown_ms = word.start_ms if groups else start_ms
            groups.append([])
        groups[-1].append(word)
    return list(_timed(groups, start_ms, end_ms))


def _timed(groups: list[list[Spoken]], start_ms: int, end_ms: int) -> Iterator[Cue]:
    """The first begins where the speech does and the last ends there: the detector of speech knows
    these better than the engine."""
    starts = [start_ms] + [group[0].start_ms for group in groups[1:]] + [end_ms]
    for group, (begin_ms, next_ms) in zip(groups, pairwise(starts), strict=False):
        spoken_until_ms = max(word.end_ms for word in group)
        is_last = group is groups[-1]
        is_paused = begin_ms < spoken_until_ms <= next_ms - PAUSE_S * 1000 and not is_last
        yield Cue(
            text=_joined(group),
            start_ms=begin_ms,
            end_ms=spoken_until_ms if is_paused else next_ms,
        )


def _begins_cue(word: Spoken, cue: list[Spoken], shown_ms: int) -> bool:
    longer = _joined([*cue, word])
    is_paused = word.start_ms - cue[-1].end_ms >= PAUSE_S * 1000
    is_full = (
        len(longer.split()) > MOST_WORDS
        or _cells(longer) > MOST_CELLS
        or word.end_ms - shown_ms > MOST_S * 1000
    )
    is_marked = len(cue) >= FEWEST_WORDS_BEFORE_A_MARK and _joined(cue).rstrip(_CLOSING).endswith(
        _MARKS
    )
    return is_paused or is_full or is_marked


def _joined(words: Sequence[Spoken]) -> str:
    return "".join(word.text for word in words).strip()


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def _find(text: str, word: str, reached: int) -> int | None:
    """Where the word stands next: right here, or at the beginning of a word that is near."""
    if not word:
        return None
    here = reached + len(text[reached:]) - len(text[reached:].lstrip())
    if text.startswith(word, here):
        return here
    beginning = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    match = beginning.search(text, reached, reached + len(word) + _REACH_CHARACTERS)
    return match.start() if match else None


def _cut(text: str, after: int, before: int) -> int:
    """Where a word's own text begins: behind the last blank of what lies between two words, so that
    an opening quote is the next word's and a comma the one's before."""
    between = text[after:before]
    blank = max((at for at, each in enumerate(between) if each.isspace()), default=-1)
    return after + blank + 1 if blank >= 0 else before
