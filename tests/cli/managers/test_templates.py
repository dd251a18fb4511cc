"""The shipped service files with another program in them, read by those who will read them."""

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from asrd.cli.exits import CommandError
from asrd.cli.managers.templates import read_template, with_exec_start, with_program_arguments

UNITS = ("asrd.service", "user/asrd.service")
AWKWARD = ("a b", "100%", "%h", "semi;colon", "ünï", "#", "@", "-", "(x)", "a & b")


def exec_start(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    return line


@pytest.mark.parametrize("name", UNITS)
def test_one_line_is_changed(name: str) -> None:
    shipped = read_template("systemd", name)
    changed = with_exec_start(shipped, ["/opt/asrd/bin/python", "-m", "asrd"])
    assert exec_start(changed) == "ExecStart=/opt/asrd/bin/python -m asrd serve"
    pairs = zip(shipped.splitlines(), changed.splitlines(), strict=True)
    assert [old for old, new in pairs if old != new] == [exec_start(shipped)]


@pytest.mark.parametrize("folder", AWKWARD)
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_the_program_in_a_folder_of_any_name(
    tmp_path: Path, name: str, folder: str
) -> None:
    """It looks whether the program exists, so it must have read the very path."""
    program = tmp_path / folder / "asrd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = with_exec_start(read_template("systemd", name), [str(program)])
    assert verify(tmp_path, name, unit) == ""
    program.unlink()
    assert str(program) in verify(tmp_path, name, unit)


def verify(folder: Path, name: str, unit: str) -> str:
    """What systemd-analyze has to say."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    path = folder / "asrd.service"
    path.write_text(unit)
    socket = read_template("systemd", name.replace(".service", ".socket"))
    path.with_suffix(".socket").write_text(socket)
    scope = ["--user"] if name.startswith("user/") else []
    done = subprocess.run(
        [analyze, *scope, "verify", "--man=no", path, path.with_suffix(".socket")],
        capture_output=True,
        text=True,
        env={"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )
    return done.stderr


@pytest.mark.parametrize(
    "word", ["/a/$b", "/it's", '/qu"ote', "/back\\slash", "/a\nb", "/a\x1bb", "/\udcff"]
)
def test_what_no_unit_can_hold_is_refused(word: str) -> None:
    with pytest.raises(CommandError, match="install asrd") as caught:
        with_exec_start("ExecStart=/x serve\n", [word])
    assert caught.value.code == 64


@pytest.mark.parametrize("template", ["", "ExecStart=/a serve\nExecStart=/b serve\n"])
def test_a_unit_with_another_number_of_programs_is_refused(template: str) -> None:
    with pytest.raises(CommandError, match="in a way of its own"):
        with_exec_start(template, ["/asrd"])
    with pytest.raises(CommandError, match="in a way of its own"):
        with_program_arguments(template, ["/asrd"])


@pytest.mark.parametrize("folder", AWKWARD)
def test_launchd_is_given_each_word(folder: str) -> None:
    shipped = read_template("launchd", "org.asrd.asrd.plist")
    program = [f"/{folder}/<&>/python", "-m", "asrd"]
    agent = plistlib.loads(with_program_arguments(shipped, program).encode())
    rest = plistlib.loads(shipped.encode())
    assert agent["ProgramArguments"] == [*program, *rest["ProgramArguments"][1:]]
    assert {**agent, "ProgramArguments": rest["ProgramArguments"]} == rest


def test_a_file_that_is_not_shipped_is_told() -> None:
    with pytest.raises(CommandError, match="install asrd again"):
        read_template("systemd", "ghost.service")
