"""A small synchronous client of typed messages, on asrd's own wire.

What the protocol's text promises is held against another client, `flow/independent_client.py`;
this one is for tests that look behind the wire.
"""

import select
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import (
    Audio,
    ClientMessage,
    Close,
    Closed,
    Error,
    GetHealth,
    Health,
    Hello,
    Open,
    Opened,
    Segment,
    ServerMessage,
    Welcome,
)
from support.waiting import PATIENCE_S

M = TypeVar("M", bound=ServerMessage)

CHUNK_BYTES = 32_000


class Ended(Exception):
    """The daemon ended the connection."""


class WireClient:
    """One connection; `log` holds every message that came, in order."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.socket.setblocking(False)
        self.log: list[ServerMessage] = []
        self._inbox: list[ServerMessage] = []
        self._wire = ClientConnection()
        self._has_ended = False

    def __enter__(self) -> "WireClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def send(self, *messages: ClientMessage) -> None:
        self.send_bytes(b"".join(encode(message) for message in messages))

    def send_bytes(self, data: bytes, patience_s: float = PATIENCE_S) -> None:
        """All of `data`, reading what comes meanwhile."""
        view = memoryview(data)
        deadline = time.monotonic() + patience_s
        while view:
            left = deadline - time.monotonic()
            assert left > 0, f"the daemon did not take {len(view)} bytes in {patience_s} s"
            readers = [] if self._has_ended else [self.socket]
            readable, writable, _ = select.select(readers, [self.socket], [], left)
            if readable:
                self._read()
            if writable:
                try:
                    view = view[self.socket.send(view[: 2**16]) :]
                except (BrokenPipeError, ConnectionResetError):
                    raise Ended("the daemon takes no more") from None

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def receive(self, patience_s: float = PATIENCE_S) -> ServerMessage:
        """The next message. Raises Ended."""
        deadline = time.monotonic() + patience_s
        while not self._inbox:
            if self._has_ended:
                raise Ended
            left = deadline - time.monotonic()
            assert left > 0, f"nothing came for {patience_s} s; the last was {self.log[-3:]}"
            if select.select([self.socket], [], [], left)[0]:
                self._read()
        message = self._inbox.pop(0)
        self.log.append(message)
        return message

    def expect(
        self,
        kind: type[M],
        is_meant: Callable[[M], bool] = lambda _: True,
        patience_s: float = PATIENCE_S,
    ) -> M:
        """The next message of that kind that is meant; what comes before it is in `log`."""
        deadline = time.monotonic() + patience_s
        while True:
            message = self.receive(max(0.01, deadline - time.monotonic()))
            if isinstance(message, kind) and is_meant(message):
                return message
            if isinstance(message, Error) and kind is not Error:
                assert not message.fatal, message

    def logged(self, kind: type[M], stream: int | None = None) -> list[M]:
        """Messages of that kind that came so far."""
        return [
            message
            for message in self.log
            if isinstance(message, kind)
            and (stream is None or getattr(message, "stream", None) == stream)
        ]

    def read_to_end(self, patience_s: float = PATIENCE_S) -> None:
        """Everything until the daemon ends the connection."""
        try:
            while True:
                self.receive(patience_s)
        except Ended:
            return

    def _read(self) -> None:
        try:
            data = self.socket.recv(2**16)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._has_ended = True
        self._inbox += self._wire.receive(memoryview(data))

    # ── the conversation ──────────────────────────────────────────────────────────────────────

    def hello(self, **fields: Any) -> Welcome:
        self.send(Hello(client="test", **fields))
        return self.expect(Welcome)

    def health(self) -> Health:
        self.send(GetHealth())
        return self.expect(Health)

    def open(self, stream: int, **fields: Any) -> Opened:
        self.send(Open(stream=stream, **fields))
        return self.expect(Opened, lambda opened: opened.stream == stream)

    def speak(self, stream: int, pcm: bytes, chunk_bytes: int = CHUNK_BYTES) -> None:
        """Audio in chunks, as fast as it is taken."""
        for begin in range(0, len(pcm), chunk_bytes):
            self.send(Audio(stream=stream, data=pcm[begin : begin + chunk_bytes]))

    def finish(self, *streams: int) -> list[Closed]:
        """Close streams and return their ends; segments are in `log`."""
        self.send(*(Close(stream=stream) for stream in streams))
        missing = set(streams)
        while missing:
            missing.discard(self.expect(Closed, lambda closed: closed.stream in missing).stream)
        return [closed for closed in self.logged(Closed) if closed.stream in streams]

    def transcribe(self, stream: int, pcm: bytes, **fields: Any) -> list[Segment]:
        """Open a stream, say all of `pcm`, and close it."""
        self.open(stream, **fields)
        self.speak(stream, pcm)
        self.finish(stream)
        return self.logged(Segment, stream)


def texts(segments: Iterable[Segment]) -> list[str]:
    return [segment.text for segment in segments]
