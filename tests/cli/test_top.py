"""`asrd top`: on a terminal, which it leaves as it was, and in a pipe."""

import json
import signal
from pathlib import Path

import psutil
import pytest

from asrd.cli.screens.frame import LOST
from asrd.wire.messages import Audio, GetHealth, GetStats, Hello, Stats
from cli.conftest import Outcome, Run
from support.daemon import running_daemon
from support.fake_daemon import HANG_UP, FakeDaemon, Reply
from support.looks import BARE, health, stats, stream
from support.terminal import Terminal
from support.waiting import wait_until

OTHER_SCREEN, OWN_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
SOUND = (3641).to_bytes(2, "little") * 16_000
"""A second of it at -19 dBFS."""

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def busy(daemon: FakeDaemon) -> FakeDaemon:
    daemon.rules[GetHealth] = lambda _: [health()]
    daemon.rules[GetStats] = lambda _: [stats()]
    return daemon


def on_terminal(socket: Path, *options: str, program: str = "", **more: int) -> Terminal:
    start = ["-c", program] if program else ["-m", "asrd"]
    arguments = [*start, "top", "--socket", str(socket), "--interval-s", "0.1", *options]
    return Terminal(arguments, **more)  # type: ignore[arg-type]


def assert_given_back(terminal: Terminal) -> None:
    """The usual screen, a cursor, and the modes of before."""
    assert terminal.modes == terminal.modes_before
    on_other_screen, _, behind = terminal.written.rpartition(OWN_SCREEN)
    assert OTHER_SCREEN not in behind
    assert on_other_screen.rpartition(HIDE_CURSOR)[2].endswith(SHOW_CURSOR)


@pytest.mark.parametrize(
    ("keys", "number", "status"),
    [
        ("q", None, 0),
        ("\x03", None, 130),
        ("", signal.SIGTERM, -signal.SIGTERM),
        ("", signal.SIGHUP, -signal.SIGHUP),
        ("\x1c", None, -signal.SIGQUIT),
    ],
)
def test_it_ends_by_a_key_or_a_signal_and_gives_the_terminal_back(
    busy: FakeDaemon, socket: Path, keys: str, number: signal.Signals | None, status: int
) -> None:
    with on_terminal(socket) as terminal:
        terminal.read_until(OTHER_SCREEN, "s1/2", "q quits")
        assert terminal.modes != terminal.modes_before
        terminal.type(keys)
        if number is not None:
            terminal.process.send_signal(number)
        assert terminal.wait() == status
        assert_given_back(terminal)


@pytest.mark.parametrize("good_frames", [0, 1])
def test_a_mistake_of_ours_gives_the_terminal_back_too(
    busy: FakeDaemon, socket: Path, good_frames: int
) -> None:
    program = f"""
import sys
from asrd.cli.screens import stage
from asrd.cli.app import main
shown = stage.frame
def broken(*arguments, **more):
    stage.frame = fail
    return shown(*arguments, **more)
def fail(*_, **__):
    raise RuntimeError("a bug")
stage.frame = broken if {good_frames} else fail
sys.exit(main(sys.argv[1:]))
"""
    with on_terminal(socket, program=program) as terminal:
        assert terminal.wait() == 70
        assert_given_back(terminal)
        assert "a bug" in terminal.written.rpartition(OWN_SCREEN)[2]


def test_a_key_sorts_and_a_new_size_is_filled_at_once(busy: FakeDaemon, socket: Path) -> None:
    with on_terminal(socket, "--interval-s", "60") as terminal:
        assert "READ BY" not in terminal.read_until("s sorts: priority", "a recorder")
        terminal.type("s")
        terminal.read_until("s sorts: backlog")
        terminal.resize(160, 50)
        terminal.read_until("READ BY", "a recorder")
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_daemon_that_goes_away_is_waited_for(busy: FakeDaemon, socket: Path) -> None:
    answers: list[Reply] = [[stats(level=4)], [HANG_UP], [stats()]]
    busy.rules[GetStats] = lambda _: answers.pop() if len(answers) > 1 else answers[0]
    with on_terminal(socket) as terminal:
        terminal.read_until(LOST)
        terminal.read_until("level 4")
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_daemon_that_stops_answering_does_not_have_the_screen_drawn_over(
    busy: FakeDaemon, socket: Path
) -> None:
    """No sign of life beside the frame while the daemon takes connections and says nothing."""
    program = """
import sys
from asrd.cli import progress, reach
from asrd.cli.screens import watching
progress.QUIET_S, reach.QUICKLY_S = 0.0, 0.5
watching.ANSWER_TIMEOUT_S = watching.RETRY_S = 0.1
from asrd.cli.app import main
sys.exit(main(sys.argv[1:]))
"""
    with on_terminal(socket, program=program) as terminal:
        terminal.read_until(OTHER_SCREEN, "s1/2")
        busy.rules |= {Hello: lambda _: [], GetHealth: lambda _: []}
        terminal.read_until("has not answered")
        for _ in range(2):  # it greets nobody any more, either
            terminal.read_until(LOST)
        terminal.type("q")
        assert terminal.wait() == 0
        assert_given_back(terminal)
    on_screen = terminal.written.partition(OTHER_SCREEN)[2].partition(OWN_SCREEN)[0]
    assert "waiting for the daemon" not in on_screen
    assert SHOW_CURSOR not in on_screen.removesuffix(SHOW_CURSOR)  # but at the very end


def test_a_daemon_that_says_nothing_from_the_start_is_told_and_is_no_look(
    daemon: FakeDaemon, socket: Path
) -> None:
    """`--count` counts looks: on the stage as in a pipe."""
    program = """
import sys
from asrd.cli.screens import watching
watching.ANSWER_TIMEOUT_S = watching.RETRY_S = 0.1
from asrd.cli.app import main
sys.exit(main(sys.argv[1:]))
"""
    daemon.rules[GetHealth] = lambda _: []
    daemon.rules[GetStats] = lambda _: [stats()]
    with on_terminal(socket, "--count", "1", program=program) as terminal:
        terminal.read_until(OTHER_SCREEN, LOST, "q quits")
        terminal.read_until(LOST)
        daemon.rules[GetHealth] = lambda _: [health()]
        terminal.read_until("s1/2")
        assert terminal.wait() == 0
        assert_given_back(terminal)


def test_it_can_be_put_aside_and_taken_up_again(busy: FakeDaemon, socket: Path) -> None:
    with on_terminal(socket) as terminal:
        terminal.read_until("q quits")
        terminal.type("\x1a")
        child = psutil.Process(terminal.process.pid)
        wait_until(lambda: child.status() == psutil.STATUS_STOPPED, "it stops")
        terminal.read_until(OWN_SCREEN)
        assert terminal.modes == terminal.modes_before
        terminal.process.send_signal(signal.SIGCONT)
        terminal.read_until(OTHER_SCREEN, "q quits")
        terminal.type("q")
        assert terminal.wait() == 0
        assert_given_back(terminal)


def test_colours_are_left_out_where_they_are_not_wanted(busy: FakeDaemon, socket: Path) -> None:
    arguments = ["-m", "asrd", "top", "--socket", str(socket), "--count", "1"]
    with Terminal(arguments, environment={"NO_COLOR": "1", "LC_ALL": "C"}) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[32m" not in terminal.written
    assert terminal.written.isascii()
    assert "========" in terminal.written


# ── in a pipe ─────────────────────────────────────────────────────────────────────────────────


def test_in_a_pipe_it_is_one_frame(asrd: Run, busy: FakeDaemon, socket: Path) -> None:
    streams = [stream(number) for number in range(1000)]
    busy.rules[GetStats] = lambda _: [stats(streams=streams)]
    outcome = asrd("top", "--socket", socket)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert all(len(line) <= 160 for line in lines)
    assert sum(line.startswith("s1/") for line in lines) == 1000
    assert "\x1b" not in outcome.out


def test_as_json_it_is_an_object_for_each_look(asrd: Run, busy: FakeDaemon, socket: Path) -> None:
    options = ("--json", "--count", "2", "--interval-s", "0.1")
    outcome = asrd("top", "--socket", socket, *options)
    assert (outcome.code, outcome.err) == (0, "")
    looks = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(looks) == 2
    assert looks[0].keys() == {"server", "socket", "health", "stats"}
    assert [each["stream"] for each in looks[1]["stats"]["streams"]] == [1, 2]
    assert [message for message in busy.heard if message == GetStats(streams=True)]


def test_what_an_older_daemon_does_not_tell_is_left_out(
    asrd: Run, busy: FakeDaemon, socket: Path
) -> None:
    bare: Stats = BARE.stats
    busy.rules[GetStats] = lambda _: [bare]
    assert "this daemon is too old" in asrd("top", "--socket", socket).out
    (told,) = asrd("top", "--socket", socket, "--json", "--count", "1").out.splitlines()
    assert "streams" not in json.loads(told)["stats"]


def test_without_a_daemon_there_is_nothing_to_watch(asrd: Run, tmp_path: Path) -> None:
    outcome = asrd("top", "--socket", tmp_path / "nobody")
    assert outcome.code == 69
    assert "start one with `asrd serve" in outcome.error


def test_a_real_daemon_is_looked_at(asrd: Run, tmp_path: Path) -> None:
    """By `asrd top` and by `asrd status`."""

    def seen(*arguments: str) -> Outcome:
        return asrd(*arguments, "--socket", daemon.path)

    def row() -> str:
        return next((line for line in seen("top").out.splitlines() if " system " in line), "")

    with running_daemon(tmp_path) as daemon:
        daemon.wait_until_ready()
        with daemon.greet() as client:
            client.open(3, source="system")
            assert row().split()[-6:] == ["system", "2", "silent", "-", "echo", "0"]
            client.send(Audio(stream=3, data=SOUND))
            wait_until(lambda: row().split()[5:7] == ["━━━╸─", "-19"], "the sound is looked at")
            (told,) = json.loads(seen("top", "--json", "--count", "1").out)["stats"]["streams"]
            assert (told["stream"], told["is_connected"], told["audio_s"]) == (3, True, 1.0)
            status = seen("status")
            assert (status.code, status.out.splitlines()[0].split(",")[0].split()[-1]) == (
                0,
                "ready",
            )
