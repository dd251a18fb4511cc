"""Saying what a stream has to say, at the pace that the connection takes it."""

import asyncio
from typing import Protocol

from asrd.client.errors import ConnectionLost
from asrd.client.outgoing import Outgoing
from asrd.client.pulse import Pulse
from asrd.wire.messages import ClientMessage


class Outlet(Protocol):
    """Where a stream's messages go: the connection that the client has just now."""

    def send_nowait(self, message: ClientMessage) -> None:
        """Send; raises ConnectionLost where there is no connection."""

    async def drain(self) -> None:
        """Wait until there is room for more; raises ConnectionLost."""


class Speaker:
    """Puts what `outgoing` has to say on the connection.

    What is said as it comes is said by who brings it, who also waits for the connection's room.
    What has gathered, during a break or behind a flush, is said by a task of its own: the pump.
    While there is one it says all there is.

    A loss of the connection is the client's affair, who connects again and says all again. Only
    where it does not (`recovers`) is it raised here.
    """

    def __init__(
        self, outgoing: Outgoing, outlet: Outlet, changed: Pulse, *, recovers: bool
    ) -> None:
        self._outgoing = outgoing
        self._outlet = outlet
        self._changed = changed
        self._recovers = recovers
        self._pump: asyncio.Task[None] | None = None
        self._stopped: set[asyncio.Task[None]] = set()

    def say_nowait(self) -> None:
        """Say what may be said now. Raises ConnectionLost."""
        if self._pump is not None:
            return
        try:
            while (message := self._outgoing.next()) is not None:
                self._outlet.send_nowait(message)
        except ConnectionLost:
            if not self._recovers:
                raise

    async def say(self) -> None:
        """Say what may be said now, and wait for the connection's room. Raises ConnectionLost."""
        self.say_nowait()
        if self._pump is not None or not self._outgoing.is_here:
            return
        try:
            await self._outlet.drain()
        except ConnectionLost:
            if not self._recovers:
                raise

    def say_soon(self) -> None:
        """Have all said that has gathered and may be said."""
        if self._pump is None and self._outgoing.has_next:
            self._pump = asyncio.create_task(self._say_all(), name="asrd-stream-pump")

    def stop(self) -> None:
        """Say nothing more."""
        pump, self._pump = self._pump, None
        if pump is not None:
            self._stopped.add(pump)
            pump.add_done_callback(self._stopped.discard)
            pump.cancel()

    async def ended(self) -> None:
        """Wait until what was stopped has ended."""
        if self._stopped:
            await asyncio.wait(self._stopped)

    async def _say_all(self) -> None:
        try:
            while (message := self._outgoing.next()) is not None:
                self._outlet.send_nowait(message)
                await self._outlet.drain()
        except ConnectionLost:
            pass  # the client is about to hear of it too
        finally:
            if self._pump is asyncio.current_task():
                self._pump = None
        self._outgoing.trim()
        self._changed.beat()
