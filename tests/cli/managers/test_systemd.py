"""What systemd is told, and what is read from what it says."""

from pathlib import Path

import pytest

from asrd.cli.exits import CommandError
from asrd.cli.managers.base import Command, Done, Scope
from asrd.cli.managers.systemd import ALIVE, Systemd
from support.fake_runner import FakeRunner


def systemd(scope: Scope = Scope.USER) -> Systemd:
    return Systemd(scope=scope, folder=Path("/f"), socket=Path("/s"), now_s=lambda: 100.0)


SHOWN = """\
Type=notify
Id=asrd.service
LoadState=loaded
FragmentPath=/f/asrd.service
UnitFileState=static
ActiveState=active
SubState=running
StateChangeTimestampMonotonic=40000000
MainPID=4711
NRestarts=2
Result=success
StatusText=ready = yes; 3 streams

Id=asrd.socket
LoadState=loaded
UnitFileState=enabled
ActiveState=active
SubState=listening
StateChangeTimestampMonotonic=0
"""


def test_the_units_as_systemd_shows_them() -> None:
    runner = FakeRunner({"systemctl --user show": Done(code=0, out=SHOWN)})
    service, socket = systemd().units(runner)
    assert (service.name, service.path, service.is_known) == (
        "asrd.service",
        "/f/asrd.service",
        True,
    )
    assert (service.enablement, service.state, service.sub_state) == ("static", "active", "running")
    assert (service.pid, service.restarts, service.result) == (4711, 2, "success")
    assert service.active_s == 60.0
    assert service.says == "ready = yes; 3 streams"
    assert (socket.sub_state, socket.pid, socket.active_s, socket.restarts) == (
        "listening",
        None,
        None,
        None,
    )


def test_units_that_systemd_does_not_know() -> None:
    lines = [f"Id={name}\nLoadState=not-found\n" for name in ("asrd.service", "asrd.socket")]
    runner = FakeRunner({"systemctl show": Done(code=0, out="\n".join(lines))})
    assert not any(unit.is_known for unit in systemd(Scope.SYSTEM).units(runner))


@pytest.mark.parametrize("done", [Done(code=1, err="no bus"), Done(code=0, out="")])
def test_a_manager_that_does_not_tell_is_an_error(done: Done) -> None:
    with pytest.raises(CommandError, match="systemd does not tell") as caught:
        systemd().units(FakeRunner({"systemctl": done}))
    assert caught.value.code == 69


@pytest.mark.parametrize("state", ALIVE)
def test_a_manager_in_any_state_answers(state: str) -> None:
    """`degraded` means that some other unit failed, and comes with an exit code."""
    assert systemd().why_silent(FakeRunner({"systemctl": Done(code=1, out=f"{state}\n")})) == ""


@pytest.mark.parametrize(
    ("done", "why"),
    [
        (Done(code=1, out="offline\n"), "offline"),
        (
            Done(code=1, err="Failed to connect to bus: No medium found\n"),
            "Failed to connect to bus: ",
        ),
        (Done(code=127, err="systemctl is not installed"), "systemctl is not installed"),
    ],
)
def test_why_no_manager_answers(done: Done, why: str) -> None:
    assert systemd().why_silent(FakeRunner({"systemctl": done})).startswith(why)


@pytest.mark.parametrize("scope", Scope)
def test_a_gpu_needs_a_drop_in(scope: Scope) -> None:
    names = [file.path.name for file in systemd(scope).files(["/asrd"], with_gpu=True)]
    assert names == ["asrd.service", "asrd.socket", "gpu.conf"]
    assert len(systemd(scope).files(["/asrd"], with_gpu=False)) == 2
    assert {file.path for file in systemd(scope).files(["/a"], with_gpu=True)} == set(
        systemd(scope).paths()
    )


@pytest.mark.parametrize("scope", Scope)
def test_what_is_hidden_is_what_the_unit_hides(scope: Scope) -> None:
    unit = systemd(scope).files(["/asrd"], with_gpu=False)[0].text.splitlines()
    assert "PrivateTmp=yes" in unit
    assert ("ProtectHome=yes" in unit) is (Path("/home") in systemd(scope).hidden_folders)
    assert Path("/tmp") in systemd(scope).hidden_folders


def test_the_log_is_that_of_the_scope() -> None:
    user = systemd().log_command(lines=5, follow=True)
    assert user == ("journalctl", "--user", "--unit=asrd", "--lines=5", "--no-pager", "--follow")
    assert "--user" not in systemd(Scope.SYSTEM).log_command(lines=5, follow=False)


def lines_of(commands: tuple[Command, ...]) -> list[str]:
    return [" ".join(command.argv) for command in commands]


def test_the_service_itself_is_enabled_where_that_is_asked_for() -> None:
    assert lines_of(systemd().on_install(at_start=False))[-1].endswith(" --now asrd.socket")
    assert lines_of(systemd(Scope.SYSTEM).on_install(at_start=True)) == [
        "systemctl daemon-reload",
        "systemctl enable --now asrd.socket asrd.service",
    ]
    for scope in Scope:
        assert "first client" in systemd(scope).keeps(at_start=False)
        assert "first client" not in systemd(scope).keeps(at_start=True)


def test_only_what_is_there_is_disabled() -> None:
    """`systemctl disable` fails as a whole where one of its units has no file."""
    stopping, disabling = systemd().before_removal([Path("/f/asrd.service")])
    assert lines_of((stopping, disabling)) == [
        "systemctl --user stop asrd.socket",
        "systemctl --user disable --now asrd.service",
    ]
    assert (stopping.may_fail, disabling.may_fail) == (True, False)
    (only,) = systemd().before_removal([Path("/f/asrd.service.d/gpu.conf")])
    assert only.may_fail


def test_whom_the_machines_daemon_serves_is_said() -> None:
    said = systemd(Scope.SYSTEM).keeps(at_start=False)
    for words in ("root alone", "SocketGroup=audio", 'groups = ["audio"]', "--socket /s"):
        assert words in said
    assert "--socket" not in systemd(Scope.USER).keeps(at_start=False)
