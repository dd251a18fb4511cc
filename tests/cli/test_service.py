"""`asrd service` as a command line: with a systemctl that is played, and where there is none."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import Outcome, Run

SYSTEMCTL = """\
#!/bin/sh
echo "systemctl $*" >> "$0.log"
case "$*" in
    *is-system-running) echo running ;;
    *show*)
        printf 'Id=asrd.service\\nLoadState=loaded\\nActiveState=inactive\\nSubState=dead\\n\\n'
        printf 'Id=asrd.socket\\nLoadState=loaded\\nActiveState=active\\nSubState=listening\\n' ;;
esac
"""

JOURNALCTL = """\
#!/bin/sh
echo "journalctl $*"
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose programs are in `bin`, which is empty."""
    for folder in ("bin", "run"):  # what a user has before anything is installed
        (tmp_path / folder).mkdir()
    folders = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_RUNTIME_DIR": "run", "PATH": "bin"}
    return {name: str(tmp_path / folder) for name, folder in folders.items()}


def provide(home: dict[str, str], name: str, text: str) -> Path:
    program = Path(home["PATH"]) / name
    program.write_text(text)
    program.chmod(0o755)
    return program


@pytest.fixture
def systemctl(home: dict[str, str]) -> Path:
    """Where it notes what it was asked."""
    program = provide(home, "systemctl", SYSTEMCTL)
    return program.with_name("systemctl.log")


def complaints(outcome: Outcome) -> list[str]:
    """What is told on stderr, but for the warning that these tests may run from /tmp."""
    lines = outcome.err.splitlines()
    return [line for line in lines if "could not run this asrd: it does not see /tmp" not in line]


def unit(home: dict[str, str], name: str = "asrd.service") -> Path:
    return Path(home["XDG_CONFIG_HOME"]) / "systemd" / "user" / name


def test_printing_changes_nothing(
    asrd_process: Run, home: dict[str, str], systemctl: Path, tmp_path: Path
) -> None:
    outcome = asrd_process("service", "install", "--user", "--print", environment=home)
    assert (outcome.code, complaints(outcome)) == (0, [])
    assert f"# {unit(home)}\n" in outcome.out
    assert f"# {unit(home, 'asrd.socket')}\n" in outcome.out
    assert f"\nExecStart={sys.executable} -m asrd serve\n" in outcome.out
    assert outcome.out.splitlines()[-2:] == [
        "  systemctl --user daemon-reload",
        "  systemctl --user enable --now asrd.socket",
    ]
    assert {each.name for each in tmp_path.iterdir()} == {"bin", "run"}
    assert not systemctl.exists()


def test_from_installation_to_removal(
    asrd_process: Run, home: dict[str, str], systemctl: Path
) -> None:
    provide(home, "journalctl", JOURNALCTL)
    # From /tmp, where these tests may run, it is enabled with --force only.
    outcome = asrd_process("service", "install", "--user", "--force", environment=home)
    assert (outcome.code, complaints(outcome)) == (0, [])
    assert stat.S_IMODE(unit(home).stat().st_mode) == 0o644
    assert "systemctl --user enable --now asrd.socket\n" in systemctl.read_text()

    outcome = asrd_process("service", "status", "--user", "--json", environment=home)
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert found["files"] == {
        str(unit(home, f"asrd.{kind}")): "ours" for kind in ("service", "socket")
    }
    assert found["daemon"] is None

    outcome = asrd_process("service", "logs", "--user", "-n", "3", "--follow", environment=home)
    assert outcome.out == "journalctl --user --unit=asrd --lines=3 --no-pager --follow\n"

    outcome = asrd_process("service", "uninstall", "--user", environment=home)
    assert (outcome.code, complaints(outcome)) == (0, [])
    assert list(unit(home).parent.iterdir()) == []
    assert "systemctl --user disable --now asrd.socket asrd.service\n" in systemctl.read_text()


def test_a_manager_that_tells_nothing_is_an_object_too(
    asrd_process: Run, home: dict[str, str]
) -> None:
    """Whoever asks for JSON reads it, whatever the exit code."""
    provide(home, "systemctl", SYSTEMCTL.partition("    *show*)")[0] + "    *) exit 1 ;;\nesac\n")
    outcome = asrd_process("service", "status", "--user", "--json", environment=home)
    told = json.loads(outcome.out)
    assert (outcome.code, told.keys()) == (69, {"is_well", "problem"})
    assert outcome.error == told["problem"]


def test_where_there_is_no_systemd(asrd_process: Run, home: dict[str, str]) -> None:
    """As in most containers: the files are there, and all say that nothing runs."""
    outcome = asrd_process("service", "install", "--user", environment=home)
    assert outcome.code == 0
    (complaint,) = complaints(outcome)
    assert "systemctl is not installed" in complaint
    assert unit(home).is_file()
    outcome = asrd_process("service", "status", "--user", environment=home)
    assert outcome.code == 69
    assert f"\n  {unit(home)}\n" in outcome.out
    outcome = asrd_process("service", "logs", "--user", environment=home)
    assert outcome.code == 69
    assert outcome.error.startswith("journalctl: is not installed: ")
    assert asrd_process("service", "uninstall", "--user", environment=home).code == 0
    assert not unit(home).exists()


@pytest.mark.parametrize("folder", ["a b", "100%"])
def test_what_is_written_is_a_unit_that_systemd_can_start(
    home: dict[str, str], tmp_path: Path, folder: str
) -> None:
    """Installed by the script of an environment in a folder of an awkward name."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / folder / "bin" / "asrd"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nfrom asrd.__main__ import main\nmain()\n")
    program.chmod(0o755)
    environment = {**os.environ, **home}
    subprocess.run(
        [program, "service", "install", "--user"], env=environment, check=True, capture_output=True
    )
    assert str(tmp_path / folder.replace("%", "%%")) in unit(home).read_text()
    done = subprocess.run(
        [analyze, "--user", "verify", "--man=no", unit(home), unit(home, "asrd.socket")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_command_the_help_goes_to_stderr(asrd: Run) -> None:
    outcome = asrd("service")
    assert (outcome.code, outcome.out) == (64, "")
    assert "uninstall" in outcome.err
