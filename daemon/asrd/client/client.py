"""A conversation with one daemon: streams, questions, and the end of both.

    async with connect(path) as client:
        stream = await client.open_stream(source="file")
        ...

Everything that would have to survive a broken connection (the streams with their offsets, the
questions not answered yet) is kept here and not in the `Link`, whose loss is told to them in one
place, `_lose`.
"""

import asyncio
import contextlib
import itertools
from typing import Any, TypeVar, Unpack

from asrd.client.errors import ConnectionLost, Refused
from asrd.client.inbox import StreamEvent
from asrd.client.link import Link
from asrd.client.stream import Stream, StreamOptions
from asrd.wire.messages import (
    Cancel,
    ClientMessage,
    Credit,
    Error,
    GetHealth,
    GetStats,
    Health,
    Load,
    Open,
    Opened,
    Ping,
    Pong,
    ServerMessage,
    Stats,
    Unload,
    Welcome,
)

Answer = TypeVar("Answer", Health, Stats)

END_TIMEOUT_S = 2.0
"""How long the daemon may take to finish its side after we ended ours."""


class Client:
    """One session with a daemon. Made by `connect` and `spawn`; all methods are for one loop."""

    def __init__(self, link: Link, welcome: Welcome) -> None:
        self.welcome = welcome
        self._link = link
        self._streams: dict[int, Stream] = {}
        self._opening: dict[int, tuple[Open, asyncio.Future[Stream]]] = {}
        self._numbers = itertools.count(1)
        self._pings: dict[int, asyncio.Future[None]] = {}
        self._ping_ids = itertools.count(1)
        self._asking = asyncio.Lock()
        self._answer: asyncio.Future[Health | Stats] | None = None
        self._failure: ConnectionLost | None = None
        self._reader = asyncio.create_task(self._read(), name="asrd-client-reader")
        self._keeper = asyncio.create_task(self._keep_alive(), name="asrd-client-keeper")

    # ── streams ───────────────────────────────────────────────────────────────────────────────

    async def open_stream(self, **options: Unpack[StreamOptions]) -> Stream:
        """Open a stream and wait until the daemon is ready for its audio.

        That takes as long as its model takes to load.

        Raises:
            Refused: the daemon will not have it, and says why.
            ConnectionLost: the connection broke.
        """
        request = Open(stream=next(self._numbers), **options)
        opened: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        self._opening[request.stream] = (request, opened)
        try:
            self.send_nowait(request)
            return await opened
        except asyncio.CancelledError:
            with contextlib.suppress(ConnectionLost):
                self.send_nowait(Cancel(stream=request.stream))
            raise
        finally:
            self._opening.pop(request.stream, None)

    # ── questions ─────────────────────────────────────────────────────────────────────────────

    async def ping(self) -> None:
        """Return when the daemon has answered. Raises ConnectionLost."""
        number = next(self._ping_ids)
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pings[number] = pong
        try:
            self.send_nowait(Ping(id=number))
            await pong
        finally:
            del self._pings[number]

    async def health(self, *, deep: bool = False) -> Health:
        """How the daemon is; `deep` has it run a real inference. Raises Refused, ConnectionLost."""
        return await self._ask(GetHealth(deep=deep), Health)

    async def stats(self) -> Stats:
        """What the daemon counts. Raises Refused, ConnectionLost."""
        return await self._ask(GetStats(), Stats)

    async def load(self, provider: str | None = None, model: str | None = None) -> Health:
        """Have a model loaded and warmed; returns when it is. Raises Refused, ConnectionLost."""
        return await self._ask(Load(provider=provider, model=model), Health)

    async def unload(self, provider: str | None = None, model: str | None = None) -> Health:
        """Have a model's worker ended; returns when it is. Raises Refused, ConnectionLost."""
        return await self._ask(Unload(provider=provider, model=model), Health)

    async def _ask(self, question: ClientMessage, kind: type[Answer]) -> Answer:
        # Answers bear no id, and `load` is answered by the same message as `health`: so one
        # question at a time, and the answer to one whose asker has gone is waited for first.
        async with self._asking:
            if self._answer is not None and not self._answer.done():
                await asyncio.wait([self._answer])
            self.send_nowait(question)
            self._answer = asyncio.get_running_loop().create_future()
            answer = await asyncio.shield(self._answer)
        if not isinstance(answer, kind):
            raise ConnectionLost(f"the daemon answered {type(answer).__name__.lower()} instead")
        return answer

    # ── the link ──────────────────────────────────────────────────────────────────────────────

    def send_nowait(self, message: ClientMessage) -> None:
        """Send a message as it is. Raises ConnectionLost."""
        if self._failure is not None:
            raise self._failure
        self._link.send_nowait(message)

    async def drain(self) -> None:
        """Wait until the connection has room again. Raises ConnectionLost."""
        await self._link.drain()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """End all: open streams are cancelled, and the daemon's side is waited for a while.

        Safe under cancellation, and when the connection is long broken.
        """
        self._keeper.cancel()
        try:
            for stream in self._streams.values():
                stream.abandon()
                if not stream.is_ended:
                    with contextlib.suppress(ConnectionLost):
                        self.send_nowait(Cancel(stream=stream.number))
            self._link.end_input()
            await asyncio.wait([self._reader], timeout=END_TIMEOUT_S)
        finally:
            self._reader.cancel()
            self._lose(ConnectionLost("the client was closed"))
            await asyncio.wait([self._reader, self._keeper])
            await self._link.close()

    async def _read(self) -> None:
        try:
            async for message in self._link.messages():
                await self._dispatch(message)
        except ConnectionLost as error:
            self._lose(error)
        except Exception as error:
            self._lose(ConnectionLost(f"the client itself failed: {error!r}"))
            raise  # a mistake of ours: nobody may wait for ever on it, and it must be seen
        else:
            self._lose(self._link.lost())

    async def _dispatch(self, message: ServerMessage) -> None:
        match message:
            case Pong(id=number):
                if isinstance(number, int) and number in self._pings:
                    _settle(self._pings[number], None)
            case Health() | Stats():
                if self._answer is not None:
                    _settle(self._answer, message)
            case Error():
                await self._complain(message)
            case Opened():
                self._welcome_stream(message)
            case Welcome():
                pass  # only the first one counts
            case _:
                await self._deliver(message.stream, message)

    async def _complain(self, error: Error) -> None:
        number = error.stream
        if isinstance(number, int) and number in self._opening:
            opened = self._opening[number][1]
            _reject(opened, Refused.of(error))
        elif isinstance(number, int) and number in self._streams:
            await self._streams[number].deliver(error)
        elif self._answer is not None and not error.fatal:
            _reject(self._answer, Refused.of(error))

    def _welcome_stream(self, opened: Opened) -> None:
        if opened.stream not in self._opening:
            return  # its opener was cancelled and has sent `cancel` behind it
        request, waiting = self._opening[opened.stream]
        chunk_bytes = int(self.welcome.limits.get("max_chunk_bytes", 2**16))
        stream = Stream(request, opened, self, chunk_bytes)
        self._streams[stream.number] = stream
        _settle(waiting, stream)

    async def _deliver(self, number: int, message: Credit | StreamEvent) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        await stream.deliver(message)
        if stream.is_ended:
            del self._streams[number]

    async def _keep_alive(self) -> None:
        """Say something now and then, since the daemon closes connections that are silent."""
        interval_s = float(self.welcome.limits.get("idle_timeout_s", 300)) / 3
        with contextlib.suppress(ConnectionLost):
            while interval_s > 0:
                await asyncio.sleep(interval_s)
                self.send_nowait(Ping())

    def _lose(self, error: ConnectionLost) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self._keeper.cancel()
        for pong in self._pings.values():
            _reject(pong, error)
        for _, opened in self._opening.values():
            _reject(opened, error)
        if self._answer is not None:
            _reject(self._answer, error)
        for stream in self._streams.values():
            stream.fail(error)
        self._streams.clear()


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():  # its waiter may have been cancelled
        future.set_result(value)


def _reject(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # its waiter may have gone, which is no mistake
