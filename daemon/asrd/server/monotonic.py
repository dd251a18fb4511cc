"""The machine's clock, for everything that is handed one."""

import time
from collections.abc import Callable

LONGEST_TICK_S = 1.0
"""The most that may pass between two looks. The daemon looks twice a second at the least, so
whatever is beyond that it has slept through."""


class MonotonicClock:
    """Counts the seconds in which the daemon was awake, whatever happens to the wall clock.

    While the process is stopped, or the machine suspended, it reads no socket and answers nobody.
    Were that time counted, the first look afterwards would find every client idle, every reader
    stalled and every greeting overdue. So a look that comes late counts as one in time.
    """

    def __init__(self, read: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._latest_s = read()
        self._slept_s = 0.0

    def now_s(self) -> float:
        """Seconds since an arbitrary fixed moment; never goes back."""
        latest_s, self._latest_s = self._latest_s, self._read()
        if self._latest_s - latest_s > LONGEST_TICK_S:
            self._slept_s += self._latest_s - latest_s - LONGEST_TICK_S
        return self._latest_s - self._slept_s
