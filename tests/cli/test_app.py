"""The program as a whole: help, usage, speed of its start."""

import os
import subprocess
import sys

import pytest

from asrd.version import __version__
from cli.conftest import Run, command

COMMANDS = (
    "transcribe",
    "pipe",
    "listen",
    "serve",
    "replay",
    "providers",
    "models",
    "doctor",
    "health",
    "stats",
    "completion",
    "man",
    "service",
    "version",
)


def test_help_names_every_command(asrd: Run) -> None:
    outcome = asrd("--help")
    assert outcome.code == 0
    for name in COMMANDS:
        assert f"  {name} " in outcome.out
        assert asrd(name, "--help").out.startswith(f"Usage: asrd {name}")


def test_without_a_command_the_help_goes_to_stderr(asrd: Run) -> None:
    outcome = asrd()
    assert outcome.code == 64
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: asrd")


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_version(asrd: Run, arguments: list[str]) -> None:
    assert asrd(*arguments).out == f"asrd {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["transcribe"],
        ["transcribe", "--sample", "file.wav"],
        ["transcribe", "--format", "docx", "file.wav"],
        ["transcribe", "--option", "x", "file.wav"],
        ["transcribe", "--option", "x=1", "--socket", "s", "file.wav"],
        ["transcribe", "--sample", "--provider", "nonsense"],
        ["pipe", "--rate", "7999"],
        ["pipe", "--encoding", "u8"],
        ["listen", "nonsense"],
        ["listen", "--mic", "--rate", "8000"],
        ["serve", "--stdio", "--socket", "s"],
    ],
)
def test_a_command_line_without_sense_is_one_line_and_64(asrd: Run, arguments: list[str]) -> None:
    outcome = asrd(*arguments)
    assert outcome.code == 64
    assert outcome.out == ""
    assert ": see `asrd" in outcome.error


def test_help_imports_nothing_heavy() -> None:
    """Each of these would cost more than all that `--help` needs."""
    script = (
        "import sys; from asrd.cli.app import main; main(['--help']); "
        "heavy = {'asyncio', 'av', 'msgpack', 'msgspec', 'numpy', 'rich', 'structlog'}; "
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_takes_less_than_300_ms_of_processor_time() -> None:
    """Processor time, the best of three: what else runs on the machine does not count."""

    def measure() -> float:
        process = subprocess.Popen(command("--help"), stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    assert min(measure() for _ in range(3)) < 0.3


@pytest.mark.parametrize("arguments", [["--help"], ["bench", "--help"], ["--version"]])
def test_help_that_cannot_be_written_is_no_mistake_of_ours(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 74
    assert done.stderr.startswith("asrd: cannot write standard output: No space left")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_in_the_midst_of_the_imports_shows_no_traceback() -> None:
    program = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "asrd.cli.app":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from asrd.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
