"""Time, handed in.

Nothing below the server calls `time` by itself: it is given a `Clock`, so that tests move time
by hand and never sleep.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """A source of monotonic seconds."""

    def now_s(self) -> float:
        """Seconds since an arbitrary fixed moment; never goes back."""
        ...


class MonotonicClock:
    """The machine's own monotonic clock. Wall-clock jumps do not touch it."""

    def now_s(self) -> float:
        """Seconds since an arbitrary fixed moment; never goes back."""
        return time.monotonic()
