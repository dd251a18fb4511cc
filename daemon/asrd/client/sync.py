"""The client for programs without a loop: the same, called from any thread.

    with connect(path) as client:
        stream = client.open_stream(source="file")
        stream.send(pcm)                  # in one thread
        for event in stream: ...          # in another, or when all is sent

A lossless `send` waits for a reader that is far behind, so whoever sends much reads in another
thread. Everything raises what the asynchronous client raises.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Unpack

from asrd.client import client as asynchronous
from asrd.client import daemons
from asrd.client.background import Background
from asrd.client.dialler import OWN_DAEMON
from asrd.client.inbox import StreamEvent
from asrd.client.recovery import Recovery
from asrd.client.states import ClientState, StateChange
from asrd.client.stream import Stream, StreamOptions
from asrd.wire.messages import Closed, Flushed, Health, Opened, Stats, Welcome

__all__ = ["SyncClient", "SyncStream", "connect", "spawn"]


@contextlib.contextmanager
def connect(
    path: Path,
    *,
    name: str = daemons.CLIENT_NAME,
    timeout_s: float = daemons.CONNECT_TIMEOUT_S,
    recovery: Recovery | None = daemons.DEFAULT_RECOVERY,
) -> Iterator["SyncClient"]:
    """As `asrd.client.connect`."""
    with _held(
        lambda: daemons.connect(path, name=name, timeout_s=timeout_s, recovery=recovery)
    ) as client:
        yield client


@contextlib.contextmanager
def spawn(
    arguments: Sequence[str] = (),
    *,
    name: str = daemons.CLIENT_NAME,
    command: Sequence[str] = OWN_DAEMON,
    is_stderr_shown: bool = False,
    recovery: Recovery | None = daemons.DEFAULT_RECOVERY,
) -> Iterator["SyncClient"]:
    """As `asrd.client.spawn`."""
    with _held(
        lambda: daemons.spawn(
            arguments,
            name=name,
            command=command,
            is_stderr_shown=is_stderr_shown,
            recovery=recovery,
        )
    ) as client:
        yield client


@contextlib.contextmanager
def _held(
    enter: Callable[[], AbstractAsyncContextManager[asynchronous.Client]],
) -> Iterator["SyncClient"]:
    background = Background(enter)
    try:
        yield SyncClient(background)
    finally:
        background.end()


class SyncClient:
    """One session with a daemon. Made by `connect` and `spawn`; for all threads."""

    def __init__(self, background: Background[asynchronous.Client]) -> None:
        self._background = background
        self._client = background.held

    @property
    def state(self) -> ClientState:
        """Whether there is a connection, or will be one."""
        return self._client.state

    @property
    def welcome(self) -> Welcome:
        """The daemon's newest greeting."""
        return self._client.welcome

    def on_state(self, callback: Callable[[StateChange], None]) -> None:
        """As `Client.on_state`; called in the client's own thread, where no method may wait."""
        self._client.on_state(callback)

    def retry(self) -> None:
        """As `Client.retry`. Raises ConnectionLost where the client was closed."""
        self._background.call(self._retry())

    def open_stream(self, **options: Unpack[StreamOptions]) -> "SyncStream":
        """As `Client.open_stream`. Raises Refused, ConnectionLost."""
        stream = self._background.call(self._client.open_stream(**options))
        return SyncStream(self._background, stream)

    def ping(self) -> None:
        """Return when the daemon has answered. Raises ConnectionLost."""
        self._background.call(self._client.ping())

    def health(self, *, deep: bool = False) -> Health:
        """As `Client.health`. Raises Refused, ConnectionLost."""
        return self._background.call(self._client.health(deep=deep))

    def stats(self, *, streams: bool = False) -> Stats:
        """As `Client.stats`. Raises Refused, ConnectionLost."""
        return self._background.call(self._client.stats(streams=streams))

    def load(self, provider: str | None = None, model: str | None = None) -> Health:
        """As `Client.load`. Raises Refused, ConnectionLost."""
        return self._background.call(self._client.load(provider, model))

    def unload(self, provider: str | None = None, model: str | None = None) -> Health:
        """As `Client.unload`. Raises Refused, ConnectionLost."""
        return self._background.call(self._client.unload(provider, model))

    async def _retry(self) -> None:
        self._client.retry()


class SyncStream:
    """A stream that a daemon has opened. Made by `SyncClient.open_stream`; for all threads."""

    def __init__(self, background: Background[asynchronous.Client], stream: Stream) -> None:
        self._background = background
        self._stream = stream
        self.number = stream.number
        self.sample_rate = stream.sample_rate
        self.frame_bytes = stream.frame_bytes
        self._interrupted: list[Future[StreamEvent | None]] = []

    @property
    def opened(self) -> Opened:
        """As `Stream.opened`."""
        return self._stream.opened

    @property
    def sent(self) -> int:
        """As `Stream.sent`."""
        return self._stream.sent

    @property
    def committed(self) -> int:
        """As `Stream.committed`."""
        return self._stream.committed

    def send(self, pcm: bytes | memoryview) -> None:
        """As `Stream.send`. Raises StreamEnded, ConnectionLost."""
        self._background.call(self._stream.send(pcm))

    def skip(self, samples: int) -> None:
        """As `Stream.skip`. Raises ValueError."""
        self._background.call(self._skip(samples))

    def flush(self) -> Flushed:
        """As `Stream.flush`. Raises StreamEnded, ConnectionLost."""
        return self._background.call(self._stream.flush())

    def close(self) -> Closed:
        """As `Stream.close`. Raises ConnectionLost."""
        return self._background.call(self._stream.close())

    def cancel(self) -> Closed:
        """As `Stream.cancel`. Raises ConnectionLost."""
        return self._background.call(self._stream.cancel())

    def __iter__(self) -> Iterator[StreamEvent]:
        return self

    def __next__(self) -> StreamEvent:
        try:
            coming = self._interrupted.pop()
        except IndexError:
            coming = self._background.begin(self._next())
        try:
            event = self._background.outcome(coming)
        except BaseException as error:
            is_its_own = coming.done() and (coming.cancelled() or coming.exception() is error)
            if not is_its_own:  # Ctrl-C: what comes, or has just come, is for the next call
                self._interrupted.append(coming)
            raise
        if event is None:
            raise StopIteration
        return event

    async def _skip(self, samples: int) -> None:
        self._stream.skip(samples)

    async def _next(self) -> StreamEvent | None:
        # No coroutine and no future may raise a StopIteration of either kind.
        return await anext(self._stream, None)
