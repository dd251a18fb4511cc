"""The daemon's end: every stream finished, every client told, and never later than promised.

Three things bound it. Streams have the drain timeout. Who has to be told the last of it has the
rest of that time, and a second at the least. And a thread of its own ends the process when all
that has not brought it about, whatever hangs.
"""

import asyncio
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from asrd.clock import Clock
from asrd.exit_codes import Exit
from asrd.server import logs
from asrd.server.hub import Hub
from asrd.server.monotonic import LONGEST_TICK_S, MonotonicClock
from asrd.server.peer import Peer
from asrd.server.served import ServedStream

log = structlog.get_logger()

LAST_WORDS_S = 1.0
"""After the last stream: how long connections may take to be sent their last frames."""

REPLAY_LOOK_S = 0.02

STOP_S = 1.8
"""How much later than the drain timeout the process ends at the latest, hung or not."""


async def drain(hub: Hub, peers: Callable[[], list[Peer]], everybody_left: asyncio.Event) -> None:
    """Finish every stream within the drain timeout, then say goodbye. A bug in one costs that one.

    `peers` gives every connected peer; `everybody_left` is set while there is none.
    """
    hub.is_draining = True
    logs.keep_ends()
    until_s = hub.clock.now_s() + hub.config.limits.drain_timeout_s
    log.info("draining", streams=len(hub.all_streams))
    for served in hub.all_streams:
        _step(hub, served, served.stream.drain)
    await _wait(hub.no_streams, hub.clock, until_s)
    cut_off_rest(hub)
    while any(peer.outbox.is_replaying for peer in peers()) and hub.clock.now_s() < until_s:  # noqa: ASYNC110
        await asyncio.sleep(REPLAY_LOOK_S)  # they would miss what their sessions keep for them
    for peer in peers():
        try:
            peer.finish()
        except Exception:  # a bug, whichever: the others hear the end all the same
            log.exception("goodbye_failed", **peer.names)
    until_s = max(until_s, hub.clock.now_s() + LAST_WORDS_S)
    await _wait(everybody_left, hub.clock, until_s)


def cut_off_rest(hub: Hub) -> None:
    """End every stream that has not ended, however the end came: each leaves its line."""
    hub.is_draining = True
    logs.keep_ends()
    for served in hub.all_streams:
        log.warning("stream_cut_off", **served.names)
        _step(hub, served, partial(served.stream.cancel, "shutdown"))


def _step(hub: Hub, served: ServedStream, change: Callable[[], None]) -> None:
    try:
        with hub.containing(served):
            change()
            hub.advance(served)
    except Exception:  # not even its failure could be told
        log.exception("drain_step_failed", **served.names)


async def _wait(event: asyncio.Event, clock: Clock, until_s: float) -> None:
    """Wait for an event until a moment; time that the daemon sleeps through does not count."""
    while not event.is_set() and (left_s := until_s - clock.now_s()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left_s, LONGEST_TICK_S / 2)):
                await event.wait()


class Guard:
    """Ends the process from a thread of its own when its end takes too long.

    What hangs may be a plugin in the loop's thread, a call that no signal interrupts, or a thread
    that Python would wait for. Workers end by themselves when the core is gone.
    """

    def __init__(self) -> None:
        self.last: Callable[[], object] = lambda: None
        """Called before the process is ended, should it come to that."""
        self.code: int = Exit.OK
        """What the process ends with then: whoever finds that another is due says so here."""
        self._condition = threading.Condition()
        self._is_over = False
        self._asked_s = math.inf
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *_: object) -> None:
        """All has ended as it should."""
        with self._condition:
            self._is_over = True
            self._condition.notify()

    def begin(self, within_s: float) -> None:
        """The end has begun. Told again, the earlier moment counts. From any thread."""
        with self._condition:
            self._asked_s = min(self._asked_s, within_s)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="end", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _watch(self) -> None:
        clock = MonotonicClock()  # its own: see there
        until_s = math.inf
        with self._condition:
            while not self._is_over:
                asked_s, self._asked_s = self._asked_s, math.inf
                until_s = min(until_s, clock.now_s() + asked_s)
                if (left_s := until_s - clock.now_s()) <= 0:
                    break
                self._condition.wait(min(left_s, LONGEST_TICK_S / 2))
            else:
                return
        try:
            log.error("end_overdue", exit_code=self.code)
            self.last()
            logs.flush()
        finally:
            os._exit(self.code)
