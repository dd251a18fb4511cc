"""Signs of life, given only while the scheduler moves, and who acts where they stay out.

A loop that turns is no proof: it may turn while no decode ever begins. So a beat follows a look of
the hub's that has come through and has left nothing in the queue that could begin at once. A slow
engine, a model that loads, an open circuit breaker or a full lock leave nothing that could, so they
never count as stuck.

The beats go to the service manager, where it watches us (`WatchdogSec=`); it then ends the process
and starts it again. Where it does not, they go to `Standstill`, which ends it by itself.
"""

import time
from collections.abc import Callable

import structlog

from asrd.scheduler.scheduler import Scheduler
from asrd.server.notify import ServiceManager
from asrd.server.standstill import Standstill

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
"""How often the daemon looks after itself."""

BEATS = 3
"""In the time that the manager waits for one: two may be lost."""


class Watchdog:
    """Gives a beat, at most every `every_s`, when it looks and finds that the scheduler moves."""

    def __init__(
        self,
        scheduler: Scheduler,
        beat: Callable[[], None],
        every_s: float = 0.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scheduler = scheduler
        self._beat = beat
        self._every_s = every_s
        self._now_s = now_s
        self._latest_s = now_s() - every_s
        self._is_stuck = False

    def look(self) -> None:
        """To be called every half second, behind a look of the hub's that raised nothing.

        The hub has just begun whatever may begin: what could still is begun by nobody any more.
        """
        was_stuck, self._is_stuck = self._is_stuck, self._scheduler.could_begin
        if self._is_stuck:
            if not was_stuck:
                log.error("scheduler_stuck", waiting=self._scheduler.waiting)
            return
        # At the next look it would be too late by as much.
        if self._now_s() - self._latest_s > self._every_s - LOOK_EVERY_S:
            self._latest_s = self._now_s()
            self._beat()


def watchdog_of(
    scheduler: Scheduler, manager: ServiceManager, standstill: Standstill | None
) -> Watchdog:
    """A watchdog whose beats go to the manager, if it watches, else to `standstill`."""
    if manager.watchdog_s is not None:
        every_s = manager.watchdog_s / BEATS
        if every_s < LOOK_EVERY_S:
            log.warning("watchdog_too_short", seconds=manager.watchdog_s, least_s=1.5)
        return Watchdog(scheduler, manager.alive, every_s)
    if standstill is not None:
        return Watchdog(scheduler, standstill.beat)
    return Watchdog(scheduler, lambda: None)
