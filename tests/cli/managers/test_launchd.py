"""What launchd is told, and what is read from what it says."""

import plistlib
from pathlib import Path

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
    commands = launchd().on_install()
    assert [command.argv[1] for command in commands] == ["bootout", "enable", "bootstrap"]
    assert [command.may_fail for command in commands] == [True, False, False]
    assert commands[-1].argv[2:] == ("gui/501", str(launchd().path))


def test_the_socket_is_where_that_users_clients_look() -> None:
    (file,) = Launchd(home=Path("/Users/me"), uid=502).files(["/asrd"], with_gpu=True)
    listener = plistlib.loads(file.text.encode())["Sockets"]["Listener"]
    assert listener["SockPathName"] == "/tmp/asrd-502/asrd.sock"
    assert "/Users/YOU/" not in str(plistlib.loads(file.text.encode()))


def test_the_log_is_where_the_installed_agent_writes(tmp_path: Path) -> None:
    agent = launchd(tmp_path)
    (file,) = agent.files(["/opt/asrd"], with_gpu=False)
    shipped = plistlib.loads(file.text.encode())["StandardErrorPath"]
    assert shipped == f"{tmp_path}/Library/Logs/asrd.log"
    assert agent.log_command(lines=3, follow=False) == ("tail", "-n", "3", shipped)
    file.path.parent.mkdir(parents=True)
    file.path.write_text(file.text.replace(shipped, "/elsewhere.log"))
    assert agent.log_command(lines=3, follow=True) == ("tail", "-n", "3", "-F", "/elsewhere.log")
