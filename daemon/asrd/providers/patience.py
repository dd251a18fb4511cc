"""How long a decode may go without progress before its worker counts as hung. Pure.

A plain timer would end long work on a slow machine. So what counts is the time since the last sign
of progress, measured against what decodes of that length took before:

    max(floor, factor * p99 of decodes of that length)

Partials and finals are learnt apart: a partial that an engine reads at a short context, greedily,
takes a fraction of the final of the same audio, and there are many more of them.

Several windows that are read in one call may take as long as one after the other: engines gain by
it, or do not lose much. What such a call took says nothing of a single window, and is not noted.
"""

from bisect import bisect_left
from collections import deque

EDGES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 31.0)
"""Upper edges of the lengths of audio that are told apart; the last takes the longest window."""

KEPT_DECODES = 512

UNKNOWN_S = 60.0
"""The allowance while nothing is known, not even a warm-up."""


class Patience:
    """Learns from decodes what is usual."""

    def __init__(self, *, floor_s: float, factor: float) -> None:
        self._floor_s = floor_s
        self._factor = factor
        self._finals = _History()
        self._partials = _History()

    def note(self, audio_s: float, took_s: float, *, is_partial: bool = False) -> None:
        """A decode of one window of so much audio took so long."""
        (self._partials if is_partial else self._finals).note(audio_s, took_s)

    def allowance_s(self, audio_s: float, windows: int = 1, *, is_partial: bool = False) -> float:
        """How long a decode of so many windows, the longest of so much audio, may show no progress.

        A length that was never decoded is judged by the nearest: by a longer one as it is, by a
        shorter one as if the cost grew in proportion, which is the most that it does. Partials
        that are longer than any before them may take what finals take, too. Finals are never
        judged by partials alone: while none is known, they have a minute at the least.
        """
        finals_s, partials_s = self._finals.usual_s(audio_s), self._partials.usual_s(audio_s)
        if is_partial and self._partials.reaches(audio_s):
            finals_s = None
        elif not is_partial and finals_s is not None:
            partials_s = None
        known_s = [each for each in (finals_s, partials_s) if each is not None]
        allowed_s = self._factor * max(known_s, default=0.0)
        if not known_s or (finals_s is None and not is_partial):
            allowed_s = max(allowed_s, UNKNOWN_S)
        return max(self._floor_s, allowed_s * windows)


class _History:
    """What decodes of one kind took."""

    def __init__(self) -> None:
        self._took_s: list[deque[float]] = [deque(maxlen=KEPT_DECODES) for _ in EDGES_S]
        self._shortest_s = list(EDGES_S)

    def note(self, audio_s: float, took_s: float) -> None:
        bucket = _bucket(audio_s)
        self._took_s[bucket].append(took_s)
        self._shortest_s[bucket] = min(self._shortest_s[bucket], max(audio_s, 0.1))

    def reaches(self, audio_s: float) -> bool:
        """Whether a decode of that length, or of a longer one, is known."""
        return any(self._took_s[_bucket(audio_s) :])

    def usual_s(self, audio_s: float) -> float | None:
        """The most that is usual for the length; None while nothing is known."""
        bucket = _bucket(audio_s)
        shorter = [_p99(self._took_s[each]) for each in range(bucket) if self._took_s[each]]
        if self._took_s[bucket]:
            return max([_p99(self._took_s[bucket]), *shorter])
        for longer in range(bucket + 1, len(EDGES_S)):
            if self._took_s[longer]:
                return max([_p99(self._took_s[longer]), *shorter])
        for known in reversed(range(bucket)):
            if self._took_s[known]:
                scale = max(1.0, audio_s / self._shortest_s[known])
                return max([scale * _p99(self._took_s[known]), *shorter])
        return None


def _bucket(audio_s: float) -> int:
    return min(bisect_left(EDGES_S, audio_s), len(EDGES_S) - 1)


def _p99(values: "deque[float]") -> float:
    ordered = sorted(values)
    return ordered[-(-len(ordered) * 99 // 100) - 1]
