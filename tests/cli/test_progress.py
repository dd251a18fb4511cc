"""The progress bar, on real terminals."""

import os
import pty
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd.wire.messages import Close
from cli.conftest import command, write_media
from support.fake_daemon import HANG_UP, FakeDaemon, closed, segment

TEXT = b"hello there\r\n"
ERASED = b"\x1b[2K"
"""What rich writes at last, to have the line of the bar back."""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Our end of a terminal of 80 columns and the program's."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def arguments(socket: Path, tmp_path: Path) -> list[str]:
    """A command that shows a bar on a terminal."""
    path = write_media(tmp_path / "speech.wav", audio_s=2)
    return command("transcribe", "--socket", socket, path)


def run(arguments: list[str], *, stdout: int, stderr: int) -> None:
    environment = {**os.environ, "TERM": "xterm"}
    subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        check=True,
    )


@pytest.mark.usefixtures("daemon")
def test_text_stands_above_the_bar_and_the_bar_goes(
    arguments: list[str], terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    run(arguments, stdout=theirs, stderr=theirs)
    shown = os.read(ours, 2**16)
    assert b"speech.wav" in shown
    assert shown.index(TEXT) > shown.index(b"speech.wav")
    assert shown.endswith(ERASED)


@pytest.mark.usefixtures("daemon")
def test_text_for_a_file_is_only_there(
    arguments: list[str], terminal: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = terminal
    with (tmp_path / "out").open("wb") as stdout:
        run(arguments, stdout=stdout.fileno(), stderr=theirs)
    assert (tmp_path / "out").read_bytes() == b"hello there\n"
    shown = os.read(ours, 2**16)
    assert b"speech.wav" in shown
    assert TEXT not in shown


def test_text_for_a_pipe_has_no_bar_beside_it(
    arguments: list[str], terminal: tuple[int, int], daemon: FakeDaemon
) -> None:
    ours, theirs = terminal
    read_end, write_end = os.pipe()
    run(arguments, stdout=write_end, stderr=theirs)
    os.set_blocking(ours, False)
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)
    assert os.read(read_end, 100) == b"hello there\n"
    os.close(read_end)
    os.close(write_end)
    assert daemon.heard


def test_a_break_is_told_above_the_bar(
    arguments: list[str], terminal: tuple[int, int], daemon: FakeDaemon
) -> None:
    """Each line of it stands alone: the bar is erased before it and drawn again below."""
    daemon.rules[Close] = lambda _: daemon.once("breaks", [HANG_UP], [segment(), closed()])
    ours, theirs = terminal
    run(arguments, stdout=theirs, stderr=theirs)
    shown = os.read(ours, 2**16)
    for line in (
        b"asrd: the connection to the daemon broke",
        b"asrd: the connection to the daemon is back",
    ):
        before = shown[: shown.index(line)]
        assert before.endswith((b"\n", b"\x1b[2K", b"\r")), before[-40:]
        assert b"speech.wav" not in shown[shown.index(line) :].partition(b"\n")[0]
    assert shown.endswith(ERASED)
