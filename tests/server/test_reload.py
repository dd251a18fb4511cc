"""Another configuration for a daemon that runs: what is compared, and real daemons at SIGHUP."""

from dataclasses import replace

from asrd.choices import LogLevel
from asrd.config import Config, Limits, ProviderConfig, Recording, Scheduling, Supervision
from asrd.server.reload import changed_keys, with_what_stays
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm

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
