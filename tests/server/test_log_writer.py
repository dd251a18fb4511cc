"""The writer of the log: who writes never waits, and what is lost is told where it is missing."""

import errno
import os
from typing import Any

import pytest

from asrd.server import log_writer as module
from asrd.server.log_backlog import MAX_WAITING_BYTES
from asrd.server.log_writer import LogWriter
from support.unread import FILLING, full_pipe
from support.waiting import wait_until


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
        wait_until(lambda: pipe.writer._backlog.is_empty, "the thread to be stuck with it")
        line = b"x" * 999 + b"\n"
        fitting = MAX_WAITING_BYTES // len(line)
        for _ in range(fitting + 7):
            pipe.writer.write(line)
        assert pipe.writer._backlog.waiting_bytes <= MAX_WAITING_BYTES
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


@pytest.mark.parametrize(("takes", "lost"), [([], 0), ([2, 0], 2), ([2, 0, 8, 0], 3), ([6, 0], 1)])
def test_what_was_lost_stays_counted_once_it_is_told(
    monkeypatch: pytest.MonkeyPatch, takes: list[int], lost: int
) -> None:
    monkeypatch.setattr(module, "os", TornDisk(takes))
    writer = LogWriter(-1, lambda count: b"lost %d\n" % count)
    for line in (b"one\ntwo\n", b"three\n", b"four\n"):
        writer.write(line)
        assert writer.drain(5.0)
    assert writer.lost_lines == lost
