"""Keeping a connection alive, and finding out when the daemon behind it stands still."""

import asyncio

from asrd.client.connecting import Timing
from asrd.client.errors import ConnectionLost
from asrd.client.link import Link
from asrd.wire.messages import Ping

MAX_INTERVAL_S = 20.0
"""Between two pings, so that a daemon that stands still is noticed in less than a minute."""

ANSWER_TIMEOUT_S = 30.0
"""Until anything at all is heard. A daemon that lives answers within milliseconds."""

GRACE_S = 1.0
"""For what has come while our own loop stood still, and has not been read yet."""


class Keeper:
    """Says something on a link now and then, and breaks it where nothing is heard.

    The daemon closes connections that are silent. One that is stopped closes nothing.
    """

    def __init__(self, timing: Timing) -> None:
        self._pause = timing.pause
        self._heard = asyncio.Event()

    def heard(self) -> None:
        """The daemon has said something."""
        self._heard.set()

    async def keep(self, link: Link, idle_timeout_s: float) -> None:
        """Keep one link until it ends or is broken off. `idle_timeout_s` is the daemon's; 0: none.

        While the link is not listened to, because a reader is far behind, its silence is ours.
        """
        interval_s = min(idle_timeout_s / 3 or MAX_INTERVAL_S, MAX_INTERVAL_S)
        nothing = asyncio.Event()
        try:
            while True:
                await self._pause(nothing, interval_s)
                if not await self._is_answered(link, interval_s) and link.is_listening:
                    link.abort()
                    return
        except ConnectionLost:
            pass  # the client is about to hear of it too

    async def _is_answered(self, link: Link, interval_s: float) -> bool:
        self._heard.clear()
        waited_s = 0.0
        while waited_s < ANSWER_TIMEOUT_S and not self._heard.is_set():
            link.send_nowait(Ping())
            wait_s = min(interval_s, ANSWER_TIMEOUT_S - waited_s)
            await self._pause(self._heard, wait_s)
            waited_s += wait_s
        if not self._heard.is_set():
            await self._pause(self._heard, GRACE_S)
        return self._heard.is_set()
