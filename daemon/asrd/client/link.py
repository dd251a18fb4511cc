"""One connection to a daemon: messages over a pair of byte streams.

A link lives as long as its bytes flow. What must outlive it (streams, offsets, unanswered
questions) belongs to the client above, so that a broken link can be replaced by another.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Self

from asrd.client.errors import ConnectionLost, Refused, Unreachable
from asrd.errors import ProtocolError
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import ClientMessage, Error, Hello, ServerMessage, Welcome

READ_BYTES = 2**16
"""Bytes taken from the daemon at a time; asyncio holds at most twice that for us."""


class Link:
    """Messages in and out of one connection. Every failure of it is a `ConnectionLost`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming = self._receive()
        self._last_error: Error | None = None
        self._is_input_ended = False
        self.is_listening = False
        """Whether the daemon's next word is waited for; else we are busy with its last ones."""

    @classmethod
    async def open_unix(cls, path: Path) -> Self:
        """Connect to the daemon at `path`. Raises Unreachable."""
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=READ_BYTES)
        except (OSError, ValueError) as error:  # ValueError: a path that no socket can have
            reason = getattr(error, "strerror", None) or str(error)
            raise Unreachable(f"no daemon answers at {path} ({reason})") from error
        return cls(reader, writer)

    async def greet(self, hello: Hello) -> Welcome:
        """Say hello and wait for the welcome.

        Raises:
            Refused: the daemon answered, and not with a welcome.
            ConnectionLost: it did not answer.
        """
        self.send_nowait(hello)
        await self.drain()
        try:
            message = await anext(self._incoming)
        except StopAsyncIteration:
            raise self.lost() from None
        match message:
            case Welcome():
                return message
            case Error():
                raise Refused.of(message)
            case _:
                raise ConnectionLost("what answers there does not speak asrd's protocol")

    def send_nowait(self, message: ClientMessage) -> None:
        """Hand a message to the connection. Follow with `drain` unless it is small and rare."""
        if self._writer.is_closing() or self._is_input_ended:
            raise self.lost()
        self._writer.write(encode(message))

    async def drain(self) -> None:
        """Wait until the connection has taken most of what was sent."""
        try:
            await self._writer.drain()
        except OSError:
            raise self.lost() from None

    def messages(self) -> AsyncIterator[ServerMessage]:
        """What the daemon says, until it says no more. Raises ConnectionLost."""
        return self._incoming

    def end_input(self) -> None:
        """Tell the daemon that nothing more will come. Its last answers can still be read."""
        self._is_input_ended = True
        with contextlib.suppress(OSError):
            if not self._writer.is_closing():
                self._writer.write_eof()

    def abort(self) -> None:
        """Break the connection. Who reads it finds its end."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() or not transport.is_closing():
            transport.abort()  # asyncio's pipes do not bear it once they are closed

    async def close(self) -> None:
        """Give the connection back, whatever its state. Nobody may be reading any more.

        What has not been written yet is dropped: a daemon that takes nothing holds up nobody.
        """
        await self._incoming.aclose()
        self.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def lost(self) -> ConnectionLost:
        """The error of a connection that has ended, with the daemon's own words if it had any."""
        if self._last_error is None:
            return ConnectionLost("the connection to the daemon broke")
        refusal = Refused.of(self._last_error)
        return ConnectionLost(
            f"the daemon closed the connection: {refusal}", refusal.code, refusal.retry_after_ms
        )

    async def _receive(self) -> AsyncGenerator[ServerMessage, None]:
        connection = ClientConnection()
        try:
            while data := await self._heard():
                for message in connection.receive(memoryview(data)):
                    if isinstance(message, Error) and message.fatal:
                        self._last_error = message
                    yield message
        except OSError:
            raise self.lost() from None
        except ProtocolError as error:
            raise ConnectionLost(f"the daemon sent what cannot be read: {error}") from error

    async def _heard(self) -> bytes:
        self.is_listening = True
        try:
            return await self._reader.read(READ_BYTES)
        finally:
            self.is_listening = False
