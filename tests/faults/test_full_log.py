"""A log that nobody takes: a full pipe, a full disk. It costs lines and nothing else."""

import fcntl
import os
import subprocess
import termios
import time
from array import array
from functools import partial
from pathlib import Path
from typing import IO, Any

from asrd.wire.messages import Close, Closed, Error, Open, Ping, Pong, Segment
from faults.scenes import MARKED_AT_S, PHRASE
from support.daemon import Daemon, command, environment, install_plugins
from support.unread import full_pipe
from support.unruly import marked

BAD = marked(PHRASE, MARKED_AT_S)


def unread_bytes(reader: int) -> int:
    """What a pipe holds."""
    size = array("i", [0])
    fcntl.ioctl(reader, termios.FIONREAD, size)
    return size[0]


class LoggingTo(Daemon):
    """A daemon whose stderr is that descriptor."""

    def __init__(self, folder: Path, stderr: int | IO[bytes], *plugins: Path, **config: Any):
        folder.mkdir(exist_ok=True)
        self.path = folder / "d" / "s"
        self.process = subprocess.Popen(
            command(self.path, **config),
            env=environment(*plugins),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


def test_a_log_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    """A pipe that is full from the start; and it ends as always."""
    reader, writer = full_pipe()
    filled_bytes = unread_bytes(reader)
    daemon = LoggingTo(tmp_path, writer)
    try:
        daemon.wait_until_ready()
        with daemon.greet() as client:
            for stream in range(1, 30):
                # A line of the log that waited for a reader would wait for ever.
                assert len(client.transcribe(stream, PHRASE, partials=False)) == 1
        assert unread_bytes(reader) == filled_bytes
        assert daemon.terminate() == 0
        assert not daemon.path.exists()
    finally:
        daemon.kill()
        os.close(reader)
        os.close(writer)


def test_a_log_on_a_full_disk_holds_up_nothing(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        daemon = LoggingTo(tmp_path, full)
        try:
            daemon.wait_until_ready()
            with daemon.greet() as client:
                assert len(client.transcribe(1, PHRASE, partials=False)) == 1
            assert daemon.terminate() == 0
        finally:
            daemon.kill()


def _is_end_of(number: int, closed: Closed) -> bool:
    return closed.stream == number


def test_what_of_a_log_was_lost_is_told_once_it_is_read_again(tmp_path: Path) -> None:
    reader, writer = full_pipe()
    daemon = LoggingTo(tmp_path, writer)
    os.close(writer)
    try:
        daemon.wait_until_ready()
        with daemon.greet() as client:
            # Each refusal is a line; together they are more than may wait.
            for number in range(12_000):
                client.send(Open(stream=number, provider="echo"), Close(stream=number))
                if number % 50 == 0:
                    client.expect(Closed, partial(_is_end_of, number))
            client.expect(Closed, lambda closed: closed.stream == 11_999)
        seen = b""
        while b"log_lines_lost" not in seen:
            piece = os.read(reader, 2**16)
            assert piece, "the log has ended"
            seen = seen[-200:] + piece
        assert daemon.process.poll() is None
    finally:
        daemon.kill()
        os.close(reader)


def test_a_worker_that_cannot_write_to_stderr_counts_as_hung(tmp_path: Path) -> None:
    """It inherits the pipe, and what engines print is not ours to queue. The core goes on."""
    reader, writer = full_pipe()
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    daemon = LoggingTo(
        tmp_path,
        writer,
        plugins,
        provider="unruly",
        settings={"deed": "print"},
        supervision={"hang_after_s": 0.5, "hang_factor": 1.0},
    )
    try:
        daemon.wait_until_ready()
        with daemon.greet() as client, daemon.greet() as other:
            client.open(1, partials=False)
            client.speak(1, BAD)
            started = time.monotonic()
            assert len(other.transcribe(1, PHRASE, provider="echo", partials=False)) == 1
            error = client.expect(Error, patience_s=60)
            assert (error.code, error.fatal) == ("provider_failed", False)
            client.speak(1, PHRASE)
            client.expect(Segment)
            other.send(Ping(id=1))
            assert other.expect(Pong).id == 1
            assert time.monotonic() - started < 60
        assert daemon.terminate() == 0
    finally:
        daemon.kill()
        os.close(reader)
        os.close(writer)
