"""The machine's clock, for everything that is handed one."""

import time


class MonotonicClock:
    """Counts seconds whatever happens to the wall clock; stands still in suspend on Linux."""

    def now_s(self) -> float:
        """Seconds since an arbitrary fixed moment; never goes back."""
        return time.monotonic()
