"""The protocol over stdin and stdout: real children, and whatever is connected to them."""

import asyncio
import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asrd.providers.registry import Registry
from asrd.server.stdio import LINGER_S, WRITE_BYTES, WRITE_HIGH_BYTES, StdioChannel
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import (
    Audio,
    ClientMessage,
    Close,
    Closed,
    Error,
    Flush,
    Hello,
    Open,
    Ping,
    Pong,
    Segment,
    ServerMessage,
    Welcome,
)
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import command, environment, install_plugins
from support.room import Room, run, settle
from support.unruly import marked
from support.waiting import until, wait_until

PATIENCE_S = 30.0
SPEECH = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)
MARKED = marked(SPEECH, 1.2)


def frames(*messages: ClientMessage) -> bytes:
    return b"".join(encode(message) for message in messages)


def session(pcm: bytes = SPEECH, *, end: bool = False) -> bytes:
    """A recorded session: hello, one stream, and its audio."""
    audio = [
        Audio(stream=1, data=pcm[begin : begin + 32_000]) for begin in range(0, len(pcm), 32_000)
    ]
    closing: list[ClientMessage] = [Close(stream=1)] if end else []
    return frames(Hello(), Open(stream=1, partials=False), *audio, *closing)


def messages_of(output: bytes) -> list[ServerMessage]:
    """Every message of an output that is nothing but frames."""
    wire = ClientConnection()
    messages = list(wire.receive(memoryview(output)))
    assert sum(len(encode(message)) for message in messages) > 0 or not output
    assert not wire._splitter.is_mid_frame
    return messages


def ran(
    stdin: Any, *, plugins: Path | None = None, **config: Any
) -> "subprocess.CompletedProcess[bytes]":
    """A daemon on `stdin`: bytes, or a file."""
    given = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    done = subprocess.run(
        command(None, **config),
        env=environment(*([plugins] if plugins else [])),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
        **given,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def test_a_session_is_finished_at_the_end_of_input() -> None:
    done = ran(session())
    messages = messages_of(done.stdout)
    assert done.returncode == 0
    assert isinstance(messages[0], Welcome)
    assert isinstance(messages[-1], Closed)
    assert len([message for message in messages if isinstance(message, Segment)]) == 1


def test_dev_null_as_stdin_ends_with_0() -> None:
    done = ran(subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_regular_file_may_be_stdin(tmp_path: Path) -> None:
    (tmp_path / "session").write_bytes(session(end=True))
    with (tmp_path / "session").open("rb") as file:
        done = ran(file)
    assert done.returncode == 0
    assert isinstance(messages_of(done.stdout)[-1], Closed)


@pytest.mark.parametrize("cut", [1, 9])
def test_input_that_ends_inside_a_frame_ends_with_65_and_the_rest_is_finished(cut: int) -> None:
    done = ran(session() + encode(Ping(id="cut off"))[:cut])
    assert done.returncode == 65
    assert any(isinstance(message, Segment) for message in messages_of(done.stdout))


def test_a_broken_frame_is_answered_and_ends_it() -> None:
    done = ran(frames(Hello()) + b"\xff\xff\xff\xff" + frames(Ping(id=1)))
    *_, last = messages_of(done.stdout)
    assert isinstance(last, Error)
    assert (last.code, last.fatal) == ("frame_too_large", True)


@pytest.mark.parametrize("when", ["before_the_start", "while_it_writes"])
def test_a_stdout_that_nobody_reads_ends_with_74(when: str) -> None:
    with subprocess.Popen(
        command(None),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if when == "while_it_writes":
            process.stdin.write(frames(Hello()))
            process.stdin.flush()
            assert process.stdout.read(4)
        process.stdout.close()
        process.stdin.write(frames(*([Hello()] if when == "before_the_start" else [Ping(id=1)])))
        process.stdin.flush()
        assert process.wait(PATIENCE_S) == 74
        stderr = process.stderr.read()
    assert b"Traceback" not in stderr
    assert b"stdout_failed" in stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_a_descriptor_that_is_closed_is_told_and_never_a_traceback(closed: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -P -m asrd serve --stdio {closed}', sys.executable],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == (74 if closed == ">&-" else 66)
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1


def test_nothing_that_is_printed_gets_between_two_frames(tmp_path: Path) -> None:
    """By a plugin in the core and by one in its worker; from Python, C and a child process."""
    (tmp_path / "asrd_test_loud.py").write_text(
        "import ctypes, os\n"
        "print('loud import', flush=True)\n"
        "os.write(1, b'loud descriptor\\n')\n"
        "ctypes.CDLL(None).puts(b'loud C'); ctypes.CDLL(None).fflush(None)\n"
        "os.system('echo loud child')\n"
    )
    plugins = install_plugins(tmp_path, {"loud": "asrd_test_loud", "unruly": "support.unruly"})
    done = ran(
        session(SPEECH + MARKED + SPEECH, end=True),
        plugins=plugins,
        provider="unruly",
        settings={"deed": "print"},
    )
    assert done.returncode == 0
    segments = [item for item in messages_of(done.stdout) if isinstance(item, Segment)]
    assert len(segments) == 3
    by_the_core = ["loud import", "loud descriptor", "loud C", "loud child"]
    by_the_worker = ["by Python", "to descriptor 1", "printed from C", "by a child"]
    for line in by_the_core + by_the_worker:
        assert line in done.stderr.decode()


# ── in this process, on pipes ─────────────────────────────────────────────────────────────────


class Pipes:
    """A channel between two pipes, and its peer in a room."""

    def __init__(self, registry: Registry, **limits: float) -> None:
        self.room = Room(registry, limits=dict(limits))
        self.read_fd, self.write_fd = -1, -1
        daemon_reads, self.write_fd = os.pipe()
        self.read_fd, daemon_writes = os.pipe()
        self._theirs = (daemon_reads, daemon_writes)
        self.channel = StdioChannel(daemon_reads, daemon_writes, self.room.clock)
        self.peer = self.room.guest().peer
        self.peer._channel = self.channel
        self.peer.outbox._channel = self.channel
        self.channel.start(self.peer)

    def is_paused(self) -> bool:
        return self.peer.outbox._paused_at_s is not None

    def close(self) -> None:
        for descriptor in (*self._theirs, self.read_fd, self.write_fd):
            if descriptor >= 0:
                os.close(descriptor)


def test_a_reader_that_lets_stdout_fill_pauses_the_outbox_and_resumes_it(
    registry: Registry,
) -> None:
    async def scenario() -> None:
        pipes = Pipes(registry)
        os.write(pipes.write_fd, frames(Hello()))
        await until(lambda: pipes.peer._session is not None)
        count = 0
        while not pipes.is_paused():
            os.write(pipes.write_fd, frames(Ping(id="x" * 100)) * 100)
            count += 100
            await asyncio.sleep(0.001)
        assert pipes.channel._unwritten > WRITE_HIGH_BYTES
        wire, got = ClientConnection(), 0
        loop = asyncio.get_running_loop()
        while got < count:
            data = await loop.run_in_executor(None, os.read, pipes.read_fd, 2**16)
            got += sum(isinstance(item, Pong) for item in wire.receive(memoryview(data)))
        assert not pipes.is_paused()
        os.close(pipes.write_fd)
        pipes.write_fd = -1
        await pipes.channel.ended.wait()
        assert pipes.channel.failed is None
        pipes.close()

    run(scenario)


def test_a_sender_that_is_made_to_wait_is_not_read_from(registry: Registry) -> None:
    async def scenario() -> None:
        pipes = Pipes(registry)
        os.write(pipes.write_fd, frames(Hello()))
        await until(lambda: pipes.peer._session is not None)
        pipes.channel.pause_reading()
        os.write(pipes.write_fd, frames(Ping(id=0)))  # the read that was already waiting
        os.set_blocking(pipes.write_fd, False)
        taken = 0
        with suppress(BlockingIOError):
            while taken <= 4 * 2**16:
                taken += os.write(pipes.write_fd, bytes(4096))
                await settle()
        assert taken <= 3 * 2**16  # the pipe's own 64 KiB, and a read or two
        pipes.channel.resume_reading()
        await pipes.channel.ended.wait()  # zeros are no frames
        pipes.close()

    run(scenario)


def test_an_answer_in_many_pieces_is_written_whole_before_the_end(registry: Registry) -> None:
    async def scenario() -> None:
        pipes = Pipes(registry)
        os.write(pipes.write_fd, frames(Hello(), Open(stream=0), Flush(stream=0)))
        os.close(pipes.write_fd)
        pipes.write_fd = -1
        await pipes.channel.ended.wait()
        messages = messages_of(os.read(pipes.read_fd, 2**16))
        assert [type(message).__name__ for message in messages] == [
            "Welcome",
            "Opened",
            "Flushed",
            "Closed",
        ]
        assert not pipes.channel.was_frame_cut
        pipes.close()

    run(scenario)


def test_a_reader_that_takes_a_little_at_a_time_shows_it(registry: Registry) -> None:
    """However much was handed over in one piece: so who reads is told from who does not."""

    async def scenario() -> None:
        pipes = Pipes(registry)
        pipes.channel.write(bytes(2**20))
        await until(lambda: pipes.channel.untaken_bytes <= 2**20 - 2**16)
        for _ in range(3):
            before = pipes.channel.untaken_bytes
            os.read(pipes.read_fd, WRITE_BYTES)
            await until(lambda before=before: pipes.channel.untaken_bytes < before)  # type: ignore[misc]
        pipes.channel.close()
        for _ in range(3):
            pipes.room.clock.advance(LINGER_S - 0.1)
            before = pipes.channel.untaken_bytes
            os.read(pipes.read_fd, WRITE_BYTES)
            await until(lambda before=before: pipes.channel.untaken_bytes < before)  # type: ignore[misc]
            pipes.channel.check()
        assert not pipes.channel.ended.is_set()
        pipes.room.clock.advance(LINGER_S)
        pipes.channel.check()
        assert pipes.channel.ended.is_set()
        assert isinstance(pipes.channel.failed, TimeoutError)
        os.set_blocking(pipes.read_fd, False)  # the last piece may be taken and not yet counted
        while pipes.channel.untaken_bytes:
            with suppress(BlockingIOError):
                os.read(pipes.read_fd, 2**16)
            await asyncio.sleep(0)

    run(scenario)


@pytest.mark.parametrize("reads_on", [True, False])
def test_a_drain_waits_for_who_reads_late_and_says_when_it_was_in_vain(reads_on: bool) -> None:
    """A reader that is busy for longer than the last words may take, but not than the drain."""
    count = 700  # more than a pipe holds
    limits = {"drain_timeout_s": 4.0 if reads_on else 0.5}
    ours, theirs = os.pipe()
    with subprocess.Popen(
        command(None, limits=limits),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            process.stdin.write(frames(Hello(), *[Ping(id="x" * 100)] * count))
            process.stdin.flush()
            wait_until(lambda: _unread(ours) >= 40_000, "a full pipe")
            process.terminate()
            if reads_on:
                time.sleep(1.5)
                output = b""
                while data := os.read(ours, 2**16):
                    output += data
                assert len([m for m in messages_of(output) if isinstance(m, Pong)]) == count
            assert process.wait(PATIENCE_S) == (0 if reads_on else 74)
            assert (b"stdout_failed" in process.stderr.read()) is not reads_on
        finally:
            os.close(ours)


def _unread(descriptor: int) -> int:
    held = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", held)[0])
