"""How long a tick of voice activity waits, and beside how many others it may be. Pure.

A call of the worker for many streams costs far less than as many calls, so where many are heard the
next tick begins some milliseconds behind the last. Where few are, it begins at once; and it always
does for a stream that comes alone, for the last tick lies longer back than any wait.
"""

PER_STREAM_S = 0.000_04
LONGEST_S = 0.01
"""With 250 streams and more. It is part of every final's latency."""

SHORTEST_S = 0.001
"""What event loops can tell apart. Below it, with fewer than 25 streams, nobody waits."""

PERIOD_S = 0.25
"""In which streams are counted: the frames of a slow sender are not further apart."""


class Gathering:
    """Counts the streams that are heard."""

    def __init__(self) -> None:
        self._streams: set[int] = set()
        self._count_before = 0
        self._period_began_s = 0.0
        self._tick_began_s = 0.0

    def begin(self, now_s: float) -> None:
        """A tick begins."""
        self._tick_began_s = now_s
        if now_s - self._period_began_s >= PERIOD_S:
            self._count_before = len(self._streams)
            self._streams = set()
            self._period_began_s = now_s

    def count(self, stream: int) -> None:
        """The stream is scored in this tick."""
        self._streams.add(stream)

    @property
    def max_calls(self) -> int:
        """How many calls may be under way at a time.

        Of many streams two: the worker has the next while the core is busy with the answer. Few
        are better off when all that came in the meantime shares one.
        """
        return 2 if self._apart_s >= SHORTEST_S else 1

    def wait_s(self, now_s: float) -> float:
        """How long the next tick has to wait from now on; 0.0 where it may begin."""
        left_s = self._tick_began_s + self._apart_s - now_s
        return left_s if left_s >= SHORTEST_S else 0.0

    @property
    def _apart_s(self) -> float:
        return min(LONGEST_S, max(self._count_before, len(self._streams)) * PER_STREAM_S)
