"""A service installed and removed: on a disk, by a manager that is played."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from asrd.cli.exits import CommandError
from asrd.cli.managers import managing
from asrd.cli.managers.base import Done, Scope
from asrd.cli.managers.launchd import Launchd
from asrd.cli.managers.systemd import Systemd
from support.fake_runner import FakeRunner

PROGRAM = ("/opt/asrd/bin/asrd",)


@pytest.fixture(autouse=True)
def nothing_else_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests' own interpreter is."""
    monkeypatch.setattr(managing, "needed", lambda program: (Path(program),))


OFFLINE = Done(code=1, err="Failed to connect to bus: No medium found\n")


def shown(pid: int = 0, state: str = "active") -> Done:
    loaded = f"LoadState=loaded\nActiveState={state}\n"
    service = f"Id=asrd.service\n{loaded}MainPID={pid}\n"
    return Done(code=0, out=f"{service}\nId=asrd.socket\n{loaded}")


@pytest.fixture
def live() -> FakeRunner:
    """A manager that takes commands."""
    return FakeRunner(
        {
            "systemctl --user is-system-running": Done(code=0, out="running\n"),
            "systemctl --user show": shown(),
        }
    )


@pytest.fixture
def silent() -> FakeRunner:
    return FakeRunner({"systemctl": OFFLINE})


@pytest.fixture
def manager(tmp_path: Path) -> Systemd:
    return Systemd(scope=Scope.USER, folder=tmp_path / "units", socket=tmp_path / "s")


def install(manager: Systemd, runner: FakeRunner, *, is_forced: bool = False) -> None:
    plan = managing.plan_of(manager, PROGRAM, with_gpu=False)
    managing.install(plan, runner, is_forced=is_forced)


def written(manager: Systemd) -> set[str]:
    return {path.name for path in manager.folder.iterdir()} if manager.folder.is_dir() else set()


UNITS = {"asrd.service", "asrd.socket"}
CHANGES = ["systemctl --user daemon-reload", "systemctl --user enable --now asrd.socket"]


def test_the_files_are_written_and_the_socket_is_enabled(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    install(manager, live)
    assert written(manager) == UNITS
    assert [line for line in live.ran if "is-system" not in line and "show" not in line] == CHANGES
    out, err = capsys.readouterr()
    assert f"wrote {manager.folder}/asrd.service\n" in out
    assert "loginctl enable-linger" in out
    assert err == ""


def test_where_no_manager_answers_the_files_wait(
    manager: Systemd, silent: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    install(manager, silent)
    assert written(manager) == UNITS
    assert silent.ran == ["systemctl --user is-system-running"]
    out, err = capsys.readouterr()
    assert err.startswith("asrd: no systemd of yours answers (Failed to connect to bus: ")
    assert [line.strip() for line in out.splitlines()[-2:]] == CHANGES


def test_again_nothing_is_written(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    install(manager, live)
    before = (manager.folder / "asrd.service").stat().st_ino
    capsys.readouterr()
    install(manager, live)
    assert (manager.folder / "asrd.service").stat().st_ino == before
    assert "is there already" in capsys.readouterr().out


def test_a_drop_in_that_is_not_asked_for_again_is_told(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    managing.install(managing.plan_of(manager, PROGRAM, with_gpu=True), live, is_forced=False)
    assert "stays" not in capsys.readouterr().out
    install(manager, live)
    assert f"{manager.folder}/asrd.service.d/gpu.conf stays: " in capsys.readouterr().out


def test_a_running_daemon_is_not_ended_by_an_update(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    live.answers["systemctl --user show"] = shown(pid=4711)
    install(manager, live)
    assert "until: systemctl --user restart asrd.service" in capsys.readouterr().out
    assert not any("restart" in line for line in live.ran)


def test_what_was_changed_by_hand_stays(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    install(manager, live)
    live.ran.clear()
    path = manager.folder / "asrd.service"
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(CommandError, match=r"changed by hand: .*--force") as caught:
        install(manager, live)
    assert caught.value.code == 78
    assert "\n-# mine\n" in capsys.readouterr().err
    with pytest.raises(CommandError, match="changed by hand"):
        managing.uninstall(manager, live, is_forced=False)
    assert path.read_text().endswith("# mine\n")
    assert live.ran == []
    install(manager, live, is_forced=True)
    assert not path.read_text().endswith("# mine\n")


def test_a_service_that_could_not_run_is_not_installed(tmp_path: Path, live: FakeRunner) -> None:
    manager = Systemd(scope=Scope.SYSTEM, folder=tmp_path / "units", socket=tmp_path / "s")
    plan = managing.plan_of(manager, ("/home/me/venv/bin/asrd",), with_gpu=True)
    with pytest.raises(
        CommandError, match=r"does not see /home.*/opt/asrd/bin/pip install"
    ) as caught:
        managing.install(plan, live, is_forced=True)
    assert caught.value.code == 78
    assert written(manager) == set()
    assert live.ran == []


def test_a_user_is_warned_of_a_service_that_could_not_run(
    manager: Systemd, silent: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the user's own, and may be moved before it is started."""
    plan = managing.plan_of(manager, ("/tmp/venv/bin/asrd",), with_gpu=False)
    managing.install(plan, silent, is_forced=False)
    assert written(manager) == UNITS
    assert "it does not see /tmp, where /tmp/venv/bin/asrd is" in capsys.readouterr().err
    managing.show(plan)
    assert "it does not see /tmp" in capsys.readouterr().err


def test_a_users_service_that_could_not_run_is_written_and_not_enabled(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = managing.plan_of(manager, ("/tmp/venv/bin/asrd",), with_gpu=False)
    managing.install(plan, live, is_forced=False)
    assert written(manager) == UNITS
    assert not any(line in live.ran for line in CHANGES)
    out, err = capsys.readouterr()
    assert "it was not enabled, for it could not run: --force" in err
    assert [line.strip() for line in out.splitlines()[-2:]] == CHANGES
    managing.install(plan, live, is_forced=True)
    assert all(line in live.ran for line in CHANGES)


def test_a_service_that_runs_is_not_replaced_by_one_that_could_not(
    manager: Systemd, live: FakeRunner
) -> None:
    install(manager, live)
    before = (manager.folder / "asrd.service").read_text()
    plan = managing.plan_of(manager, ("/tmp/venv/bin/asrd",), with_gpu=False)
    with pytest.raises(CommandError, match=r"does not see /tmp.*~/\.local") as caught:
        managing.install(plan, live, is_forced=False)
    assert caught.value.code == 78
    assert (manager.folder / "asrd.service").read_text() == before


def test_a_daemon_that_was_started_by_hand_keeps_its_socket(
    manager: Systemd, live: FakeRunner
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(manager.socket))
        live.answers["systemctl --user show"] = shown(state="inactive")
        install(manager, live, is_forced=True)  # nobody listens at what a dead one left
        managing.uninstall(manager, live, is_forced=True)
        live.ran.clear()
        listener.listen()
        with pytest.raises(CommandError, match=f"listens at {manager.socket}: stop it") as caught:
            install(manager, live, is_forced=True)
    assert caught.value.code == 69
    assert written(manager) == set()
    assert not any(line in live.ran for line in CHANGES)


def test_nobody_is_asked_where_the_manager_listens(manager: Systemd, live: FakeRunner) -> None:
    """A connection would start the daemon."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(manager.socket))
        listener.listen()
        listener.setblocking(False)
        install(manager, live)
        with pytest.raises(BlockingIOError):
            listener.accept()


class Draining(FakeRunner):
    """A launchd whose old agent is there for so many calls."""

    def __init__(self, calls: int) -> None:
        super().__init__({"launchctl print gui/501/": Done(code=113)})
        self.calls = calls

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0) -> Done:
        done = super().run(argv, timeout_s=timeout_s)
        if argv[1] == "bootstrap" and self.calls:
            self.calls -= 1
            return Done(code=5, err="Bootstrap failed: 5: Input/output error")
        return done


def test_what_is_busy_is_asked_again(tmp_path: Path) -> None:
    agent = Launchd(home=tmp_path, uid=501, socket=tmp_path / "s")
    plan = managing.plan_of(agent, PROGRAM, with_gpu=False)
    pauses_s: list[float] = []
    managing.install(plan, Draining(2), is_forced=False, pause=pauses_s.append)
    assert pauses_s == [1.0, 2.0]
    with pytest.raises(CommandError, match="Bootstrap failed: 5"):
        managing.install(plan, Draining(99), is_forced=False, pause=pauses_s.append)
    assert sum(pauses_s[2:]) == 20.0


@pytest.mark.parametrize(
    ("says", "code"),
    [("Access denied", 77), ("Interactive authentication required.", 77), ("Job failed.", 69)],
)
def test_a_command_that_fails_is_told(
    manager: Systemd, live: FakeRunner, says: str, code: int
) -> None:
    live.answers["systemctl --user enable"] = Done(code=1, err=f"Failed to enable: {says}\n")
    with pytest.raises(
        CommandError, match=f"`systemctl .*` failed: Failed to enable: {says}"
    ) as caught:
        install(manager, live)
    assert caught.value.code == code
    assert "sudo" not in str(caught.value)  # a user's manager is not root's


def test_exactly_what_was_written_is_removed(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    install(manager, live)
    own = manager.folder / "asrd.service.d" / "own.conf"
    own.parent.mkdir()
    own.touch()
    (manager.folder / "other.service").touch()
    live.ran.clear()
    managing.uninstall(manager, live, is_forced=False)
    assert written(manager) == {"asrd.service.d", "other.service"}
    assert own.exists()
    assert live.ran == [
        "systemctl --user is-system-running",
        "systemctl --user disable --now asrd.socket asrd.service",
        "systemctl --user daemon-reload",
        "systemctl --user reset-failed asrd.service asrd.socket",
    ]
    assert capsys.readouterr().out.endswith("configuration, models and logs stay\n")


@pytest.mark.parametrize("gone", ["asrd.service", "asrd.socket"])
def test_what_is_half_there_is_removed(manager: Systemd, live: FakeRunner, gone: str) -> None:
    """systemctl disables nothing where one of the units has no file."""
    install(manager, live)
    (manager.folder / gone).unlink()
    (left,) = UNITS - {gone}
    live.ran.clear()
    managing.uninstall(manager, live, is_forced=False)
    assert written(manager) == set()
    assert [line for line in live.ran if "disable" in line] == [
        f"systemctl --user disable --now {left}"
    ]


def test_nothing_there_is_nothing_to_remove(
    manager: Systemd, live: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    managing.uninstall(manager, live, is_forced=False)
    assert live.ran == []
    assert capsys.readouterr().out == "no service of systemd (user) is installed\n"


def test_a_service_is_removed_where_no_manager_answers(
    manager: Systemd, silent: FakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    install(manager, silent)
    managing.uninstall(manager, silent, is_forced=False)
    assert written(manager) == set()
    out, err = capsys.readouterr()
    assert "no systemd of yours answers" in err
    assert "\n  systemctl --user disable --now asrd.socket asrd.service\n" in out


def test_a_failure_to_stop_leaves_the_files(manager: Systemd, live: FakeRunner) -> None:
    install(manager, live)
    live.answers["systemctl --user disable"] = Done(code=1, err="it took longer than 60 s")
    with pytest.raises(CommandError, match="longer than 60 s"):
        managing.uninstall(manager, live, is_forced=False)
    assert written(manager) == UNITS


def test_the_log_is_shown_by_the_manager(manager: Systemd) -> None:
    runner = FakeRunner()
    managing.show_log(manager, runner, lines=7, follow=False)
    assert runner.shown == ["journalctl --user --unit=asrd --lines=7 --no-pager"]
    with pytest.raises(CommandError, match="ended with 1"):
        managing.show_log(manager, FakeRunner(code=1), lines=7, follow=False)
