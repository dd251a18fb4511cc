"""Streams move to the next model of their chain while their own is unavailable, and back.

A model counts as unavailable when its provider's circuit breaker is not closed, or when it could
not be brought up. One that is only being restarted is waited for: that takes less time than another
model takes to load.
"""

from collections.abc import Callable, Iterable, Sequence

from asrd.clock import Clock
from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.server.served import ServedStream

Move = Callable[[ServedStream, int], None]


def place_in(pool: ModelPool, chain: Sequence[ModelKey | None], level: int) -> int:
    """The place in the chain that a stream should have that has `level` now.

    The first that can be had. An earlier one has to be up for a stream to move back; a later one
    is loaded when it is needed. Where none can be had, the stream stays and hears of it.
    """
    for place, key in enumerate(chain):
        if key is None:
            continue
        if pool.is_up(key) if place < level else not pool.has_failed(key):
            return place
    return level


class Failover:
    """Keeps every stream on the best model that it can have. `move` moves one."""

    def __init__(self, pool: ModelPool, clock: Clock, retry_s: float, move: Move) -> None:
        self._pool = pool
        self._clock = clock
        self._retry_s = retry_s
        self._move = move
        self._tried_at_s: dict[ModelKey, float] = {}

    def place(self, served: ServedStream) -> None:
        """Move a stream if it should be elsewhere."""
        place = place_in(self._pool, served.chain, served.level)
        if place != served.level:
            self._move(served, place)

    def check(self, streams: Iterable[ServedStream]) -> None:
        """Try now and then to bring up what streams had to leave. To be called regularly."""
        left = {key for served in streams for key in served.chain[: served.level] if key}
        now_s = self._clock.now_s()
        for key in left:
            if now_s - self._tried_at_s.setdefault(key, now_s) >= self._retry_s:
                self._tried_at_s[key] = now_s
                if not self._pool.is_up(key):
                    self._pool.resident(key).begin()
        self._tried_at_s = {key: self._tried_at_s[key] for key in left}
