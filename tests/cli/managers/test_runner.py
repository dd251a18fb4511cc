"""Real programs, run from lists of arguments."""

import sys

import pytest

from asrd.cli.exits import CommandError, OutputClosed
from asrd.cli.managers.runner import LATE, MISSING, ProcessRunner

RUNNER = ProcessRunner()


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_what_it_prints_and_how_it_ends() -> None:
    code = "import sys; print(sys.argv[1]); sys.stderr.buffer.write(b'x\\xff'); sys.exit(3)"
    done = RUNNER.run([*python(code), "$HOME; `id`"])
    assert (done.code, done.out, done.err) == (3, "$HOME; `id`\n", "x\N{REPLACEMENT CHARACTER}")
    assert done.problem == done.err


def test_nothing_is_read_from_our_stdin() -> None:
    assert RUNNER.run(python("import sys; print(sys.stdin.read() == '')")).out == "True\n"


def test_what_is_not_there_is_an_outcome() -> None:
    done = RUNNER.run(["/nowhere/systemctl"])
    assert (done.code, done.problem) == (MISSING, "/nowhere/systemctl is not installed")
    assert "cannot be run" in RUNNER.run(["/dev/null"]).problem


def test_what_takes_too_long_is_ended() -> None:
    done = RUNNER.run(python("import time; time.sleep(60)"), timeout_s=0.2)
    assert done.code == LATE
    assert done.problem.startswith("it took longer than")


def test_what_is_shown_goes_to_our_own_output(capfd: pytest.CaptureFixture[str]) -> None:
    assert RUNNER.show(python("print('a line'); raise SystemExit(4)")) == 4
    assert capfd.readouterr().out == "a line\n"


def test_a_reader_that_went_is_no_failure() -> None:
    code = "import os, signal; signal.signal(13, signal.SIG_DFL); os.kill(os.getpid(), 13)"
    with pytest.raises(OutputClosed):
        RUNNER.show(python(code))


def test_a_log_program_that_is_not_there_is_told() -> None:
    with pytest.raises(CommandError, match="/nowhere/journalctl: is not installed") as caught:
        RUNNER.show(["/nowhere/journalctl"])
    assert caught.value.code == 69
