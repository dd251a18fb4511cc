"""Every end of a daemon, and what looks like one: nothing is left behind, nobody is forgotten."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from asrd.wire.messages import (
    Ping,
    Pong,
)
from faults.scenes import (
    MARKED_AT_S,
    PHRASE,
    is_decoding,
    unruly_daemon,
)
from support.daemon import (
    Daemon,
    command,
    environment,
    install_plugins,
    is_alive,
    running_daemon,
)
from support.unruly import marked
from support.waiting import wait_until

GONE_WITHIN_S = 2.0
BUSY_MACHINE_S = 1.0
"""What a test grants a machine that has other things to do."""

BAD = marked(PHRASE, MARKED_AT_S)


def assert_gone(family: Iterable[psutil.Process]) -> None:
    """Every one of these processes has ended, or ends in a moment."""
    wait_until(
        lambda: not any(is_alive(each.pid) for each in family), "processes to end", GONE_WITHIN_S
    )


# ── nothing is left ───────────────────────────────────────────────────────────────────────────


def end_by(*numbers: int) -> Callable[[Daemon], None]:
    """Signals, one after the other."""

    def end(daemon: Daemon) -> None:
        for number in numbers:
            daemon.process.send_signal(number)
            wait_until(
                lambda: daemon.process.poll() is not None or daemon.logged("draining"),
                "the signal to be heard",
            )

    return end


ENDS = {
    "SIGTERM": (end_by(signal.SIGTERM), 0),
    "SIGINT": (end_by(signal.SIGINT), 0),
    "twice": (end_by(signal.SIGTERM, signal.SIGTERM), 0),
    "both": (end_by(signal.SIGINT, signal.SIGTERM), 0),
    "SIGKILL": (end_by(signal.SIGKILL), -signal.SIGKILL),
    "SIGSEGV": (end_by(signal.SIGSEGV), -signal.SIGSEGV),
}


@pytest.mark.parametrize("end", ENDS)
def test_after_any_end_nothing_runs_and_nothing_lies_about(tmp_path: Path, end: str) -> None:
    """While a decode is under way that never ends, so that there is something to leave behind."""
    make_end, code = ENDS[end]
    with (
        unruly_daemon(
            tmp_path, deed="sleep", config={"limits": {"drain_timeout_s": 0.5}}
        ) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, BAD)
        wait_until(lambda: is_decoding(client), "a decode that never ends")
        family = [psutil.Process(pid) for pid in daemon.worker_pids]
        assert len(family) == 2
        make_end(daemon)
        assert daemon.process.wait(20) == code
        assert_gone(family)
        left = sorted(path.name for path in daemon.path.parent.iterdir())
        assert left == (["s", "s.lock"] if code < 0 else ["s.lock"])
        if code == -signal.SIGSEGV:  # a crash writes where each thread was
            assert daemon.strays[0] == "Fatal Python error: Segmentation fault"
            assert any(line.startswith("Current thread 0x") for line in daemon.strays)
        else:
            assert not daemon.strays
    with running_daemon(tmp_path) as successor, successor.greet() as client:
        assert len(client.transcribe(1, PHRASE, partials=False)) == 1
        assert successor.terminate() == 0
        assert sorted(path.name for path in successor.path.parent.iterdir()) == ["s.lock"]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"provider": "ecko"}, 78),
        ({"model": "bad_at_load", "settings": {"deed": "raise"}, "use": {"required": True}}, 69),
        ({"model": "bad_at_load", "settings": {"deed": "SIGKILL"}, "use": {"required": True}}, 69),
    ],
)
def test_a_start_that_fails_leaves_nothing(
    tmp_path: Path, config: dict[str, Any], code: int
) -> None:
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    rule = {"load_attempts": 1}
    daemon = Daemon(tmp_path, [plugins], **{"provider": "unruly", "supervision": rule, **config})
    family = psutil.Process(daemon.pid)
    seen: set[psutil.Process] = set()
    while daemon.process.poll() is None:
        try:
            seen |= {*family.children(recursive=True)}
        except psutil.NoSuchProcess:
            break
        time.sleep(0.01)
    assert daemon.process.wait(20) == code, daemon.stderr
    assert_gone(seen)
    folder = daemon.path.parent
    assert not folder.exists() or [path.name for path in folder.iterdir()] == ["s.lock"]
    assert "Traceback" not in daemon.stderr


def test_a_start_that_finds_another_daemon_leaves_that_ones_socket(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        second = subprocess.run(
            command(daemon.path), env=environment(), capture_output=True, check=False, timeout=30
        )
        assert second.returncode == 75
        with daemon.greet() as client:
            client.send(Ping(id=1))
            assert client.expect(Pong).id == 1


def test_a_signal_while_it_starts_leaves_no_socket(tmp_path: Path) -> None:
    """As soon as the path is there, whoever starts it may end it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        daemon = Daemon(tmp_path, eager=False)
        try:
            wait_until(daemon.path.exists, "a socket")
            daemon.process.send_signal(number)
            assert daemon.process.wait(20) == 0
            assert not daemon.path.exists()
            assert not daemon.strays
        finally:
            daemon.kill()
