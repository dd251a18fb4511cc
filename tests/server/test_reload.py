"""Another configuration for a daemon that runs: what is compared, and real daemons at SIGHUP."""

import asyncio
from dataclasses import replace

import pytest
import structlog
from structlog.testing import capture_logs

from asrd.choices import LogLevel
from asrd.config import Config, Limits, ProviderConfig, Recording, Scheduling, Supervision
from asrd.providers.registry import Registry
from asrd.secrets import Secret
from asrd.server.admission import admission_of
from asrd.server.connections import Door
from asrd.server.notify import ServiceManager
from asrd.server.reload import Reloader, changed_keys, with_what_stays
from asrd.wire.messages import Error
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.room import Room, run
from support.waiting import until

PHRASE = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)


def test_equal_configurations_differ_in_nothing() -> None:
    config = Config(providers={"echo": ProviderConfig(settings={"latency_ms": 1})})
    assert not [*changed_keys(config, config)]
    assert not [*changed_keys(Config(), Config(providers={"echo": ProviderConfig()}))]


def test_differences_are_told_by_their_keys_and_never_by_their_values() -> None:
    old = Config(providers={"echo": ProviderConfig(settings={"key": "secret", "latency_ms": 1})})
    new = Config(
        providers={
            "echo": ProviderConfig(settings={"key": "other"}, required=True),
            "moonshine": ProviderConfig(keep_warm=True),
        },
        limits=Limits(max_streams=1),
        scheduling=Scheduling(max_waiting={"mic": 1, "system": 50}),
        fallback=("echo",),
    )
    assert [*changed_keys(old, new)] == [
        "fallback",
        "providers.echo.required",
        "providers.echo.settings.key",
        "providers.echo.settings.latency_ms",
        "providers.moonshine.keep_warm",
        "limits.max_streams",
        "scheduling.max_waiting.mic",
    ]


def test_another_secret_is_a_difference_and_no_more_is_told_of_it() -> None:
    def config(text: str) -> Config:
        return Config(providers={"x": ProviderConfig(settings={"name": Secret(text)})})

    assert [*changed_keys(config("one"), config("two"))] == ["providers.x.settings.name"]
    assert not [*changed_keys(config("one"), config("one"))]


def test_what_a_running_daemon_cannot_change_stays_as_it_was() -> None:
    old = Config(
        providers={"a": ProviderConfig(device_group="gpu"), "b": ProviderConfig()},
        recording=Recording(directory="there"),
    )
    new = Config(
        providers={"b": ProviderConfig(device_group="gpu", required=True)},
        scheduling=Scheduling(background_share=0.1, slots=2),
        supervision=Supervision(breaker_failures=1, breaker_open_s=1.0, load_attempts=9),
        log_level=LogLevel.DEBUG,
    )
    wanted = with_what_stays(old, new)
    assert wanted == Config(
        providers={
            "a": ProviderConfig(device_group="gpu"),
            "b": ProviderConfig(required=True),
        },
        scheduling=Scheduling(slots=2),
        supervision=Supervision(load_attempts=9),
        recording=Recording(directory="there"),
        log_level=LogLevel.DEBUG,
    )
    assert [*changed_keys(wanted, new)] == [
        "providers.a.device_group",
        "providers.b.device_group",
        "scheduling.background_share",
        "supervision.breaker_failures",
        "supervision.breaker_open_s",
        "recording.directory",
    ]


def test_what_stays_is_stable() -> None:
    """A reload of what is in force changes nothing."""
    config = replace(Config(), provider="echo", providers={"echo": ProviderConfig()})
    assert with_what_stays(config, config) == config


def test_a_reload_that_fails_midway_changes_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever raises does so before the first part is handed over."""

    def fail(*_: object) -> int:
        raise OverflowError

    async def scenario() -> None:
        room = Room(registry, limits={"max_streams": 2})
        before = room.config
        door = Door(
            lambda *_: pytest.fail("nobody comes"), admission_of(before.access), 5, room.clock
        )
        new = replace(
            before, limits=Limits(max_streams=5), log_level=LogLevel.DEBUG, provider="echo"
        )
        nobody = ServiceManager({})
        reloader = Reloader(lambda: new, registry, room.hub, room.sessions, door, nobody)
        running = asyncio.create_task(reloader.run())
        with monkeypatch.context() as broken:
            broken.setattr("asrd.server.reload.room_for", fail)
            with capture_logs() as lines:
                reloader.ask()
                await until(lambda: bool(lines))
        assert [line["event"] for line in lines] == ["reload_failed"]
        assert room.hub.config is before
        guest = room.guest()
        assert guest.hello().limits["max_streams"] == 2
        for stream in range(3):
            guest.open(stream + 1)
        assert [error.code for error in guest.told(Error)] == ["too_many_streams"]
        reloader.ask()
        await until(lambda: room.hub.config is not before)
        other = room.guest()
        assert other.hello().limits["max_streams"] == 5
        running.cancel()
        await room.hub.stop()

    try:
        run(scenario)
    finally:
        structlog.reset_defaults()
