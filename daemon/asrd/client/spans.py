"""Spans of a stream's audio that were told of, each part once."""

Span = tuple[int, int]

MAX_KEPT = 512
"""Spans kept apart. What lies behind the commit is seldom more than a few; the oldest go first."""


class Spans:
    """A set of positions, as spans [start, end) in order that do not touch."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    def add(self, start: int, end: int) -> list[Span]:
        """Add a span; returns the parts of it that were not here before."""
        new: list[Span] = []
        position = start
        for known_start, known_end in self._spans:
            if known_end <= position:
                continue
            if known_start >= end:
                break
            if known_start > position:
                new.append((position, known_start))
            position = known_end
        if position < end:
            new.append((position, end))
        self._join(start, end)
        return new

    def measure(self, start: int, end: int) -> int:
        """How much of [start, end) is in the set."""
        return sum(
            max(0, min(end, known_end) - max(start, known_start))
            for known_start, known_end in self._spans
        )

    def _join(self, start: int, end: int) -> None:
        if start >= end:
            return
        apart = [span for span in self._spans if span[1] < start or span[0] > end]
        joined = [span for span in self._spans if not (span[1] < start or span[0] > end)]
        ends = [start, end, *(edge for span in joined for edge in span)]
        self._spans = sorted([*apart, (min(ends), max(ends))])[-MAX_KEPT:]
