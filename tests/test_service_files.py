"""The units and the launchd agent, as far as they can be checked without their managers."""

import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asrd.paths import default_socket_path

ROOT = Path(__file__).parent.parent
UNITS = ("asrd.service", "asrd.socket")

# launchd.plist(5)
LAUNCHD_KEYS = {
    "ExitTimeOut",
    "KeepAlive",
    "Label",
    "ProcessType",
    "ProgramArguments",
    "RunAtLoad",
    "StandardErrorPath",
    "ThrottleInterval",
}


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    for name in UNITS:
        text = (ROOT / "systemd" / name).read_text()
        # Verification wants a program that exists.
        (tmp_path / name).write_text(text.replace("/usr/local/bin/asrd", sys.executable))
    done = subprocess.run(
        [analyze, "verify", *(tmp_path / name for name in UNITS)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_socket_unit_listens_where_clients_of_root_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    lines = (ROOT / "systemd" / "asrd.socket").read_text().splitlines()
    assert f"ListenStream={default_socket_path()}" in lines


def test_a_daemon_that_cannot_mend_itself_is_not_restarted() -> None:
    lines = (ROOT / "systemd" / "asrd.service").read_text().splitlines()
    (never,) = [line for line in lines if line.startswith("RestartPreventExitStatus=")]
    assert never.partition("=")[2].split() == ["64", "77", "78"]


def test_the_launchd_agent_has_keys_that_launchd_knows() -> None:
    path = ROOT / "contrib" / "launchd" / "org.asrd.asrd.plist"
    agent = plistlib.loads(path.read_bytes())
    assert set(agent) <= LAUNCHD_KEYS
    assert agent["Label"] == path.stem
    assert agent["ProgramArguments"][1:] == ["serve"]
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
