"""Time, handed in.

The pure rooms are given a `Clock`, so that tests move time by hand and never sleep.
"""

from typing import Protocol


class Clock(Protocol):
    """A source of monotonic seconds."""

    def now_s(self) -> float:
        """Seconds since an arbitrary fixed moment; never goes back."""
        ...
