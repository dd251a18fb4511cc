"""A relay in front of a daemon's socket, which can cut the connections that it carries."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Way = Literal["up", "down"]


@dataclass(frozen=True)
class Cut:
    """Where a connection ends: when so many bytes have passed in one direction.

    `half_s`: the daemon is told first that the client's input has ended, and so much later the
    connection breaks; None: it breaks at once.
    """

    way: Way
    after_bytes: int
    half_s: float | None = None


@dataclass
class Relay:
    """Listens at `front` and forwards to `back`, whatever comes of it."""

    front: Path
    back: Path
    read_bytes: int = 2**14
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The relay at work."""
        server = await asyncio.start_unix_server(self._accept, self.front, limit=self.read_bytes)
        try:
            yield
        finally:
            server.close()
            connections = [*self._connections]
            for task in connections:
                task.cancel()
            if connections:
                await asyncio.wait(connections)

    def cut(self) -> None:
        """Break every connection now."""
        for writer in self._writers:
            writer.transport.abort()

    def draw(self) -> Cut | None:
        """Where the connection that has just been accepted is to be cut."""
        return None

    def was_cut(self, cut: Cut) -> None:
        """A connection has been cut."""

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            daemon_reader, daemon_writer = await asyncio.open_unix_connection(self.back)
        except OSError:  # the daemon is away: so is the relay
            writer.transport.abort()
            return
        pair = {writer, daemon_writer}
        self._writers |= pair
        cut = self.draw()
        ways = [
            asyncio.create_task(self._pass_on(reader, daemon_writer, _only(cut, "up"))),
            asyncio.create_task(self._pass_on(daemon_reader, writer, _only(cut, "down"))),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if not any(way.result() for way in done):  # one side has ended: the other may finish
                await asyncio.wait(ways)
            elif cut is not None:
                self.was_cut(cut)
                if cut.half_s is not None:
                    daemon_writer.write_eof()
                    await asyncio.wait(ways, timeout=cut.half_s)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Cut | None
    ) -> bool:
        """Forward to the end, or to the cut. Returns whether it was cut."""
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(self.read_bytes):
                if cut is not None and passed + len(data) >= cut.after_bytes:
                    writer.write(data[: cut.after_bytes - passed])
                    await writer.drain()
                    return True
                writer.write(data)
                passed += len(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        return False


def _only(cut: Cut | None, way: Way) -> Cut | None:
    return cut if cut is not None and cut.way == way else None
