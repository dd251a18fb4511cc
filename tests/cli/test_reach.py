"""Which daemon a command talks to."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from asrd.cli import reach
from asrd.cli.exits import CommandError, Exit
from asrd.cli.reach import Wanted
from asrd.client import Refused
from asrd.wire.messages import Hello
from support.fake_daemon import HANG_UP, FakeDaemon, listening, refusal


class Spawned(Exception):
    """A daemon of one's own would have been started, with these arguments."""


@pytest.fixture(autouse=True)
def spawns_are_seen(monkeypatch: pytest.MonkeyPatch, socket: Path) -> None:
    """Nothing is started; the default socket is the test's own."""

    def spawn(arguments: Sequence[str], **_: object) -> NoReturn:
        raise Spawned(list(arguments))

    monkeypatch.setattr(reach, "spawn", spawn)
    monkeypatch.setattr(reach, "default_socket_path", lambda: socket)


def run(wanted: Wanted, socket: Path, daemon: FakeDaemon | None) -> FakeDaemon | None:
    async def use() -> None:
        async with reach.reach(wanted) as client:
            await client.ping()

    async def scenario() -> None:
        if daemon is None:
            await use()
            return
        async with listening(daemon, socket):
            await use()

    asyncio.run(scenario())
    return daemon


def test_a_daemon_that_runs_is_used(socket: Path) -> None:
    daemon = FakeDaemon()
    run(Wanted(provider="other"), socket, daemon)
    assert isinstance(daemon.heard[0], Hello)
    assert daemon.heard[0].client.startswith("asrd-cli/")


def test_without_one_a_daemon_is_started_with_what_was_asked_for(socket: Path) -> None:
    wanted = Wanted(provider="echo", model="m")
    with pytest.raises(Spawned) as caught:
        run(wanted, socket, None)
    assert caught.value.args[0] == ["--log-level=error", "--provider=echo", "--model=m"]


def test_settings_of_a_provider_need_a_daemon_of_ones_own(socket: Path) -> None:
    wanted = Wanted(settings={"echo": {"latency_ms": 5}})
    with pytest.raises(Spawned) as caught:
        run(wanted, socket, FakeDaemon())
    assert "--option=echo.latency_ms=5" in caught.value.args[0]


def test_a_setting_is_the_configured_providers_where_nobody_names_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the daemon of one's own is configured, too."""
    assert reach.wanted_daemon(None, None, None, ["a=1"]).settings == {"moonshine": {"a": 1}}
    monkeypatch.setenv("ASRD_PROVIDER", "whisper_cpp")
    assert reach.wanted_daemon(None, None, None, ["a=1"]).settings == {"whisper_cpp": {"a": 1}}
    assert reach.wanted_daemon(None, "echo", None, ["a=1"]).settings == {"echo": {"a": 1}}


def test_a_named_socket_must_answer(socket: Path) -> None:
    with pytest.raises(CommandError, match="no daemon answers") as caught:
        run(Wanted(socket=socket), socket, None)
    assert caught.value.code is Exit.UNAVAILABLE


def test_the_usual_address_is_not_named(socket: Path, tmp_path: Path) -> None:
    """What is to be pasted says no more than it has to."""

    def advice(path: Path) -> str:
        with pytest.raises(CommandError) as caught:
            run(Wanted(socket=path), path, None)
        return str(caught.value)

    assert advice(socket).endswith(": start one with `asrd serve`")
    other = tmp_path / "an other"
    assert advice(other).endswith(f": start one with `asrd serve --socket '{other}'`")


def test_a_question_is_not_waited_on_for_ever() -> None:
    async def scenario() -> None:
        with pytest.raises(CommandError, match="the daemon does not answer") as caught:
            await reach.answered(asyncio.Event().wait(), 0.01)
        assert caught.value.code is Exit.UNAVAILABLE

    asyncio.run(scenario())


def test_a_daemon_that_refuses_us_is_not_gone_round(socket: Path) -> None:
    """It may be busy for a reason: a second one would only make that worse."""
    daemon = FakeDaemon(rules={Hello: lambda _: [refusal("busy", is_fatal=True), HANG_UP]})
    with pytest.raises(Refused):
        run(Wanted(), socket, daemon)
