"""One connection on which frames are sent as they are, broken ones too.

`Link` sends messages; this sends what was recorded, whatever it is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from asrd.client.errors import ConnectionLost, Unreachable
from asrd.errors import ProtocolError
from asrd.framing import HEADER
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import Error, Pong, ServerMessage, Welcome
from asrd.wire.recording import packed

READ_BYTES = 2**16
ANSWER_TIMEOUT_S = 10.0
"""`hello` is answered at once, whatever the daemon decodes."""

BARRIER = "asrd-replay-barrier"
"""The id of the one ping of our own."""


class RawConnection:
    """One connection to the daemon, which may end it at any time."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_message: Callable[[ServerMessage], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_message = on_message
        self._news = asyncio.Event()
        self._messages = 0
        self.is_greeted = False
        self._is_through = False
        self.was_refused = False
        self.has_ended = False
        self.heard_at_s = asyncio.get_running_loop().time()

    async def write(self, data: bytes) -> bool:
        """Send bytes. Returns whether the daemon takes more."""
        if not self.has_ended and data:
            self._writer.write(data)
            with contextlib.suppress(OSError):
                await self._writer.drain()
        return not self.has_ended

    async def ask(self, data: bytes) -> None:
        """Send bytes and return when something was said, or the connection has ended.

        Raises:
            ConnectionLost: nothing was said in time.
        """
        before = self._messages  # the answer may come while the rest of `data` is written
        if not await self.write(data):
            return
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while self._messages == before and not self.has_ended:
                    await self.heard(ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise ConnectionLost(f"the daemon gave no answer in {ANSWER_TIMEOUT_S:g} s") from None

    async def barrier(self) -> None:
        """Return when the daemon has worked off all that was sent, or has ended the connection."""
        if not self.is_greeted:
            return  # the daemon expects a hello, and no ping
        await self.write(framed(packed({"type": "ping", "id": BARRIER})))
        while not self._is_through and not self.has_ended:
            await self.heard(ANSWER_TIMEOUT_S)

    async def finish(self) -> None:
        """Say that nothing more comes, and return when all answers have."""
        with contextlib.suppress(OSError):
            if self._writer.can_write_eof() and not self._writer.is_closing():
                self._writer.write_eof()
        while not self.has_ended:
            await self.heard(ANSWER_TIMEOUT_S)

    async def heard(self, timeout_s: float) -> None:
        """Return when something came, or after so long."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()

    async def read(self) -> None:
        """Pass on what the daemon says, to its end. Raises ConnectionLost."""
        wire = ClientConnection()
        loop = asyncio.get_running_loop()
        try:
            while data := await self._reader.read(READ_BYTES):
                self.heard_at_s = loop.time()
                for message in wire.receive(memoryview(data)):
                    self._take(message)
                self._news.set()
        except OSError:
            pass  # broken off: what was said till then has been heard
        except ProtocolError as error:
            raise ConnectionLost(f"the daemon sent what cannot be read: {error}") from error
        finally:
            self.has_ended = True
            self._news.set()

    def _take(self, message: ServerMessage) -> None:
        self._messages += 1
        match message:
            case Pong(id=number) if number == BARRIER:
                self._is_through = True
                return
            case Welcome():
                self.is_greeted = True
            case Error(fatal=True):
                self.was_refused = True
            case _:
                pass
        self._on_message(message)

    def abort(self) -> None:
        """Break off without a word, so that the session stays."""
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def connected(
    daemon: Path, on_message: Callable[[ServerMessage], None]
) -> AsyncIterator[RawConnection]:
    """A connection that is read until the block ends, and is broken off then."""
    try:
        reader, writer = await asyncio.open_unix_connection(daemon, limit=READ_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a path that no socket can have
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreachable(f"no daemon answers at {daemon} ({reason})") from error
    connection = RawConnection(reader, writer, on_message)
    reading = asyncio.create_task(connection.read(), name="asrd-replay-reader")
    try:
        yield connection
        if connection.has_ended:
            await reading  # an error of it is ours
    except ConnectionLost:
        if reading.done():
            await reading  # which knows better why it was lost
        raise
    finally:
        connection.abort()
        reading.cancel()
        await asyncio.wait([reading])


def framed(payload: bytes) -> bytes:
    """The frame of a payload, however large."""
    return HEADER.pack(len(payload)) + payload


async def answers(path: Path, timeout_s: float) -> bool:
    """Whether a daemon listens at `path` and answers in time."""
    try:
        async with asyncio.timeout(timeout_s):
            async with connected(path, lambda _: None) as connection:
                await connection.ask(framed(packed({"type": "hello"})))
                return connection.is_greeted
    except (TimeoutError, Unreachable, ConnectionLost):
        return False
