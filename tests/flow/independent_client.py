"""A client written from the text of the protocol alone; it knows nothing of asrd's code.

It is synchronous, reads while it has to wait in a write, and holds every message that it receives
against `protocol_rules`. A breach raises `Breach`, whatever the test was about.
"""

import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any

import msgpack

from flow.protocol_rules import MAX_FRAME_BYTES, Message, Rules, require

PATIENCE_S = 20.0
"""How long an answer may take on a busy machine before its absence is a failure."""

CHUNK_BYTES = 32_000


class Ended(Exception):
    """The daemon ended the connection."""


def frame(**fields: Any) -> bytes:
    payload: bytes = msgpack.packb(fields)
    return struct.pack(">I", len(payload)) + payload


def told(segments: list[Message]) -> list[tuple[Any, ...]]:
    """What a reader of the transcript sees. The echo's text holds a checksum of the audio."""
    return [tuple(message[key] for key in ("id", "start", "end", "text")) for message in segments]


def recorded(pcm: bytes) -> bytes:
    """A session as a file: hello, open, audio, and no close."""
    chunks = (pcm[begin : begin + CHUNK_BYTES] for begin in range(0, len(pcm), CHUNK_BYTES))
    audio = b"".join(frame(type="audio", stream=1, data=chunk) for chunk in chunks)
    return frame(type="hello", version=1) + frame(type="open", stream=1, source="file") + audio


class Client:
    """One connection. `log` holds every message received, in order."""

    def __init__(self, read_fd: int, write_fd: int, close: Callable[[], None]) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._close = close
        self._buffer = bytearray()
        self._inbox: list[Message] = []
        self._rules = Rules()
        self._has_ended = False
        self.log: list[Message] = []
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    @classmethod
    def over_socket(cls, path: object) -> "Client":
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.connect(str(path))
        except OSError:
            channel.close()
            raise
        client = cls(channel.fileno(), channel.fileno(), channel.close)
        client.half_close = lambda: channel.shutdown(socket.SHUT_WR)  # type: ignore[method-assign]
        return client

    @classmethod
    def over_pipes(cls, process: subprocess.Popen[bytes]) -> "Client":
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def close() -> None:
            stdin.close()
            stdout.close()

        client = cls(stdout.fileno(), stdin.fileno(), close)
        client.half_close = stdin.close  # type: ignore[method-assign]
        return client

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def half_close(self) -> None:
        """Send no more, and go on reading."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Break off without a word."""
        self._close()

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002 - the protocol's own word
        self.send_bytes(frame(type=type, **fields))

    def send_bytes(self, data: bytes) -> None:
        """All of `data`, reading what comes meanwhile."""
        sent = self.send_until_blocked(data, patience_s=PATIENCE_S)
        require(sent == len(data), f"the daemon took only {sent} of {len(data)} bytes")

    def send_until_blocked(self, data: bytes, *, patience_s: float, reading: bool = True) -> int:
        """Write until nothing was taken for `patience_s`; returns how much was taken."""
        view = memoryview(data)
        sent = 0
        deadline = time.monotonic() + patience_s
        while sent < len(view) and (left := deadline - time.monotonic()) > 0:
            readers = [self._read_fd] if reading and not self._has_ended else []
            readable, writable, _ = select.select(readers, [self._write_fd], [], left)
            if readable:
                self._read_once()
            if writable:
                try:
                    count = os.write(self._write_fd, view[sent : sent + 2**16])
                except BlockingIOError:
                    continue
                except (BrokenPipeError, ConnectionResetError):
                    raise Ended("the daemon takes no more") from None
                sent += count
                deadline = time.monotonic() + patience_s
        return sent

    # ── in ────────────────────────────────────────────────────────────────────────────────────

    def receive(self, patience_s: float = PATIENCE_S) -> Message:
        """The next message. Raises Ended at the end of the connection."""
        deadline = time.monotonic() + patience_s
        while not self._inbox:
            if self._has_ended:
                raise Ended
            left = deadline - time.monotonic()
            require(left > 0, f"nothing came for {patience_s} s; the last were", self.log[-3:])
            if select.select([self._read_fd], [], [], left)[0]:
                self._read_once()
        message = self._inbox.pop(0)
        self.log.append(message)
        return message

    def expect(
        self,
        type: str,  # noqa: A002
        patience_s: float = PATIENCE_S,
        **fields: Any,
    ) -> Message:
        """The next message of that type with these values; what comes before it is in `log`."""
        deadline = time.monotonic() + patience_s
        while True:
            message = self.receive(max(0.01, deadline - time.monotonic()))
            if message["type"] == type and fields.items() <= message.items():
                return message
            if message["type"] == "error" and type not in ("error", "closed"):
                require(not message["fatal"], f"waiting for {type}", message)

    def answer(self, patience_s: float = PATIENCE_S) -> Message:
        """The next message that is not an ack, credit, partial or event."""
        while True:
            message = self.receive(patience_s)
            if message["type"] not in ("ack", "credit", "partial", "event"):
                return message

    def read_to_end(self, patience_s: float = PATIENCE_S) -> list[Message]:
        """Everything until the daemon ends the connection."""
        read = []
        try:
            while True:
                read.append(self.receive(patience_s))
        except Ended:
            return read

    def read_for(self, seconds: float) -> list[Message]:
        """Everything that comes within that time."""
        read: list[Message] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self._has_ended:
            if self._inbox or select.select([self._read_fd], [], [], left)[0]:
                if not self._inbox:
                    self._read_once()
                while self._inbox:
                    read.append(self.receive())
        return read

    def logged(self, type: str, **fields: Any) -> list[Message]:  # noqa: A002
        """Messages received so far of that type with these values."""
        return [
            message
            for message in self.log
            if message["type"] == type and fields.items() <= message.items()
        ]

    def _read_once(self) -> None:
        try:
            data = os.read(self._read_fd, 2**16)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            require(not self._buffer, "the daemon ended inside a frame", bytes(self._buffer))
            self._has_ended = True
            return
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">I", self._buffer)
            require(1 <= length <= MAX_FRAME_BYTES, f"a frame of {length} bytes")
            if len(self._buffer) < 4 + length:
                return
            payload = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            message = msgpack.unpackb(payload, strict_map_key=False)
            self._rules.check(message)
            self._inbox.append(message)

    # ── the conversation ──────────────────────────────────────────────────────────────────────

    def hello(self, **fields: Any) -> Message:
        self.send("hello", version=1, client="independent", **fields)
        return self.expect("welcome")

    def open(self, stream: int, **fields: Any) -> Message:
        self.knows(stream, fields.get("start_id", 0), fields.get("start_offset", 0))
        self.send("open", stream=stream, **fields)
        return self.expect("opened", stream=stream)

    def knows(self, stream: int, next_id: int, offset: int = 0) -> None:
        """From here on the stream's next segment bears this id."""
        self._rules.begin(stream, next_id, offset)

    def speak(
        self,
        stream: int,
        pcm: bytes,
        *,
        offset: int | None = None,
        frame_bytes: int = 2,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Send audio in chunks, as fast as it is taken and whatever the credit."""
        for begin in range(0, len(pcm), chunk_bytes):
            place = {} if offset is None else {"offset": offset + begin // frame_bytes}
            self.send("audio", stream=stream, data=pcm[begin : begin + chunk_bytes], **place)

    def speak_within_credit(self, stream: int, pcm: bytes, *, offset: int = 0) -> None:
        """Send 16-bit mono audio and never more of it than there is credit for."""
        position, end = offset, offset + len(pcm) // 2
        while position < end:
            credit = self._rules.credit(stream)
            room = min(credit, end, position + CHUNK_BYTES // 2) - position
            if room <= 0:
                self.expect("credit", stream=stream)
                continue
            data = pcm[2 * (position - offset) : 2 * (position - offset + room)]
            self.send("audio", stream=stream, data=data, offset=position)
            position += room

    def finish(self, stream: int) -> list[Message]:
        """Close the stream and return its segments, as far as this connection has seen them."""
        self.send("close", stream=stream)
        self.expect("closed", stream=stream)
        return self.logged("segment", stream=stream)

    def ping(self) -> None:
        """Show that the connection is well."""
        self.send("ping", id="still there?")
        self.expect("pong", id="still there?")


def refused(client: Client, *, fatal: bool, code: str, **fields: Any) -> Message:
    """The error that the client is told next, of that code."""
    error = client.answer()
    require(error["type"] == "error", "no error came", error)
    expected = {"code": code, "fatal": fatal, **fields}
    require(expected.items() <= error.items(), f"the error is not {expected}", error)
    if fatal:
        require(client.read_to_end() == [], "something came behind a fatal error", client.log[-2:])
    return error
