"""How a service stands, as its manager and the daemon tell it."""

import asyncio
import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from asrd.cli.managers import standing
from asrd.cli.managers.base import Done, Scope
from asrd.cli.managers.files import ServiceFile, signed
from asrd.cli.managers.systemd import Systemd
from asrd.wire.messages import Error, GetHealth, Hello
from support.fake_daemon import FakeDaemon, health
from support.fake_runner import FakeRunner


def systemd(tmp_path: Path) -> Systemd:
    socket = tmp_path / "s"
    return Systemd(scope=Scope.USER, folder=tmp_path / "u", socket=socket, now_s=lambda: 4000.0)


def shown(service: str, socket: str = "active", pid: int = 0) -> FakeRunner:
    """A systemd with our units in these states."""
    loaded = "LoadState=loaded\nUnitFileState=enabled"
    since = "StateChangeTimestampMonotonic=275000000"
    text = (
        f"Id=asrd.service\n{loaded}\nActiveState={service}\nMainPID={pid}\n{since}\nNRestarts=1\n"
        f"Result=success\nStatusText=ready\n\nId=asrd.socket\n{loaded}\nActiveState={socket}\n"
    )
    return FakeRunner(
        {
            "systemctl --user is-system-running": Done(code=0, out="degraded\n"),
            "systemctl --user show": Done(code=0, out=text),
        }
    )


def test_a_daemon_that_runs(
    tmp_path: Path, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = systemd(tmp_path)
    file = ServiceFile(path=manager.folder / "asrd.service", text=signed("x\n"))
    file.write()
    assert standing.tell(manager, shown("active", pid=4711), is_json=False) == 0
    assert capsys.readouterr().out.splitlines() == [
        "systemd (user): answers",
        "  asrd.service: active for 1 h 2 min, enabled, pid 4711, 1 restart, ready",
        "  asrd.socket: active, enabled",
        f"  {file.path}",
        f"daemon: ready, at {manager.socket}",
    ]
    assert daemon.heard[1] == GetHealth(deep=False)


def test_asking_starts_no_daemon(
    tmp_path: Path, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection to the activated socket would."""
    assert standing.tell(systemd(tmp_path), shown("inactive"), is_json=False) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "daemon: starts with its first client"
    assert daemon.heard == []


@pytest.mark.parametrize(
    ("runner", "last"),
    [
        (shown("failed", "failed"), "daemon: does not run"),
        (shown("active"), "daemon: no daemon answers at"),
        (FakeRunner({"systemctl": Done(code=1, err="no bus")}), "daemon: no daemon answers at"),
    ],
)
def test_a_service_that_serves_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runner: FakeRunner, last: str
) -> None:
    assert standing.tell(systemd(tmp_path), runner, is_json=False) == 69
    assert last in " ".join(capsys.readouterr().out.split())


def test_a_daemon_that_is_not_ready(
    tmp_path: Path, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.rules[GetHealth] = lambda _: [health(is_ready=False)]
    assert standing.tell(systemd(tmp_path), shown("active"), is_json=True) == 69
    fields = json.loads(capsys.readouterr().out)
    assert (fields["is_ready"], fields["is_well"]) == (False, False)


def test_as_json_nothing_is_left_out(
    tmp_path: Path, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = systemd(tmp_path)
    path = manager.folder / "asrd.socket"
    path.parent.mkdir()
    path.write_text("[Socket]\n")
    assert standing.tell(manager, shown("active", pid=4711), is_json=True) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["files"] == {str(path): "changed"}
    service, socket = fields["units"]
    assert (service["name"], service["pid"], service["active_s"]) == ("asrd.service", 4711, 3725.0)
    assert (socket["enablement"], socket["is_active"]) == ("enabled", True)
    assert (fields["manager"], fields["scope"], fields["daemon"]) == ("systemd", "user", "ready")
    assert set(fields) == {"is_well", *standing.Standing.__dataclass_fields__}


def test_without_a_manager_a_daemon_of_ones_own_counts(
    tmp_path: Path, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = FakeRunner({"systemctl": Done(code=127, err="systemctl is not installed")})
    assert standing.tell(systemd(tmp_path), runner, is_json=False) == 0
    out = capsys.readouterr().out
    assert out.startswith("systemd (user): does not answer: systemctl is not installed\n")
    assert "  not installed: asrd service install --user\n" in out


def test_a_degraded_daemon_says_whether_it_is_ready(tmp_path: Path) -> None:
    found = asyncio.run(standing.look(systemd(tmp_path), shown("inactive")))
    assert found.daemon is None
    assert replace(found, daemon="degraded", is_ready=True).is_well
    assert not replace(found, problem="no answer").is_well


@pytest.mark.parametrize("state", ["active", "failed"])
def test_who_may_not_ask_the_daemon_is_told_what_the_manager_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
) -> None:
    """The machine's socket is root's. Played, for root may connect everywhere."""

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("asyncio.open_unix_connection", refuse)
    found = asyncio.run(standing.look(systemd(tmp_path), shown("active", state)))
    assert (found.is_permitted, found.is_well) == (False, True)
    assert standing.tell(systemd(tmp_path), shown("active", state), is_json=False) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "daemon: runs, and you are not permitted to ask it (no daemon answers at" in out
    nobody = FakeRunner({"systemctl": Done(code=1, err="no bus")})
    assert standing.tell(systemd(tmp_path), nobody, is_json=False) == 69


def test_who_is_not_admitted_is_told_so(
    tmp_path: Path, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the socket's mode lets everybody in, and the daemon does not."""
    refusal = Error(code="unauthorized", message="not you", fatal=True)
    daemon.rules[Hello] = lambda _: [refusal]
    assert standing.tell(systemd(tmp_path), shown("active"), is_json=False) == 0
    assert "you are not permitted to ask it (not you)" in " ".join(capsys.readouterr().out.split())


def test_nothing_of_what_is_told_reaches_the_terminal_as_an_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "\x1b]0;title\x07\x9b31m"
    runner = shown("inactive")
    told = runner.answers["systemctl --user show"]
    text = told.out.replace("StatusText=ready", f"StatusText={bad}")
    runner.answers["systemctl --user show"] = replace(told, out=text)
    silent = FakeRunner({"systemctl": Done(code=1, err=bad)})
    for is_json in (False, True):
        for each in (runner, silent):
            standing.tell(systemd(tmp_path), each, is_json=is_json)
    assert capsys.readouterr().out.replace("\n", "").isprintable()
