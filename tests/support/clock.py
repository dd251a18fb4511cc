"""Time that stands still until a test moves it."""


class VirtualClock:
    """A `Clock` whose time is set by hand."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """The time that was set last."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass; it never goes back."""
        if seconds < 0:
            raise ValueError(f"time does not go back by {-seconds} s")
        self._now_s += seconds
