"""Whoever waits for what cannot come is told; whoever waits for what can, gets it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asrd.wire.messages import Closed, Error, Event, Health, Open, Segment, Unload
from faults.scenes import (
    MARKED_AT_S,
    PHRASE,
    UNRULY,
    VOICE,
    assert_set_aside,
    events_of,
    kill_and_see,
    unruly_daemon,
)
from support.daemon import Daemon, install_plugins, running_daemon
from support.unruly import marked
from support.waiting import wait_until
from support.wire_client import WireClient

BAD = marked(PHRASE, MARKED_AT_S)

ONE_MODEL: dict[str, Any] = {
    "residency": {"max_models": 1},
    "supervision": {"breaker_open_s": 0.3},
}

NO_NUMBER = """
from asrd import Hypothesis, Model, ModelStatus, Provider, hookimpl


class Idle(Model):
    def decode(self, audio, options):
        return Hypothesis(text="read")


class Odd(Provider):
    name, summary, default_model = "odd", "Its size is SIZE", "any"

    def status(self, model):
        return ModelStatus(model=model, is_present=True, size_bytes=SIZE)

    def load(self, model, settings):
        return Idle()


@hookimpl
def asrd_register_providers(register):
    register(Odd())
"""


def odd_plugin(folder: Path, size: str) -> Path:
    """`unruly`, and a plugin whose models have that size, an expression of Python."""
    install_plugins(folder, {"odd": "asrd_test_odd", "unruly": "support.unruly"})
    (folder / "asrd_test_odd.py").write_text(NO_NUMBER.replace("SIZE", size))
    return folder


def refused(client: WireClient, stream: int, provider: str | None = None) -> Error:
    """What a stream hears that asks for what cannot be had."""
    client.send(Open(stream=stream, provider=provider))
    return client.expect(Error, lambda error: error.stream == stream)


# ── loads that fail by a bug ──────────────────────────────────────────────────────────────────


def test_a_size_that_is_no_number_is_told_and_no_stream_waits_for_ever(tmp_path: Path) -> None:
    folder = odd_plugin(tmp_path / "plugins", "'12 MB'")
    with running_daemon(tmp_path, [folder]) as daemon, daemon.greet() as client:
        workers = set(daemon.worker_pids)
        for stream in (1, 2):
            error = refused(client, stream, "odd")
            assert error.code == "provider_unavailable"
            assert error.message.startswith("odd/any does not load: ")
        wait_until(lambda: set(daemon.worker_pids) == workers, "no worker beside the others")
        assert len(client.transcribe(3, PHRASE, provider="echo", partials=False)) == 1
        health = client.health()
        assert (health.ready, health.providers["odd"].state) == (True, "unavailable")
        assert len(daemon.logged("load_failed_unexpectedly")) == 2
        assert not daemon.strays


def test_settings_that_cannot_be_sent_are_told_and_leave_no_worker(tmp_path: Path) -> None:
    """The wire between core and worker has integers of 64 bits."""
    config = {"providers": {"echo": {"loading": "eager"}}}
    with (
        unruly_daemon(tmp_path, eager=False, config=config, count=2**70) as daemon,
        daemon.greet() as client,
    ):
        workers = {daemon.worker("echo/echo"), daemon.worker(VOICE)}
        error = refused(client, 1)
        assert error.code == "provider_unavailable"
        assert error.message.startswith(f"{UNRULY} does not load: ")
        wait_until(lambda: set(daemon.worker_pids) == workers, "no worker beside the others")
        assert len(client.transcribe(2, PHRASE, provider="echo", partials=False)) == 1
        assert daemon.terminate() == 0
        assert not daemon.strays


# ── voice activity that is lost ───────────────────────────────────────────────────────────────


@contextmanager
def daemon_that_can_lose_its_ears(folder: Path, flag: Path) -> Iterator[Daemon]:
    """Its workers find no model of voice activity while `flag` is there."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, sys\n\n"
        f"if os.path.exists({str(flag)!r}):\n    sys.modules['faster_whisper'] = None\n"
    )
    plugins = install_plugins(folder / "plugins", {"unruly": "support.unruly"})
    with running_daemon(
        folder,
        [plugins, site],
        provider="unruly",
        supervision={"first_pause_s": 0.05, "longest_pause_s": 0.2},
    ) as daemon:
        yield daemon


def test_streams_hear_of_voice_activity_that_cannot_be_brought_back(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with daemon_that_can_lose_its_ears(tmp_path, flag) as daemon, daemon.greet() as client:
        client.open(1, partials=False)
        client.open(2, partials=False)
        flag.touch()
        kill_and_see(daemon, VOICE)
        client.speak(1, PHRASE)
        error = client.expect(Error)
        assert (error.code, error.stream, error.fatal) == ("provider_unavailable", 1, False)
        assert error.message.startswith("voice activity cannot be brought back: ")
        closed = client.expect(Closed)
        assert (closed.stream, closed.reason, closed.segments) == (1, "error", 0)
        assert not events_of(client, "dropped")  # it was never committed: it is the client's

        client.speak(2, PHRASE)  # which had nothing to be heard when it was lost
        assert client.expect(Error).stream == 2
        assert client.expect(Closed).stream == 2

        error = refused(client, 3)
        assert error.code == "provider_unavailable"
        assert error.message.startswith("voice activity does not load: ")
        health = client.health()
        assert health.voice_activity is not None
        assert (health.ready, health.voice_activity.state) == (False, "unavailable")

        flag.unlink()
        wait_until(lambda: client.health().ready, "voice activity that is back")
        assert len(client.transcribe(4, PHRASE, partials=False)) == 1
        assert not daemon.strays


# ── no room ───────────────────────────────────────────────────────────────────────────────────


def test_what_had_no_room_is_loaded_when_there_is_some(tmp_path: Path) -> None:
    """The stream is open all the time; nobody asks for its model again but the daemon."""
    with unruly_daemon(tmp_path, config=ONE_MODEL) as daemon, daemon.greet() as client:
        client.open(1, partials=False)
        with daemon.greet() as other:
            give_away_the_room(client, other)
            client.speak(1, PHRASE)
            assert "max_models is 1" in client.expect(Error).message
            assert client.expect(Event, lambda event: event.event == "dropped").stream == 1
            other.finish(1)
        ready = len(daemon.logged("model_ready"))
        wait_until(lambda: len(daemon.logged("model_ready")) > ready, "a model that has room now")
        client.speak(1, PHRASE)
        assert client.expect(Segment).stream == 1
        client.finish(1)
        assert len(client.logged(Error)) == 1
        assert not daemon.strays


def give_away_the_room(client: WireClient, other: WireClient) -> None:
    """Unload the model of `client`, and have `other` open a stream on another."""
    client.send(Unload(provider="unruly", model=None))
    client.expect(Health)
    other.open(1, provider="echo", partials=False)


def test_a_refusal_for_want_of_room_says_nothing_of_the_model(tmp_path: Path) -> None:
    with (
        unruly_daemon(tmp_path, eager=False, config=ONE_MODEL) as daemon,
        daemon.greet() as client,
    ):
        assert client.health().ready
        client.open(1, provider="echo", partials=False)
        error = refused(client, 2)
        assert error.code == "provider_unavailable"
        assert "max_models is 1" in error.message
        assert client.health().ready
        client.finish(1)
        health = client.health()
        assert (health.ready, health.state) == (True, "ready")
        assert len(client.transcribe(3, PHRASE, partials=False)) == 1
        assert isinstance(error.retry_after_ms, int)  # it may be asked for again
        assert not daemon.strays


# ── providers that are given a rest ───────────────────────────────────────────────────────────


def test_one_model_that_is_up_shows_that_its_provider_is_well(tmp_path: Path) -> None:
    """Whatever becomes of another that still loads: here it does so to the end of the test."""
    config = {"supervision": {"breaker_failures": 2, "breaker_open_s": 0.5}}
    with (
        unruly_daemon(
            tmp_path, eager=False, config=config, deed="refuse", flag=str(tmp_path / "flag")
        ) as daemon,
        daemon.greet() as client,
    ):
        client.send(Open(stream=9, model="slow"))
        # It is known first, so it is the first that could be waited for.
        wait_until(lambda: "slow" in models_of(client), "a model that loads")
        client.open(1, partials=False)
        client.speak(1, BAD + BAD)
        wait_until(lambda: daemon.logged("breaker_opened"), "a breaker that is open")
        client.speak(1, PHRASE)
        client.expect(Segment, patience_s=5.0)
        client.finish(1)
        assert client.health().providers["unruly"].breaker == "closed"
        assert [line["state"] for line in daemon.logged("breaker_probed")] == ["closed"]
        assert not daemon.strays


def models_of(client: WireClient) -> list[str]:
    return [model.model for model in client.health().providers["unruly"].models]


@pytest.mark.parametrize(("fallback", "reader"), [("echo", "echo"), ("odd", "unruly")])
def test_with_room_for_one_only_the_audio_that_kills_is_dropped(
    tmp_path: Path, fallback: str, reader: str
) -> None:
    """`echo` takes the place of the model that failed; `odd` is too large for any machine.

    Then what is said waits until the model has been tried again.
    """
    folder = odd_plugin(tmp_path / "plugins", "2**50")
    with (
        running_daemon(
            tmp_path,
            [folder],
            provider="unruly",
            settings={"deed": "kill"},
            fallback=[fallback],
            residency={"max_models": 1},
            supervision={"breaker_failures": 2, "breaker_open_s": 1.0, "first_pause_s": 0.05},
        ) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        client.speak(1, BAD + PHRASE)
        wait_until(lambda: daemon.logged("breaker_opened"), "a breaker that is open")
        client.speak(1, PHRASE)
        client.finish(1)
        assert_set_aside(client, 1, at_s=MARKED_AT_S)
        assert [segment.provider for segment in client.logged(Segment)] == [reader] * 2
        (moved, *_) = events_of(client, "degraded")
        assert str(moved.action).startswith(f"read by {fallback}/")
        assert not daemon.strays
