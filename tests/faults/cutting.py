"""A relay in front of a daemon's socket that cuts every connection somewhere.

Where is drawn for each connection before it begins: after so many bytes in one of the two
directions. Small numbers are as likely as large ones, order of magnitude by order of magnitude, so
that greetings are cut as well as the middle of an hour, and every byte of a frame may be the last.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

READ_BYTES = 2**14
MOST_UP_BYTES = 2**20
MOST_DOWN_BYTES = 2**12
"""The daemon says far less than it hears."""


@dataclass
class CuttingRelay:
    """Listens at `front`, forwards to `back`, and cuts until there were `cuts`; then it only
    forwards."""

    front: Path
    back: Path
    cuts: int
    dice: random.Random
    cut_after: list[tuple[str, int]] = field(default_factory=list)
    """Each cut so far: the direction, and the bytes that had passed in it."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its end."""
        try:
            daemon_reader, daemon_writer = await asyncio.open_unix_connection(self.back)
        except OSError:  # the daemon is away: so is the relay
            writer.transport.abort()
            return
        up, down = self._draw()
        ways = [
            asyncio.create_task(self._pass_on(reader, daemon_writer, "up", up)),
            asyncio.create_task(self._pass_on(daemon_reader, writer, "down", down)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            was_cut = any(way.result() for way in done)
            if not was_cut:  # one side has ended: the other may finish what it has to say
                await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            for each in (writer, daemon_writer):
                each.transport.abort()

    def _draw(self) -> tuple[int | None, int | None]:
        """After how many bytes up, or down, the next connection is cut."""
        if len(self.cut_after) >= self.cuts:
            return None, None
        is_up = self.dice.random() < 0.6
        most = MOST_UP_BYTES if is_up else MOST_DOWN_BYTES
        place = int(most ** self.dice.random())
        return (place, None) if is_up else (None, place)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: str,
        cut_after: int | None,
    ) -> bool:
        """Forward to the end, or to the cut. Returns whether it was cut."""
        passed = 0
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                if cut_after is not None and passed + len(data) >= cut_after:
                    writer.write(data[: cut_after - passed])
                    await writer.drain()
                    self.cut_after.append((way, cut_after))
                    return True
                writer.write(data)
                passed += len(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        return False


@contextlib.asynccontextmanager
async def cutting(relay: CuttingRelay) -> AsyncIterator[None]:
    """The relay at work."""
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(relay.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_unix_server(accept, relay.front, limit=READ_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in [*connections]:
            task.cancel()
        if connections:
            await asyncio.wait([*connections])
