"""Streams move to the next model of their chain while their own is unavailable, and back.

A model counts as unavailable when its provider's circuit breaker is not closed, or when it could
not be brought up. One that is only being restarted is waited for: that takes less time than another
model takes to load.
"""

from collections.abc import Callable, Iterable, Sequence

import structlog

from asrd.clock import Clock
from asrd.providers.catalogue import ModelKey
from asrd.providers.pool import ModelPool
from asrd.server.served import ServedStream

log = structlog.get_logger()


def place_in(pool: ModelPool, chain: Sequence[ModelKey | None], level: int) -> int:
    """The place in the chain that a stream should have that has `level` now.

    The first that can be had. From a model that is well, a stream moves back only to one that is
    up; from one that has failed, to one that has yet to be loaded, too. Where none can be had, the
    first whose work waits instead of being answered with a failure; where there is none of those
    either, the stream stays and hears of it.
    """
    here = {place: key for place, key in enumerate(chain) if key is not None}
    is_lost = level not in here or pool.has_failed(here[level])
    for place, key in here.items():
        if pool.is_up(key) or (not pool.has_failed(key) and (is_lost or place >= level)):
            return place
    return next((place for place, key in here.items() if not pool.takes_work(key)), level)


class Failover:
    """Keeps every stream on the best model that it can have. `moved` is told of each that moves."""

    def __init__(
        self, pool: ModelPool, clock: Clock, retry_s: float, moved: Callable[[ServedStream], None]
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._retry_s = retry_s
        self._moved = moved
        self._tried_at_s: dict[ModelKey, float] = {}

    def place(self, served: ServedStream) -> None:
        """Move a stream if it should be elsewhere."""
        is_staying = self._clock.now_s() < served.stays_until_s
        if is_staying and not self._pool.has_failed(served.key):
            return
        place = place_in(self._pool, served.chain, served.level)
        if place != served.level:
            self._move(served, place)

    def move_on(self, served: ServedStream) -> bool:
        """Let the next model that can be had read a stream; returns whether there is one.

        It stays there for a while, though the one before is well.
        """
        for place, key in enumerate(served.chain):
            if (
                place > max(served.level, len(served.relief))
                and key is not None
                and not self._pool.has_failed(key)
            ):
                served.stays_until_s = self._clock.now_s() + self._retry_s
                self._move(served, place)
                return True
        return False

    def check(self, streams: Iterable[ServedStream]) -> None:
        """Try now and then to bring up what streams had to leave, or have to do without.

        To be called regularly.
        """
        left: set[ModelKey] = set()
        now_s = self._clock.now_s()
        for served in streams:
            if served.stays_until_s and now_s >= served.stays_until_s:
                served.stays_until_s = 0.0
                self.place(served)
            is_lost = self._pool.has_failed(served.key)
            wanted = served.chain if is_lost else served.chain[: served.level]
            left.update(key for key in wanted if key is not None)
        for key in left:
            if now_s - self._tried_at_s.setdefault(key, now_s) >= self._retry_s:
                self._tried_at_s[key] = now_s
                if not self._pool.is_up(key):
                    self._pool.resident(key).begin()
        self._tried_at_s = {key: self._tried_at_s[key] for key in left}

    def _move(self, served: ServedStream, place: int) -> None:
        key = served.chain[place]
        if key is None:
            return
        log.warning("stream_moved", to=str(key), place=place, **served.names)
        self._pool.tenancy.acquire(key)
        self._pool.tenancy.release(served.key)
        served.key, served.level = key, place
        served.summary.moves += 1
        self._pool.resident(key).begin()
        self._moved(served)
