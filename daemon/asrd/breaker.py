"""A circuit breaker: pure, time is handed in. Providers have one each, and so has a client.

    closed ──failures in a row──► open ──its time is over──► half-open ──probe succeeds──► closed
                                    ▲                            └──────probe fails──────► open

While it is open nothing is tried, so that a provider's streams move on at once instead of each
finding out for itself, and a daemon that is down is left alone. Michael Nygard, "Release It!",
2007, describes the pattern.
"""

from enum import StrEnum


class BreakerState(StrEnum):
    """Whether work may pass."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Counts failures in a row.

    Args:
        failures: how many open it.
        open_s: how long it stays open before it may be probed.
    """

    def __init__(self, *, failures: int, open_s: float) -> None:
        self._failures = failures
        self._open_s = open_s
        self._failed = 0
        self._opened_at_s = 0.0
        self.state = BreakerState.CLOSED
        self.has_failed_probe = False
        """Whether it was tried again since it opened, in vain."""

    def succeed(self) -> bool:
        """Work was done. Returns whether that changed the state: late work of before does not."""
        self._failed = 0
        return False

    def fail(self, now_s: float) -> bool:
        """Work failed. Returns whether that opened it."""
        self._failed += 1
        if self.state is BreakerState.CLOSED and self._failed >= self._failures:
            self._open(now_s)
            return True
        return False

    def is_probe_due(self, now_s: float) -> bool:
        """Whether it has been open for long enough to be tried."""
        return self.state is BreakerState.OPEN and now_s - self._opened_at_s >= self._open_s

    def until_probe_s(self, now_s: float) -> float:
        """Seconds until it may be tried; 0.0 where it is not open."""
        if self.state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, self._opened_at_s + self._open_s - now_s)

    def begin_probe(self) -> None:
        """One attempt decides now."""
        self.state = BreakerState.HALF_OPEN

    def end_probe(self, now_s: float, *, has_succeeded: bool) -> None:
        """What the probe showed; means nothing unless one was under way."""
        if self.state is not BreakerState.HALF_OPEN:
            return
        if has_succeeded:
            self.state = BreakerState.CLOSED
            self._failed = 0
            self.has_failed_probe = False
        else:
            self._open(now_s)
            self.has_failed_probe = True

    def _open(self, now_s: float) -> None:
        self.state = BreakerState.OPEN
        self._opened_at_s = now_s
