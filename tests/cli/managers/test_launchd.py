"""What launchd is told, and what is read from what it says."""

import plistlib
from pathlib import Path

import pytest

from asrd.cli.managers.base import Done
from asrd.cli.managers.launchd import Launchd
from support.fake_runner import FakeRunner

PRINTED = """\
gui/501/org.asrd.asrd = {
	active count = 1
	path = /Users/me/Library/LaunchAgents/org.asrd.asrd.plist
	state = running
	program = /opt/asrd
	pid = 4711
	last exit code = 78
	endpoints = {
		state = nested
	}
}
"""


def launchd(home: Path = Path("/Users/me")) -> Launchd:
    return Launchd(home=home, uid=501, socket=Path("/s"))


def test_the_agent_as_launchd_prints_it() -> None:
    (unit,) = launchd().units(FakeRunner({"launchctl print gui/501/": Done(code=0, out=PRINTED)}))
    assert (unit.pid, unit.state, unit.sub_state) == (4711, "active", "running")
    assert unit.result == "exit code 78"
    assert unit.path.endswith("/org.asrd.asrd.plist")


def test_an_agent_that_is_not_loaded() -> None:
    (unit,) = launchd().units(FakeRunner({"launchctl print": Done(code=113)}))
    assert not unit.is_known
    assert not unit.is_active


def test_whoever_has_no_session_is_told() -> None:
    runner = FakeRunner({"launchctl print gui/501": Done(code=125, err="Domain does not exist")})
    assert launchd().why_silent(runner) == "Domain does not exist"
    assert launchd().why_silent(FakeRunner()) == ""


def test_what_is_loaded_goes_before_it_comes_anew() -> None:
    commands = launchd().on_install(at_start=False)
    assert [command.argv[1] for command in commands] == ["bootout", "enable", "bootstrap"]
    assert [command.may_fail for command in commands] == [True, False, False]
    assert commands[-1].argv[2:] == ("gui/501", str(launchd().path))


def test_the_agent_of_before_is_waited_for_as_long_as_launchd_lets_it_live() -> None:
    """`bootstrap` fails with an input/output error while it drains."""
    *others, bootstrap = launchd().on_install(at_start=False)
    (file,) = launchd().files(["/asrd"], with_gpu=False)
    assert bootstrap.busy_codes == (5, 37)
    assert sum(bootstrap.pauses_s) == plistlib.loads(file.text.encode())["ExitTimeOut"]
    assert not any(command.busy_codes for command in others)


@pytest.mark.parametrize("folder", ["/tmp/asrd-502", "/run/u & me/asrd"])
def test_the_socket_is_where_that_users_clients_look(folder: str) -> None:
    """Both launchd's, and the daemon's own where launchd could not listen."""
    home, socket = Path("/Users/me"), Path(folder) / "asrd.sock"
    (file,) = Launchd(home=home, uid=502, socket=socket).files(["/asrd"], with_gpu=True)
    agent = plistlib.loads(file.text.encode())
    assert agent["Sockets"]["Listener"]["SockPathName"] == str(socket)
    assert agent["ProgramArguments"] == ["/asrd", "serve", "--socket", str(socket)]
    assert "/Users/YOU/" not in str(agent)


def test_that_is_where_clients_without_an_option_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 501)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/r")
    assert Launchd(home=Path("/Users/me"), uid=501).socket == Path("/r/asrd/asrd.sock")


def test_launchd_listens_for_an_agent_that_does_not_run() -> None:
    """So a connection would start it."""
    waiting = PRINTED.replace("state = running", "state = not running")
    units = launchd().units(FakeRunner({"launchctl print": Done(code=0, out=waiting)}))
    assert launchd().has_socket(units)
    assert not launchd().has_socket(launchd().units(FakeRunner({"launchctl": Done(code=113)})))


def test_the_log_is_where_the_installed_agent_writes(tmp_path: Path) -> None:
    agent = launchd(tmp_path)
    (file,) = agent.files(["/opt/asrd"], with_gpu=False)
    shipped = plistlib.loads(file.text.encode())["StandardErrorPath"]
    assert shipped == f"{tmp_path}/Library/Logs/asrd.log"
    assert agent.log_command(lines=3, follow=False) == ("tail", "-n", "3", shipped)
    file.path.parent.mkdir(parents=True)
    file.path.write_text(file.text.replace(shipped, "/elsewhere.log"))
    assert agent.log_command(lines=3, follow=True) == ("tail", "-n", "3", "-F", "/elsewhere.log")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<plist>",
        b"bplist00\xff",
        b"\xff\xfe",
        b"<plist><dict><key>a</key><date>x</date></dict></plist>",
        plistlib.dumps({"Label": "x"}),
        plistlib.dumps({"StandardErrorPath": 1}),
        plistlib.dumps(["StandardErrorPath"]),
    ],
)
def test_of_an_agent_that_says_nothing_of_a_log_the_shipped_place_is_shown(
    tmp_path: Path, content: bytes
) -> None:
    agent = launchd(tmp_path)
    agent.path.parent.mkdir(parents=True)
    agent.path.write_bytes(content)
    assert agent.log_command(lines=1, follow=False)[-1] == f"{tmp_path}/Library/Logs/asrd.log"


def test_a_binary_property_list_is_read(tmp_path: Path) -> None:
    agent = launchd(tmp_path)
    agent.path.parent.mkdir(parents=True)
    content = {"StandardErrorPath": "/elsewhere.log"}
    agent.path.write_bytes(plistlib.dumps(content, fmt=plistlib.FMT_BINARY))
    assert agent.log_command(lines=1, follow=False)[-1] == "/elsewhere.log"
