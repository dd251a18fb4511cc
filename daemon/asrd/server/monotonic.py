"""The machine's clock, for everything that is handed one."""

import time
from collections.abc import Callable

import structlog

from asrd.scheduler.measures import LAG_BOUNDS_S, Histogram

log = structlog.get_logger()

LONGEST_TICK_S = 1.0
"""The most that may pass between two looks. The daemon looks twice a second at the least, so
whatever is beyond that it has slept through."""


class MonotonicClock:
    """Counts the seconds in which the daemon was awake, whatever happens to the wall clock.

    While the process is stopped, or the machine suspended, it reads no socket and answers nobody.
    Were that time counted, the first look afterwards would find every client idle, every reader
    stalled and every greeting overdue. So a look that comes late counts as one in time.

    A loop that was held up for longer than a tick looks the same from here, and it read no socket
    either: that time counts for nothing as well. Latencies that were under way then are told too
    short by as much; `LoopWatch` says so in the log where it can tell.

    Of one thread only: two that look at the same clock can make it go back for one of them.
    """

    def __init__(self, read: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._latest_s = read()
        self._slept_s = 0.0

    def now_s(self) -> float:
        """Seconds since an arbitrary fixed moment; never goes back for the thread it belongs to."""
        latest_s, self._latest_s = self._latest_s, self._read()
        if self._latest_s - latest_s > LONGEST_TICK_S:
            self._slept_s += self._latest_s - latest_s - LONGEST_TICK_S
        return self._latest_s - self._slept_s


class LoopWatch:
    """Tells in the log when the loop was held up by its own work, and not by a sleep.

    A process that is stopped or suspended uses no CPU time; a thread that computes does. Where the
    thread that looks has used more than half of a late look's time, it was not asleep. What waits
    for a disk uses none either, so that remains untold.

    `lag` is how much later than `every_s` the looks came, whatever the reason.
    """

    def __init__(
        self,
        read: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.thread_time,
        *,
        every_s: float = LONGEST_TICK_S / 2,
    ) -> None:
        self.lag = Histogram(LAG_BOUNDS_S)
        self._every_s = every_s
        self._read = read
        self._used = used
        self._latest_s, self._latest_used_s = read(), used()

    def look(self) -> None:
        """To be called at least twice a second, by the loop's thread."""
        now_s, used_s = self._read(), self._used()
        passed_s, worked_s = now_s - self._latest_s, used_s - self._latest_used_s
        self._latest_s, self._latest_used_s = now_s, used_s
        self.lag.add(max(0.0, passed_s - self._every_s))
        if passed_s > LONGEST_TICK_S and worked_s > passed_s / 2:
            log.warning("loop_blocked", seconds=round(passed_s, 2))
