"""Waking whoever waits for a change."""

import asyncio


class Pulse:
    """Something that has changed, again and again. Who waits looks for himself what it was."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Wake all who wait now, and nobody who waits later."""
        self._event.set()
        self._event.clear()

    async def wait(self) -> None:
        """Wait for the next beat."""
        await self._event.wait()
