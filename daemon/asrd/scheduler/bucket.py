"""A token bucket: how much may pass in the long run, and how much at once. Pure.

Tokens come at a steady rate up to `burst`, and what passes takes its amount. An amount larger than
the burst passes when the bucket is full and leaves a debt behind, so anything passes in the end,
and in the long run no more than the rate does.

A bucket that has run dry is given time: nothing passes before it holds `refill` again. Otherwise a
sender that is a little too fast would have every few pieces refused for ever, which leaves shreds.
"""

EARLY_S = 1e-6
"""How much too early counts as in time. Without it, rounding could make whoever waited exactly as
long as he was told wait again, for no time at all. What comes early is owed, so none is gained."""


class TokenBucket:
    """One bucket; it begins full."""

    def __init__(
        self, rate_per_s: float, burst: float, now_s: float, *, refill: float = 0.0
    ) -> None:
        """`rate_per_s` and `burst` are above 0, in whatever unit amounts are in, and so is
        `refill`, of which no more counts than the burst."""
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._refill = min(refill, burst)
        self._is_dry = False
        self._tokens = burst
        self._latest_s = now_s

    def take(self, amount: float, now_s: float) -> float:
        """Take an amount, which is above 0: 0.0 when it was taken, else the seconds until it can
        be, and nothing is taken.

        A time before the latest is taken as no time.
        """
        passed_s = max(now_s - self._latest_s, 0.0)
        self._latest_s = max(now_s, self._latest_s)
        self._tokens = min(self._tokens + passed_s * self._rate_per_s, self._burst)
        least = min(amount, self._burst)
        wanted = max(least, self._refill) if self._is_dry else least
        if (wanted - self._tokens) / self._rate_per_s > EARLY_S:
            self._is_dry = True
            return (max(least, self._refill) - self._tokens) / self._rate_per_s
        self._is_dry = False
        self._tokens -= amount
        return 0.0
