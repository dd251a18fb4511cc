"""The offered load: decode seconds that live streams ask for, per second. Pure.

What was asked for counts with a weight that first rises and then decays: two exponential means,
one fed by the other, each with half of the time constant. Every second asked for counts for one
second in all, at a mean age of the time constant, like a window of twice that length without its
edges. Nothing jumps: a decode of 2 s raises the load of an idle machine to 0.3 at the most, two and
a half seconds later. At the start the load is told too low rather than too high, for it begins at
zero; an overload that is there at once shows itself by the age of what waits.
"""

import math


class LoadGauge:
    """The load of one device group."""

    def __init__(self, *, time_constant_s: float = 5.0) -> None:
        self._half_s = time_constant_s / 2
        self._latest_s: float | None = None
        self._fed = 0.0
        self._load = 0.0

    def note(self, now_s: float, cost_s: float) -> None:
        """Work worth so many seconds of decode time was asked for."""
        self._pass(now_s)
        self._fed += cost_s / self._half_s

    def load(self, now_s: float, slots: float) -> float:
        """Decode seconds asked for per second, over the slots: above 1, the work grows."""
        self._pass(now_s)
        return self._load / slots

    def _pass(self, now_s: float) -> None:
        """Let both means decay; a time before the latest is taken as no time."""
        latest_s = now_s if self._latest_s is None else self._latest_s
        passed = max(now_s - latest_s, 0.0) / self._half_s
        self._latest_s = max(now_s, latest_s)
        left = math.exp(-passed)
        self._load = (self._load + self._fed * passed) * left
        self._fed *= left
