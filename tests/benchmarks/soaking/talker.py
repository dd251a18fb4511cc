"""A client of the soak: speaks on some streams, and comes back whenever its connection goes.

It stands for a program that does all that the protocol asks of one: it keeps audio from the commit
on (here it can make it again), resumes, and where there is nothing to resume begins anew there.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from asrd.errors import ProtocolError
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import (
    Audio,
    ClientMessage,
    Close,
    Error,
    Hello,
    Open,
    Ping,
    ServerMessage,
    Welcome,
)
from benchmarks.soaking.speech import CHUNK_S, Speech

AGAIN_AFTER_S = 0.1
CATCH_UP_CHUNKS = 24
"""Sent at most at one go, so that one that was held up does not hold up others."""
TICK_S = 0.04


class Broken(Exception):
    """The connection is gone, or the daemon said goodbye."""


class Talker:
    """One session with its streams, across connections."""

    def __init__(self, path: Path, speeches: Iterable[Speech], speed: float) -> None:
        self.speeches = {speech.number: speech for speech in speeches}
        self.connections = 0
        self.resumed = 0
        self.refusals: list[str] = []
        """Codes of errors that ended a connection or concerned no stream."""
        self._path = path
        self._chunk_every_s = CHUNK_S / speed
        self._token: str | None = None
        self._writer: asyncio.StreamWriter | None = None

    # ── harm ──────────────────────────────────────────────────────────────────────────────────

    def cut(self) -> bool:
        """Break the connection in the middle of a frame; returns whether there was one."""
        if self._writer is None or self._token is None:
            return False
        self._writer.write(encode(Ping(id="cut in the middle"))[:9])
        self._writer.transport.abort() if self.connections % 2 else self._writer.close()
        return True

    # ── the conversation ──────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Until every stream has ended, however often the connection goes."""
        while not self._is_done:
            with contextlib.suppress(Broken, OSError, ProtocolError):
                await self._converse()
            await asyncio.sleep(AGAIN_AFTER_S if not self._is_done else 0)

    @property
    def _is_done(self) -> bool:
        return all(speech.closed is not None for speech in self.speeches.values())

    async def _converse(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path)
        self._writer = writer
        feeding: asyncio.Task[None] | None = None
        try:
            incoming = self._messages(reader)
            have = {n: len(each.segments) - 1 for n, each in self.speeches.items() if each.segments}
            writer.write(encode(Hello(client="soak", resume=self._token, have=have)))
            welcome = await anext(incoming, None)
            if not isinstance(welcome, Welcome):
                if isinstance(welcome, Error):
                    self.refusals.append(welcome.code)
                raise Broken
            self._welcomed(welcome)
            feeding = asyncio.create_task(self._feed(writer))
            async for message in incoming:
                self._hear(message)
                if self._is_done:
                    return
            raise Broken
        finally:
            if feeding is not None:
                feeding.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await feeding
            self._writer = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _messages(self, reader: asyncio.StreamReader) -> AsyncIterator[ServerMessage]:
        wire = ClientConnection()
        while data := await reader.read(2**16):
            for message in wire.receive(memoryview(data)):
                yield message

    def _welcomed(self, welcome: Welcome) -> None:
        self.connections += 1
        self.resumed += welcome.resumed
        self._token = welcome.resume
        for speech in self.speeches.values():
            if speech.closed is not None:
                continue
            if speech.number in welcome.streams:
                speech.is_opened = True
                speech.go_back(welcome.streams[speech.number])
            else:
                speech.is_opened = False
                speech.credit = None
                speech.go_back(speech.committed)
                self._open(speech)

    def _open(self, speech: Speech) -> None:
        """Open a stream, from the beginning or where another daemon had got to."""
        speech.is_refused = False
        self._say(
            Open(
                stream=speech.number,
                source=speech.source,
                partials=speech.is_live,
                start_offset=speech.committed,
                start_id=len(speech.segments),
            )
        )

    def _hear(self, message: ServerMessage) -> None:
        number = getattr(message, "stream", None)
        if isinstance(number, int) and number in self.speeches:
            self.speeches[number].hear(message)
        elif isinstance(message, Error):
            self.refusals.append(message.code)

    async def _feed(self, writer: asyncio.StreamWriter) -> None:
        """Send what is due: live streams by the clock, lossless ones by credit."""
        due_s = {number: time.monotonic() for number in self.speeches}
        while True:
            for number, speech in self.speeches.items():
                if speech.is_refused:
                    self._open(speech)
                if speech.closed is None and speech.is_opened:
                    due_s[number] = self._feed_one(speech, due_s[number])
            await writer.drain()
            await asyncio.sleep(TICK_S)

    def _feed_one(self, speech: Speech, due_s: float) -> float:
        now_s = time.monotonic()
        for _ in range(CATCH_UP_CHUNKS):
            if speech.is_live and now_s < due_s:
                break
            chunk = speech.next_chunk()
            if chunk is None:
                break
            due_s += self._chunk_every_s
            self._say(Audio(stream=speech.number, offset=chunk[0], data=chunk[1]))
        if speech.is_over and not speech.is_close_said:
            speech.is_close_said = True
            self._say(Close(stream=speech.number))
        return due_s

    def _say(self, message: ClientMessage) -> None:
        if self._writer is not None:
            self._writer.write(encode(message))
