"""What a program started: it is seen at work, and is not left behind."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from asrd_process import ProcessSettings, _launch, group, program, vigil
from asrd_process.group import Group
from asrd_process.program import Program
from asrd_process.vigil import Vigil
from support.daemon import is_alive
from support.waiting import wait_until

BUSY = f"{shlex.quote(sys.executable)} -c 'while True: pass'; :"
"""A shell stays in front of it."""

Wrap = Callable[[str], Program]


@pytest.fixture
def wrap() -> Iterator[Wrap]:
    """Runs programs behind a shell, and ends them."""
    with ExitStack() as stack:

        def wrap_one(script: str) -> Program:
            command = shlex.join(["sh", "-c", script])
            started = Program(_launch(ProcessSettings(command=command), "program"), lambda: None)
            stack.callback(wait_until, lambda: started.has_ended, "its end")
            stack.callback(started.kill)
            return started

        yield wrap_one


def pid_in(file: Path) -> int:
    wait_until(lambda: file.exists() and file.read_text().strip(), "its child")
    return int(file.read_text())


def test_a_program_behind_a_wrapper_does_not_hang_while_it_computes(
    wrap: Wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "IDLE_S", 1.0)
    busy = wrap(BUSY)
    watch = Vigil(busy, lambda: True)
    until_s = time.monotonic() + 2.5
    while time.monotonic() < until_s:
        watch.look()
        time.sleep(0.02)
    before_s = busy.cpu_s
    wait_until(lambda: busy.cpu_s > before_s, "the time of what computes")


def test_the_time_of_children_that_have_ended_stays_counted(wrap: Wrap) -> None:
    once = "sum(range(10**7))"
    started = wrap(f"{shlex.quote(sys.executable)} -c '{once}'; echo done >&2; read line")
    wait_until(lambda: "done" in started.end_told, "its child's end")
    assert started.cpu_s >= 0.05


def test_the_whole_machine_is_looked_at_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    children = psutil.Process.children

    def count(self: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        nonlocal looks
        looks += 1
        found: list[psutil.Process] = children(self, recursive)
        return found

    monkeypatch.setattr(psutil.Process, "children", count)
    monkeypatch.setattr(group, "LOOK_FOR_MORE_EVERY_S", 60.0)
    processes = Group(["/bin/cat"])
    for _ in range(100):
        processes.activity()
    processes.abandon()
    assert looks == 1


def test_what_it_leaves_when_it_ends_by_itself_is_ended(wrap: Wrap, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    started = wrap(f"sleep 1000 >&- 2>&- & echo $! > {shlex.quote(str(file))}; exit 3")
    wait_until(lambda: started.has_ended, "its end")
    assert started.exit_code == 3
    wait_until(lambda: not is_alive(pid_in(file)), "the end of its child")


def test_what_holds_its_stdout_in_a_session_of_its_own_is_not_heard_for_ever(
    wrap: Wrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "LISTEN_ON_S", 0.2)
    file = tmp_path / "pid"
    code = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(1000)"
    apart = shlex.join([sys.executable, "-c", code])
    quoted = shlex.quote(str(file))
    # Its own stdout is the file; the program's it holds beside.
    started = wrap(f"{apart} 3>&1 >{quoted} & while ! [ -s {quoted} ]; do sleep 0.01; done")
    child = pid_in(file)
    try:
        wait_until(lambda: started.has_ended, "the end of the program itself", 5.0)
        assert is_alive(child)  # nothing but its stdin tells it
        pipes = (started._group.stdin, started._group.stdout, started._group.stderr)
        assert all(pipe.closed for pipe in pipes)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_what_was_ended_does_nothing(wrap: Wrap) -> None:
    started = wrap("exit 0")
    wait_until(lambda: started.has_ended, "its end")
    started.kill()  # its number may be another's by now
    assert started._group.activity() == (0.0, 0)
