"""One running program: what it takes, how it ends, and what is told of it."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from asrd import DecodeCancelled, ProviderError
from asrd.config import Supervision
from asrd_process import ProcessProvider, ProcessSettings, _launch, vigil
from asrd_process.output import TextOutput
from asrd_process.program import Program
from asrd_process.vigil import Vigil
from support.daemon import is_alive
from support.listening import settings
from support.waiting import wait_until

Start = Callable[..., Program]
MUCH = bytes(2**18)
"""More than a pipe holds."""


def keep_going() -> bool:
    return True


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs that hear nothing, each with an utterance begun, and ends them."""
    with ExitStack() as stack:

        def start_one(*options: str) -> Program:
            chosen = settings("--deaf", *options)
            launch = _launch(ProcessSettings(**chosen), "program")  # type: ignore[arg-type]
            program = Program(launch, lambda: None)
            stack.callback(wait_until, lambda: program.has_ended, "its end")
            stack.callback(program.kill)
            wait_until(lambda: program.is_ready, "a program that listens")
            program.begin(TextOutput())
            return program

        yield start_one


def test_one_that_takes_no_more_is_waited_for_no_longer_than_allowed(start: Start) -> None:
    program = start("--stall", "4096")
    began_s = time.monotonic()
    with pytest.raises(ProviderError, match=r"has taken no audio for 0\.3 s"):
        program.write(MUCH, Vigil(program, keep_going).look, 0.3)
    assert 0.3 <= time.monotonic() - began_s < 5.0


def test_one_that_does_nothing_at_all_is_waited_for_less_long(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than the daemon waits for the worker."""
    assert Supervision().hang_after_s > vigil.IDLE_S
    monkeypatch.setattr(vigil, "IDLE_S", 0.3)
    program = start("--stall", "4096")
    with pytest.raises(ProviderError, match=r"has done nothing at all for 0\.3 s"):
        program.write(MUCH, Vigil(program, keep_going).look, 60.0)


def test_audio_that_nobody_wants_any_more_is_not_written(start: Start) -> None:
    program = start()
    with pytest.raises(DecodeCancelled):
        program.write(bytes(2**20), Vigil(program, lambda: False).look, 5.0)


def test_one_that_dies_says_how_and_what_it_said_last(start: Start) -> None:
    program = start("--die-after", "8192")
    with pytest.raises(ProviderError, match=r"ended with exit code 4: \[out of cheese\]"):
        program.write(bytes(2**22), Vigil(program, keep_going).look, 5.0)


def test_one_that_is_killed_is_told_by_its_signal(start: Start) -> None:
    program = start()
    os.kill(program.pid, signal.SIGSEGV)
    wait_until(lambda: program.has_ended, "its end")
    with pytest.raises(ProviderError, match="was ended by SIGSEGV"):
        program.write(bytes(2), Vigil(program, keep_going).look, 5.0)


def test_a_flood_ends_the_program_that_prints_it(start: Start) -> None:
    program = start("--flood", "4096")
    program.write(bytes(8192), Vigil(program, keep_going).look, 5.0)
    wait_until(lambda: program.has_ended, "its end")
    with pytest.raises(ProviderError, match="printed more than 65536 characters"):
        program.end_output()


def test_messages_tell_no_arguments(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    program = start("--end-with", "17", "--die-after", "4096")
    assert "--end-with" not in repr(program._launch)
    with pytest.raises(ProviderError) as told:
        program.write(bytes(2**22), Vigil(program, keep_going).look, 5.0)
    assert "--" not in str(told.value)
    said = capfd.readouterr().err
    assert f"({program.pid}): [out of cheese]\n" in said
    assert "--" not in said


def test_it_is_itself_and_has_the_cores_that_a_worker_may_not_have(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # as a worker is started
    program = start()
    assert os.getsid(program.pid) == program.pid
    process = psutil.Process(program.pid)
    assert "OPENBLAS_NUM_THREADS" not in process.environ()
    assert "tied.py" not in " ".join(process.cmdline())


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_a_broken_pipe_ends_it_as_it_ends_programs_from_a_shell() -> None:
    shown = shlex.join(["sh", "-c", "grep SigIgn /proc/$$/status >&2; exit 3"])
    launch = _launch(ProcessSettings(command=shown), "program")
    program = Program(launch, lambda: None)
    said: list[str] = []
    program.tell = lambda *lines: said.extend(lines)  # type: ignore[method-assign]
    wait_until(lambda: program.has_ended, "its end")
    (ignored,) = (line.split()[1] for line in said if line.startswith("SigIgn"))
    assert not int(ignored, 16) >> signal.SIGPIPE - 1 & 1


def test_what_it_started_is_ended_with_it(tmp_path: Path) -> None:
    script = "sleep 1000 & echo $! > pid; cat"
    command = shlex.join(["sh", "-c", f"cd {shlex.quote(str(tmp_path))}; {script}"])
    program = Program(_launch(ProcessSettings(command=command), "program"), lambda: None)
    file = tmp_path / "pid"
    wait_until(lambda: file.exists() and file.read_text().strip(), "its child")
    child = int(file.read_text())
    program.kill()
    wait_until(lambda: program.has_ended and not is_alive(child), "the end of both")


def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"\x00\x01\x02")
    file.chmod(0o755)
    with pytest.raises(ProviderError, match=r"exit code 126: model\.bin cannot be run"):
        ProcessProvider().load("program", {"command": f"{file} --key hidden"})


def test_one_that_closes_its_stdin_and_runs_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asrd_process.program.REAP_S", 0.2)
    command = shlex.join(["sh", "-c", "exec <&-; echo closed >&2; exec sleep 1000"])
    program = Program(_launch(ProcessSettings(command=command), "program"), lambda: None)
    wait_until(lambda: "closed" in program.end_told, "a closed stdin")
    with pytest.raises(ProviderError, match=r"^sh has closed its stdin: closed"):
        program.write(bytes(2), Vigil(program, keep_going).look, 5.0)
    program.kill()
    wait_until(lambda: program.has_ended, "its end")
