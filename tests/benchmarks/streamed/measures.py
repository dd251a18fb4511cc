"""What somebody who reads along sees: how late text comes, and how much of it changes. Pure.

Times are those of the client's clock. `sent_at_s(position_s)` says when the audio before a position
of the stream had been sent, None where it never was.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from asrd.cli.cues import milliseconds, spoken_words
from asrd.wire import messages as wire
from support.errors import plain_words

SentAt = Callable[[float], float | None]

SAME_START_S = 0.05
"""A partial is of the segment that bears its id and begins where it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One utterance as it was told: its partials, and its segment, where it became one."""

    partials: tuple[tuple[float, wire.Partial], ...]
    segment: tuple[float, wire.Segment] | None

    @property
    def text(self) -> str:
        """What stands in the end; nothing where no segment came."""
        return self.segment[1].text if self.segment else ""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen of any number of utterances. `shown` and `changed` are words of partials,
    `promises` and `broken` stable prefixes. `unpaused` segments came before their trailing silence
    was sent: they were split for their length."""

    segments: int = 0
    unpaused: int = 0
    partials: int = 0
    delays_s: list[float] = field(default_factory=list)
    beyond_decode_s: list[float] = field(default_factory=list)
    first_partials_s: list[float] = field(default_factory=list)
    stable_ages_s: list[float] = field(default_factory=list)
    shown: int = 0
    changed: int = 0
    promises: int = 0
    broken: int = 0

    def add(
        self, told: Told, sent_at_s: SentAt, endpointing_s: float, decode_s: float | None
    ) -> None:
        """Count one utterance in, whose window takes `decode_s` to decode on a machine at rest."""
        self.segments += told.segment is not None
        self.partials += len(told.partials)
        delay_s = finalisation_delay_s(told, sent_at_s, endpointing_s)
        if delay_s is not None:
            self.delays_s.append(delay_s)
            if decode_s is not None:
                self.beyond_decode_s.append(delay_s - decode_s)
        elif told.segment is not None:
            self.unpaused += 1
        first_s = first_partial_s(told, sent_at_s)
        if first_s is not None:
            self.first_partials_s.append(first_s)
        self.stable_ages_s += stable_ages_s(told, sent_at_s)
        shown, changed = changed_words(told)
        promises, broken = broken_promises(told)
        self.shown += shown
        self.changed += changed
        self.promises += promises
        self.broken += broken


def utterances_told(
    partials: Sequence[tuple[float, wire.Partial]], segments: Sequence[tuple[float, wire.Segment]]
) -> list[Told]:
    """The partials of one stream with the segments that they became."""
    open_ones: defaultdict[tuple[int, float], list[tuple[float, wire.Partial]]] = defaultdict(list)
    for at_s, partial in partials:
        open_ones[partial.id, partial.start].append((at_s, partial))
    told = []
    for at_s, segment in segments:
        keys = [
            (number, start)
            for number, start in open_ones
            if number == segment.id and abs(start - segment.start) <= SAME_START_S
        ]
        before = sorted(
            (each for key in keys for each in open_ones.pop(key)), key=lambda each: each[0]
        )
        told.append(Told(partials=tuple(before), segment=(at_s, segment)))
    return told + [Told(partials=tuple(left), segment=None) for left in open_ones.values()]


def finalisation_delay_s(told: Told, sent_at_s: SentAt, endpointing_s: float) -> float | None:
    """From when the silence behind the utterance was long enough to the arrival of its segment.

    None where it came before that, or no such silence was sent.
    """
    if told.segment is None:
        return None
    at_s, segment = told.segment
    ended_s = sent_at_s(segment.end + endpointing_s)
    return at_s - ended_s if ended_s is not None and ended_s <= at_s else None


def first_partial_s(told: Told, sent_at_s: SentAt) -> float | None:
    """From when the beginning of the speech was sent to the first text of it."""
    for at_s, partial in told.partials:
        began_s = sent_at_s(partial.start)
        if partial.text and began_s is not None:
            return at_s - began_s
    return None


def stable_ages_s(told: Told, sent_at_s: SentAt) -> list[float]:
    """At each partial, how long ago the end of its last stable word was sent."""
    if told.segment is None:
        return []
    ages_s = []
    for at_s, partial in told.partials:
        if partial.stable:
            spoken_s = sent_at_s(time_of(partial.stable, told.segment[1]))
            if spoken_s is not None:
                ages_s.append(at_s - spoken_s)
    return ages_s


def time_of(characters: int, segment: wire.Segment) -> float:
    """When the first so many characters of a segment had been said: the end of the last word that
    begins among them, where words have times, else in proportion to the characters."""
    words = spoken_words(
        segment.text,
        segment.words or [],
        start_ms=milliseconds(segment.start),
        end_ms=milliseconds(segment.end),
    )
    begin, end_ms = 0, None
    for word in words:
        if begin < characters:
            end_ms = word.end_ms
        begin += len(word.text)
    if end_ms is not None:
        return end_ms / 1000
    share = min(1.0, characters / len(segment.text)) if segment.text else 1.0
    return segment.start + share * (segment.end - segment.start)


def changed_words(told: Told) -> tuple[int, int]:
    """Words that partials showed, and how many of them do not stand at their place in the end.

    Case and punctuation do not count; a word counts once for each partial that showed it.
    """
    final = plain_words(told.text).split()
    shown = changed = 0
    for _, partial in told.partials:
        words = plain_words(partial.text).split()
        shown += len(words)
        changed += sum(
            place >= len(final) or final[place] != word for place, word in enumerate(words)
        )
    return shown, changed


def broken_promises(told: Told) -> tuple[int, int]:
    """Stable prefixes that were told, and how many of them the next partial or the segment does not
    begin with, to the character."""
    prefixes = [partial.text[: partial.stable] for _, partial in told.partials]
    later = [*prefixes, told.text][1:]
    broken = sum(
        not (told.text.startswith(prefix) and after.startswith(prefix))
        for prefix, after in zip(prefixes, later, strict=True)
    )
    return sum(bool(prefix) for prefix in prefixes), broken
