"""Which service manager this machine has."""

from pathlib import Path

import pytest

from asrd.cli.exits import CommandError
from asrd.cli.managers.base import Scope
from asrd.cli.managers.choosing import choose
from asrd.cli.managers.systemd import Systemd


@pytest.mark.parametrize(
    ("uid", "asked", "found"),
    [
        (0, None, Scope.SYSTEM),
        (1000, None, Scope.USER),
        (0, Scope.USER, Scope.USER),
        (1000, Scope.SYSTEM, Scope.SYSTEM),
    ],
)
def test_root_serves_the_machine_and_others_themselves(
    monkeypatch: pytest.MonkeyPatch, uid: int, asked: Scope | None, found: Scope
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    assert choose(asked, platform="linux", environment={}).scope is found


def test_each_scope_has_its_folders() -> None:
    environment = {"XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r"}
    user = Systemd.of(Scope.USER, environment, home=Path("/h"), uid=7)
    assert (user.folder, user.socket) == (Path("/c/systemd/user"), Path("/r/asrd/asrd.sock"))
    system = Systemd.of(Scope.SYSTEM, environment, home=Path("/h"), uid=7)
    assert system.folder == Path("/etc/systemd/system")
    assert system.socket == Path("/run/asrd/asrd.sock")


def test_without_an_environment_the_folders_are_the_usual_ones() -> None:
    """A relative XDG_CONFIG_HOME counts as none, as the standard has it."""
    user = Systemd.of(Scope.USER, {"XDG_CONFIG_HOME": "c"}, home=Path("/h"), uid=7)
    assert user.folder == Path("/h/.config/systemd/user")
    assert user.socket == Path("/run/user/7/asrd/asrd.sock")


def test_macos_has_agents_of_users_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 501)
    assert choose(None, platform="darwin").name == "launchd"
    with pytest.raises(CommandError, match="without --system") as caught:
        choose(Scope.SYSTEM, platform="darwin")
    assert caught.value.code == 64
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(CommandError, match="run it as that user"):
        choose(None, platform="darwin")


def test_other_systems_are_told_what_to_do() -> None:
    with pytest.raises(CommandError, match="have yours run `asrd serve`") as caught:
        choose(None, platform="freebsd14")
    assert caught.value.code == 69
