"""A daemon of a few lines: it follows the protocol, recognises nothing, and does as it is told.

In this process it listens on a Unix socket; as a program it speaks over stdin and stdout.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asrd.choices import SAMPLE_BYTES
from asrd.errors import ProtocolError
from asrd.wire.codec import encode
from asrd.wire.connection import ServerConnection
from asrd.wire.messages import (
    Ack,
    Audio,
    Cancel,
    ClientMessage,
    Close,
    Closed,
    Credit,
    Error,
    Flush,
    Flushed,
    GetHealth,
    GetStats,
    Health,
    Hello,
    Load,
    Open,
    Opened,
    Ping,
    Pong,
    Segment,
    ServerMessage,
    Stats,
    Unload,
    Welcome,
)
from asrd.wire.reports import ProviderHealth

HANG_UP = "hang up"
Reply = list[ServerMessage | str]
Rule = Callable[[Any], Reply]
"""What to say to one message; a `str` in it ends the connection."""

LIMITS: Mapping[str, int | float] = {"max_chunk_bytes": 65536, "idle_timeout_s": 300}


def welcome(**changes: Any) -> Welcome:
    fields: dict[str, Any] = {
        "version": 1,
        "server": "fake",
        "session": "s",
        "resume": "r",
        "resumed": False,
        "streams": {},
        "limits": dict(LIMITS),
        "providers": ["fake"],
    }
    return Welcome(**(fields | changes))


def segment(stream: int = 1, number: int = 0, text: str = "hello there", **changes: Any) -> Segment:
    fields: dict[str, Any] = {
        "stream": stream,
        "id": number,
        "start": 0.5,
        "end": 1.5,
        "text": text,
        "offset": 0,
        "provider": "fake",
        "model": "none",
        "latency_ms": 1.0,
    }
    return Segment(**(fields | changes))


def closed(stream: int = 1, offset: int = 0, **changes: Any) -> Closed:
    fields: dict[str, Any] = {
        "stream": stream,
        "reason": "client",
        "offset": offset,
        "segments": 0,
        "audio_seconds": offset / 16000,
        "dropped_seconds": 0.0,
    }
    return Closed(**(fields | changes))


def health(*, is_ready: bool = True) -> Health:
    state = ProviderHealth(state="ready" if is_ready else "unavailable", model="none")
    return Health(
        state=state.state, live=True, ready=is_ready, providers={"fake": state}, uptime_s=3725.0
    )


def refusal(code: str, text: str = "no", *, is_fatal: bool = False, **changes: Any) -> Error:
    return Error(code=code, message=text, fatal=is_fatal, **changes)


@dataclass
class FakeDaemon:
    """What it says to what. `rules` replace its answers to a kind of message.

    `heard` is all that was said to it, over all connections, `audio` the PCM of each stream, each
    sample where its offset says; with `takes_holes` zeros where none came.
    """

    rules: dict[type, Rule] = field(default_factory=dict)
    credit_samples: int = 160_000
    takes_holes: bool = False
    heard: list[ClientMessage] = field(default_factory=list)
    audio: dict[int, bytearray] = field(default_factory=dict)
    connection: "Connection | None" = None
    _frame_bytes: dict[int, int] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def once(self, what: str, first: Reply, later: Reply) -> Reply:
        """`first` when it is asked for `what` the first time, and `later` from then on."""
        if what in self._done:
            return later
        self._done.add(what)
        return first

    def answer(self, message: ClientMessage) -> Reply:
        self.heard.append(message)
        if isinstance(message, Audio):
            self._take(message)
        if isinstance(message, Open):
            self._frame_bytes[message.stream] = SAMPLE_BYTES[message.encoding] * message.channels
            if not message.start_offset:
                self.audio[message.stream] = bytearray()
            elif message.stream not in self.audio:  # another daemon had it
                size = message.start_offset * self._frame_bytes[message.stream]
                self.audio[message.stream] = bytearray(size)
        rule = self.rules.get(type(message))
        return self.usual(message) if rule is None else rule(message)

    def _take(self, message: Audio) -> None:
        audio = self.audio[message.stream]
        assert message.offset is not None
        begin = message.offset * self._frame_bytes[message.stream]
        assert self.takes_holes or begin <= len(audio), f"{message.offset} leaves a hole"
        audio.extend(bytes(max(0, begin - len(audio))))
        audio[begin : begin + len(message.data)] = message.data

    def usual(self, message: ClientMessage) -> Reply:
        match message:
            case Hello():
                return [welcome()]
            case Open():
                return [self._opened(message)]
            case Audio(stream=number):
                offset = len(self.audio[number]) // 2
                credit = Credit(stream=number, offset=offset + self.credit_samples)
                return [Ack(stream=number, offset=offset), credit]
            case Flush(stream=number):
                return [Flushed(stream=number, offset=len(self.audio[number]) // 2)]
            case Close(stream=number):
                offset = len(self.audio[number]) // 2
                return [segment(number, offset=offset), closed(number, offset, segments=1)]
            case Cancel(stream=number):
                return [closed(number, reason="cancelled")]
            case Ping(id=number):
                return [Pong(id=number)]
            case GetHealth() | Load() | Unload():
                return [health()]
            case GetStats():
                return [
                    Stats(
                        counters={"streams": 1},
                        queues={"mic": {"depth": 0}},
                        latencies={"final": {"p50": 1.5}},
                        real_time_factor=0.02,
                        level=0,
                    )
                ]

    def _opened(self, request: Open) -> Opened:
        return Opened(
            stream=request.stream,
            provider="fake",
            model="none",
            priority=5,
            delivery=request.delivery or "live",
            credit=self.credit_samples,
        )

    def say(self, *messages: ServerMessage) -> None:
        """Say something unasked to the newest connection."""
        assert self.connection is not None
        self.connection.send(list(messages))

    def hang_up(self) -> None:
        """Break the newest connection."""
        assert self.connection is not None
        self.connection.send([HANG_UP])


class Connection(asyncio.Protocol):
    """The bytes of one client."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self._daemon = daemon
        self._wire = ServerConnection()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._daemon.connection = self

    def data_received(self, data: bytes) -> None:
        for message in self._wire.receive(memoryview(data)):
            assert not isinstance(message, ProtocolError), message
            self.send(self._daemon.answer(message))

    def send(self, reply: Reply) -> None:
        for item in reply:
            if isinstance(item, str):
                self.transport.abort()
            else:
                self.transport.write(encode(item))


@contextlib.asynccontextmanager
async def listening(daemon: FakeDaemon, path: Path) -> AsyncIterator[FakeDaemon]:
    """The daemon on a Unix socket, on this loop."""
    server = await asyncio.get_running_loop().create_unix_server(lambda: Connection(daemon), path)
    try:
        yield daemon
    finally:
        server.close()
        if daemon.connection is not None:
            daemon.connection.transport.abort()
        await server.wait_closed()


@contextlib.contextmanager
def listening_in_thread(daemon: FakeDaemon, path: Path) -> Iterator[FakeDaemon]:
    """The daemon on a Unix socket, on a loop in a thread of its own."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def run() -> None:
        async with listening(daemon, path):
            started.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    assert started.wait(10)
    try:
        yield daemon
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


def main(behaviour: str) -> int:
    """The daemon over stdin and stdout; `behaviour` is one of those below."""
    died_before = behaviour.endswith("then refuses to start") and Path(sys.argv[2]).exists()
    if behaviour == "refuses to start" or died_before:
        sys.stderr.write("asrd: the moon is full: wait a night\n")
        return 78
    daemon = FakeDaemon()
    wire = ServerConnection()
    while data := os.read(0, 65536):
        for message in wire.receive(memoryview(data)):
            deadly = {"dies at audio": Audio, "dies at a flush": Flush}
            if isinstance(message, deadly.get(behaviour.partition(",")[0], ())):
                if len(sys.argv) > 2:
                    Path(sys.argv[2]).touch()
                sys.stderr.write("something broke inside\n")
                return 3
            assert not isinstance(message, ProtocolError), message
            for item in daemon.answer(message):
                assert not isinstance(item, str)
                os.write(1, encode(item))
    if behaviour == "never ends":
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
