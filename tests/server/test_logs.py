"""Logs on stderr: lines of JSON, or for people, and never the end of the daemon."""

import errno
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from asrd.server import logs as module
from asrd.server.logs import LAST_LINES_S, LEVELS, MAX_WAITING_BYTES, LogWriter
from support.unread import FILLING, full_pipe
from support.waiting import wait_until

SCRIPT = """
import structlog
from asrd.server import logs
logs.configure({level!r})
log = structlog.get_logger()
log.debug("one", stream=1)
log.info("two", text="ü\\n")
log.warning("three")
try:
    1 / 0
except ZeroDivisionError:
    log.error("four", exc_info=True)
print("done")
"""


def run(level: str, stderr: int) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=False,
        timeout=60,
    )


def test_what_is_no_terminal_gets_one_object_of_json_for_each_line() -> None:
    done = run("debug", subprocess.PIPE)
    assert done.stdout == b"done\n"
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["one", "two", "three", "four"]
    assert [line["level"] for line in lines] == ["debug", "info", "warning", "error"]
    assert lines[0]["stream"] == 1
    assert lines[1]["text"] == "ü\n"
    assert lines[0]["timestamp"].endswith("Z")
    assert "ZeroDivisionError" in lines[3]["exception"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_leaves_out_what_is_below_it(level: str) -> None:
    done = run(level, subprocess.PIPE)
    assert len(done.stderr.splitlines()) == len(LEVELS) - LEVELS.index(level)


def test_a_terminal_gets_lines_for_people() -> None:
    reader, terminal = pty.openpty()
    try:
        assert run("info", terminal).stdout == b"done\n"
        text = os.read(reader, 65_536)
    finally:
        os.close(reader)
        os.close(terminal)
    assert b"two" in text
    assert b"{" not in text


def test_a_log_that_nobody_reads_any_more_is_no_reason_to_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("debug", writer)
    finally:
        os.close(writer)
    assert done.stdout == b"done\n"
    assert done.returncode == 0


def test_a_terminal_that_is_closed_is_no_reason_to_end() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, SCRIPT.format(level="debug")],
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == (b"done\n", 0)


def test_a_full_disk_is_no_reason_to_end() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run("debug", full.fileno())
    assert (done.stdout, done.returncode) == (b"done\n", 0)


def test_a_pipe_that_nobody_reads_holds_up_the_end_for_a_moment_only() -> None:
    reader, writer = full_pipe()
    try:
        started = time.monotonic()
        done = run("debug", writer)
        took_s = time.monotonic() - started
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.stdout, done.returncode) == (b"done\n", 0)
    assert took_s < LAST_LINES_S + 2.0  # with the start of Python


def test_another_level_reaches_those_who_have_a_logger() -> None:
    script = """
import structlog
from asrd.server import logs
logs.configure("warning")
log = structlog.get_logger()
log.info("one")
log.warning("two")
logs.set_level("debug")
log.debug("three")
logs.set_level("error")
log.warning("four")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60
    )
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["two", "three"]


def test_what_a_library_writes_to_stderr_does_not_wait_either() -> None:
    script = """
import sys, warnings, logging
from asrd.server import logs
logs.configure("warning")
for _ in range(100):
    print("x" * 10_000, file=sys.stderr)
    logging.getLogger("asyncio").error("e" * 10_000)
print("done")
"""
    reader, writer = full_pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=writer,
            check=True,
            timeout=60,
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert done.stdout == b"done\n"


# ── the writer ────────────────────────────────────────────────────────────────────────────────


class Pipe:
    """A writer on a pipe that is full, and its other end."""

    def __init__(self) -> None:
        self.reader, self.fd = full_pipe()
        self.writer = LogWriter(self.fd, lambda count: b"lost %d\n" % count)

    def read(self, until: bytes) -> bytes:
        """Everything up to the line, without what the pipe was filled with."""
        got = b""
        while not got.endswith(until):
            got += os.read(self.reader, 2**16)
        return got.replace(FILLING, b"")

    def __enter__(self) -> "Pipe":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)  # a write that waits fails
        self.writer.drain(5.0)
        os.close(self.fd)


def test_lines_wait_for_a_reader_and_come_in_order() -> None:
    with Pipe() as pipe:
        for number in range(100):
            assert pipe.writer.write(b"line %d\n" % number) > 0
        assert not pipe.writer.drain(0.05)
        lines = pipe.read(b"line 99\n").splitlines()
        assert lines == [b"line %d" % number for number in range(100)]
        assert pipe.writer.drain(5.0)


def test_what_finds_no_room_is_counted_and_told_where_it_is_missing() -> None:
    """Also when nothing is logged afterwards: that is when somebody looks."""
    with Pipe() as pipe:
        pipe.writer.write(b"first\n")
        wait_until(lambda: not pipe.writer._waiting, "the thread to be stuck with it")
        line = b"x" * 999 + b"\n"
        fitting = MAX_WAITING_BYTES // len(line)
        for _ in range(fitting + 7):
            pipe.writer.write(line)
        assert pipe.writer._waiting_bytes <= MAX_WAITING_BYTES
        assert pipe.writer.write(b"short, but behind the gap\n")
        lines = pipe.read(b"lost 8\n").splitlines(keepends=True)
        assert lines == [b"first\n", *[line] * fitting, b"lost 8\n"]
        pipe.writer.write(b"again\n")
        assert pipe.read(b"again\n") == b"again\n"


def test_what_could_not_be_written_is_told_before_what_can() -> None:
    """A disk that is full and has room again."""
    reader, writer_fd = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    target = os.dup(full)
    writer = LogWriter(target, lambda count: b"lost %d\n" % count)
    try:
        writer.write(b"one\n")
        assert writer.drain(5.0)
        writer.write(b"two\nthree\n")
        assert writer.drain(5.0)
        os.dup2(writer_fd, target)
        writer.write(b"four\n")
        assert writer.drain(5.0)
        assert os.read(reader, 100) == b"lost 3\nfour\n"
        writer.write(b"five\n")
        assert writer.drain(5.0)
        assert os.read(reader, 100) == b"five\n"
    finally:
        for descriptor in (reader, writer_fd, full, target):
            os.close(descriptor)


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing() -> None:
    with Pipe() as pipe:
        os.set_blocking(pipe.fd, False)
        pipe.writer.write(b"a" * 100_000 + b"\n")
        pipe.writer.write(b"end\n")
        assert pipe.read(b"end\n") == b"a" * 100_000 + b"\nend\n"


def test_one_line_that_is_too_long_is_the_only_one_lost() -> None:
    """Also while nothing waits and nothing is being written."""
    reader, descriptor = os.pipe()
    writer = LogWriter(descriptor, lambda count: b"lost %d\n" % count)
    try:
        writer.write(b"x" * MAX_WAITING_BYTES + b"\n")
        assert writer.drain(5.0)
        writer.write(b"next\n")
        assert writer.drain(5.0)
        assert os.read(reader, 100) == b"lost 1\nnext\n"
    finally:
        os.close(reader)
        os.close(descriptor)


class TornDisk:
    """`os`, where a write takes as many bytes as `takes` says, and none where it has 0."""

    def __init__(self, takes: list[int]) -> None:
        self.takes = takes
        self.taken = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, _: int, data: memoryview) -> int:
        size = self.takes.pop(0) if self.takes else len(data)
        if size == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken += data[:size]
        return min(size, len(data))


@pytest.mark.parametrize(
    ("takes", "expected"),
    [
        ([], b"one\ntwo\nthree\n"),
        ([2, 0], b"on\nlost 1\ntwo\nthree\n"),  # torn: what follows has a line of its own
        ([3, 0], b"one\nlost 1\ntwo\nthree\n"),
        ([2, 0, 0], b"on\nlost 2\nthree\n"),
        ([2, 0, 4, 0], b"on\nlos\nlost 2\nthree\n"),  # the line that tells of it is torn as well
        ([2, 0, 8, 0], b"on\nlost 1\nlost 1\nthree\n"),  # told, and then one more
        ([2, 0, 1, 0], b"on\nlost 2\nthree\n"),
        ([1, 1, 2], b"one\ntwo\nthree\n"),  # in pieces
    ],
)
def test_a_line_that_was_torn_is_lost_and_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, takes: list[int], expected: bytes
) -> None:
    disk = TornDisk(takes)
    monkeypatch.setattr(module, "os", disk)
    writer = LogWriter(-1, lambda count: b"lost %d\n" % count)
    for line in (b"one\n", b"two\n", b"three\n"):
        writer.write(line)
        assert writer.drain(5.0)
    assert disk.taken == expected


def test_of_several_lines_those_that_were_taken_are_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = TornDisk([6, 0])
    monkeypatch.setattr(module, "os", disk)
    writer = LogWriter(-1, lambda count: b"lost %d\n" % count)
    writer.write(b"one\ntwo\nthree\n")
    assert writer.drain(5.0)
    writer.write(b"four\n")
    assert writer.drain(5.0)
    assert disk.taken == b"one\ntw\nlost 2\nfour\n"
