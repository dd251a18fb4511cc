"""The units and the launchd agent, as far as they can be checked without their managers."""

import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from asrd.config import Limits
from asrd.paths import default_socket_path
from asrd.server.ending import STOP_S
from asrd.server.launchd import SOCKET_NAME

ROOT = Path(__file__).parent.parent
SYSTEMD = ROOT / "systemd"
PLIST = ROOT / "contrib" / "launchd" / "org.asrd.asrd.plist"
PROGRAM = "/usr/local/bin/asrd"
SERVICES = ("asrd.service", "user/asrd.service")

MAX_EXPOSURE = {"system": 1.5, "system with a GPU": 1.5, "user": 2.0}
"""What `systemd-analyze security` may say, from 0 to 10."""

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)

# launchd.plist(5), of what may stand in an agent: the key and the type of its value.
LAUNCHD_KEYS: dict[str, Any] = {
    "EnvironmentVariables": dict,
    "ExitTimeOut": int,
    "KeepAlive": {"SuccessfulExit": bool, "Crashed": bool},
    "Label": str,
    "ProcessType": str,
    "ProgramArguments": list,
    "RunAtLoad": bool,
    "Sockets": {
        SOCKET_NAME: {
            "SockFamily": str,
            "SockPassive": bool,
            "SockPathMode": int,
            "SockPathName": str,
            "SockType": str,
        }
    },
    "SoftResourceLimits": {"Core": int, "NumberOfFiles": int},
    "StandardErrorPath": str,
    "ThrottleInterval": int,
    "WorkingDirectory": str,
}


def lines_of(unit: str) -> list[str]:
    return (SYSTEMD / unit).read_text().splitlines()


def value(unit: str, key: str) -> str:
    """What the one line of that key says."""
    (line,) = [line for line in lines_of(unit) if line.startswith(f"{key}=")]
    return line.partition("=")[2]


def analyze(folder: Path, kind: str, *arguments: str) -> tuple[int, str, str]:
    """What systemd-analyze says of the units of a kind, with a program that exists."""
    shutil.copytree(SYSTEMD, folder, dirs_exist_ok=True)
    if kind == "system":
        shutil.rmtree(folder / "asrd.service.d")
    for unit in SERVICES:
        text = (folder / unit).read_text()
        (folder / unit).write_text(text.replace(PROGRAM, sys.executable))
    here = folder / "user" if kind == "user" else folder
    done = subprocess.run(
        ["systemd-analyze", "--user" if kind == "user" else "--system", *arguments],
        # A user's manager looks for a directory of its own, whether or not it runs.
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "SYSTEMD_COLORS": "0"},
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@needs_analyze
@pytest.mark.parametrize("kind", MAX_EXPOSURE)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, kind: str) -> None:
    assert analyze(tmp_path, kind, "verify", "./asrd.service", "./asrd.socket") == (0, "", "")


@needs_analyze
@pytest.mark.parametrize(("kind", "most"), MAX_EXPOSURE.items())
def test_the_services_are_hardened(tmp_path: Path, kind: str, most: float) -> None:
    code, said, problem = analyze(
        tmp_path, kind, "security", "--offline=true", "--no-pager", "./asrd.service"
    )
    assert (code, problem) == (0, "")
    exposure = re.search(r"Overall exposure level for asrd\.service: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= most, said


def test_the_socket_units_listen_where_clients_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert value("asrd.socket", "ListenStream") == str(default_socket_path())
    monkeypatch.setattr("os.geteuid", lambda: 501)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "%t")
    assert value("user/asrd.socket", "ListenStream") == str(default_socket_path())


@pytest.mark.parametrize("unit", ["asrd.socket", "user/asrd.socket"])
def test_a_socket_is_its_owners_alone_unless_somebody_opens_it(unit: str) -> None:
    assert value(unit, "SocketMode") == "0600"


@pytest.mark.parametrize("unit", SERVICES)
def test_the_program_is_named_in_one_line(unit: str) -> None:
    """Which is what an installation changes, and nothing else."""
    assert value(unit, "ExecStart") == f"{PROGRAM} serve"
    assert [line for line in lines_of(unit) if PROGRAM in line] == [f"ExecStart={PROGRAM} serve"]


@pytest.mark.parametrize("unit", SERVICES)
def test_a_daemon_that_cannot_mend_itself_is_not_restarted(unit: str) -> None:
    assert value(unit, "Restart") == "on-failure"
    assert value(unit, "RestartPreventExitStatus").split() == ["64", "77", "78"]


@pytest.mark.parametrize("unit", SERVICES)
def test_the_manager_waits_for_the_drain(unit: str) -> None:
    assert int(value(unit, "TimeoutStopSec")) > Limits().drain_timeout_s + STOP_S
    assert value(unit, "KillMode") == "mixed"


@pytest.mark.parametrize("unit", SERVICES)
def test_stopping_the_service_leaves_the_directory_of_the_socket(unit: str) -> None:
    """systemd removes what RuntimeDirectory names, and the socket in it, which is still listened
    on."""
    listens_at = value(unit.replace(".service", ".socket"), "ListenStream")
    folder = Path(value(unit, "RuntimeDirectory"))
    assert folder.parent == Path(Path(listens_at).parent.name)


def test_no_credential_has_to_be_there() -> None:
    """A whole path that leads to nothing keeps the service from starting."""
    name, _, place = value("asrd.service", "LoadCredential").partition(":")
    assert name
    assert "/" not in place


def test_the_daemon_of_the_machine_can_tell_its_users_apart() -> None:
    """In a user namespace of its own, the kernel calls all of them nobody."""
    assert value("asrd.service", "PrivateUsers") == "no"


# ── launchd ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def agent() -> dict[str, Any]:
    loaded: dict[str, Any] = plistlib.loads(PLIST.read_bytes())
    return loaded


def hold_to(known: dict[str, Any], found: dict[str, Any], path: str = "") -> None:
    for key, its in found.items():
        assert key in known, f"{path}{key} is not in launchd.plist(5)"
        if isinstance(known[key], dict):
            assert isinstance(its, dict)
            hold_to(known[key], its, f"{path}{key}.")
        else:
            assert type(its) is known[key], f"{path}{key}"


def test_the_launchd_agent_has_keys_that_launchd_knows(agent: dict[str, Any]) -> None:
    hold_to(LAUNCHD_KEYS, agent)
    assert agent["Label"] == PLIST.stem
    assert agent["ProgramArguments"][:2] == [PROGRAM, "serve"]
    assert agent["ProcessType"] in ("Background", "Standard", "Adaptive", "Interactive")


def test_the_agent_is_started_again_unless_it_ended_as_it_should(agent: dict[str, Any]) -> None:
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["ThrottleInterval"] >= 10  # launchd's own least
    assert agent["ExitTimeOut"] > Limits().drain_timeout_s + STOP_S
    assert agent["SoftResourceLimits"]["NumberOfFiles"] >= 8192


def test_launchd_listens_where_clients_look(
    agent: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 501)
    (listener,) = agent["Sockets"].values()
    assert listener["SockPathName"] == str(default_socket_path())
    # Where launchd cannot listen the daemon does, at the same place.
    assert agent["ProgramArguments"][2:] == ["--socket", listener["SockPathName"]]
    assert listener["SockPathMode"] == 0o600
    assert (listener["SockFamily"], listener["SockType"]) == ("Unix", "stream")


def test_what_stands_for_the_user_is_said_in_the_file(agent: dict[str, Any]) -> None:
    """launchd expands nothing, so a file for everybody has to have something in those places."""
    text = PLIST.read_text()
    said = text[: text.index("<plist")]
    assert agent["StandardErrorPath"].startswith("/Users/YOU/Library/Logs/")
    for place in (PROGRAM, "/Users/YOU", "501"):
        assert place in said
