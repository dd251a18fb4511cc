"""The progress bar and the sign of life, on real terminals."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd.wire.messages import Close, GetHealth, GetStats, Load, Open, Unload
from cli.conftest import command, write_media
from support.fake_daemon import HANG_UP, FakeDaemon, closed, segment
from support.terminal import UNIGNORED
from support.waiting import wait_until

TEXT = b"hello there\r\n"
ERASED = b"\x1b[2K"
"""What rich writes at last, to have the line of the bar back."""

HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


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


# ── a sign of life ────────────────────────────────────────────────────────────────────────────────

AT_ONCE = f"""{UNIGNORED}
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
from asrd.cli import progress
progress.QUIET_S = 0.0
from asrd.cli.app import main
sys.exit(main())
"""
"""The program as it is, but for the second in which it says nothing."""

ASKED = {GetHealth, GetStats, Load, Unload, Open}


def begun(
    *arguments: str | Path, stderr: int, stdout: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm", "XDG_RUNTIME_DIR": "/nonexistent"},
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["health", "--deep"], b"waiting for the daemon"),
        (["stats"], b"waiting for the daemon"),
        (["doctor"], b"examining the machine"),
        (["models", "load"], b"loading the model"),
        (["models", "unload"], b"unloading the model"),
        (["models", "list"], b"looking for models"),
        (["pipe"], b"loading the model"),
    ],
)
def test_what_takes_long_says_so_and_ctrl_c_ends_it(
    arguments: list[str], says: bytes, terminal: tuple[int, int], daemon: FakeDaemon, socket: Path
) -> None:
    """The daemon hears each question and never answers."""
    daemon.rules.update(dict.fromkeys(ASKED, lambda _: []))
    ours, theirs = terminal
    os.set_blocking(ours, False)
    shown = b""

    def has_shown(what: bytes) -> bool:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(ours, 2**16)
        return what in shown

    with begun(*arguments, "--socket", socket, stderr=theirs) as process:
        wait_until(lambda: has_shown(says), "a sign of life")
        wait_until(lambda: {type(each) for each in daemon.heard} & ASKED, "the question")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    has_shown(b"")
    assert b"Traceback" not in shown
    assert b"asrd: " not in shown
    assert shown.endswith(ERASED)
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("is_bar", [False, True])
def test_a_deadly_signal_leaves_nothing_on_the_terminal(
    number: signal.Signals,
    is_bar: bool,
    terminal: tuple[int, int],
    daemon: FakeDaemon,
    socket: Path,
    tmp_path: Path,
) -> None:
    """And whoever sent it sees that the program died of it."""
    daemon.rules.update(dict.fromkeys(ASKED, lambda _: []))
    ours, theirs = terminal
    os.set_blocking(ours, False)
    arguments: list[str | Path] = ["health", "--deep", "--wait-s", "60"]
    if is_bar:
        arguments = ["transcribe", write_media(tmp_path / "speech.wav", audio_s=2)]
    shown = b""
    with begun(*arguments, "--socket", socket, stderr=theirs) as process:
        wait_until(lambda: {type(each) for each in daemon.heard} & ASKED, "the question")
        while HIDE_CURSOR not in shown:
            with contextlib.suppress(BlockingIOError):
                shown += os.read(ours, 2**16)
        process.send_signal(number)
        assert process.wait(20) == -number
    with contextlib.suppress(BlockingIOError):
        shown += os.read(ours, 2**16)
    assert b"Traceback" not in shown
    assert shown.endswith(ERASED)
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR)


def test_nobody_is_told_where_there_is_no_terminal(socket: Path, daemon: FakeDaemon) -> None:
    with begun("health", "--socket", socket, stderr=subprocess.PIPE) as process:
        assert process.communicate(timeout=20)[1] == b""
    assert daemon.heard


def test_nothing_stands_beside_text_for_a_pipe(
    socket: Path, daemon: FakeDaemon, terminal: tuple[int, int]
) -> None:
    """What reads the pipe may draw on the same terminal."""
    ours, theirs = terminal
    with begun("pipe", "--socket", socket, stderr=theirs, stdout=subprocess.PIPE) as process:
        assert process.communicate(b"\0" * 6400, timeout=20)[0] == b"hello there\n"
    os.set_blocking(ours, False)
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)
    assert daemon.heard


def test_the_last_line_has_one_owner(terminal: tuple[int, int]) -> None:
    """Two that draw there would erase each other."""
    ours, theirs = terminal
    program = """
import threading, time
from asrd.cli import progress
progress.QUIET_S = 0.0
with progress.waiting("outer"):
    with progress.waiting("inner"):
        while threading.active_count() < 3: time.sleep(0.01)  # rich draws in a thread of its own
with progress.waiting("later"):
    while threading.active_count() < 3: time.sleep(0.01)
with progress.shown(is_stdout_used=False) as bar, progress.waiting("below"):
    bar.portion("half", 0.5, "9 s left")
for thread in threading.enumerate()[1:]: thread.join(10)
assert threading.active_count() == 1
"""
    run([sys.executable, "-c", program], stdout=theirs, stderr=theirs)
    shown = os.read(ours, 2**16)
    for text in (b"outer", b"later", b"50%", b"9 s left"):
        assert text in shown, shown
    assert b"inner" not in shown
    assert b"below" not in shown
