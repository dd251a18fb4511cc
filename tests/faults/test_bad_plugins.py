"""Plugins that fail in every way: a clear message for whoever asked, and nothing for others."""

import subprocess
from pathlib import Path

import pytest

from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection
from asrd.wire.messages import Audio, ClientMessage, Close, Error, Event, Hello, Open, Segment
from faults.scenes import (
    MARKED_AT_S,
    PHRASE,
    UNRULY,
    VOICE,
    assert_set_aside,
    assert_undisturbed,
    deaths,
    events_of,
    unruly_daemon,
)
from support.daemon import Daemon, command, environment, install_plugins, running_daemon
from support.unruly import marked
from support.waiting import PATIENCE_S, wait_until
from support.wire_client import CHUNK_BYTES, WireClient, texts

BAD = marked(PHRASE, MARKED_AT_S)

RAISES = "raise RuntimeError('broken by design')\n"
EXITS = "import sys\nsys.exit(3)\n"
DIVIDES = (
    "from asrd import hookimpl\n\n\n@hookimpl\ndef asrd_register_providers(register):\n    1 / 0\n"
)
NO_ENGINE = """
from asrd import ModelStatus, Provider, hookimpl


class Hollow(Provider):
    name, summary, default_model = "hollow", "Its engine is not installed", "any"

    def status(self, model):
        return ModelStatus(model=model, is_present=True)

    def load(self, model, settings):
        import engine_that_nobody_has


@hookimpl
def asrd_register_providers(register):
    register(Hollow())
"""


def written(folder: Path, **modules: str) -> Path:
    """A folder with plugins of that name and text, to be put on Python's path."""
    install_plugins(folder, {name: f"asrd_test_{name}" for name in modules})
    for name, text in modules.items():
        (folder / f"asrd_test_{name}.py").write_text(text)
    return folder


def refused(client: WireClient, stream: int, provider: str) -> Error:
    """What a stream hears that asks for that provider."""
    client.send(Open(stream=stream, provider=provider))
    return client.expect(Error, lambda error: error.stream == stream)


def assert_echo_serves(client: WireClient, stream: int) -> None:
    """A stream on another provider reads as ever."""
    assert len(texts(client.transcribe(stream, PHRASE, provider="echo", partials=False))) == 1


# ── at import, at load, at warm-up ────────────────────────────────────────────────────────────


def test_plugins_that_fail_at_import_are_named_and_the_others_serve(tmp_path: Path) -> None:
    folder = written(tmp_path / "plugins", raises=RAISES, exits=EXITS, divides=DIVIDES)
    with running_daemon(tmp_path, [folder]) as daemon, daemon.greet() as client:
        broken = {line["plugin"]: line["problem"] for line in daemon.logged("plugin_broken")}
        assert broken == {
            "raises": "RuntimeError: broken by design",
            "exits": "SystemExit: 3",
            "divides": "ZeroDivisionError: division by zero",
        }
        for stream, (name, problem) in enumerate(broken.items()):
            error = refused(client, stream, name)
            assert error.code == "unknown_provider"
            assert problem in error.message
        assert_echo_serves(client, 9)
        assert client.health().ready
        assert not daemon.strays


def test_an_engine_that_is_not_installed_is_named_and_not_tried_again(tmp_path: Path) -> None:
    folder = written(tmp_path / "plugins", hollow=NO_ENGINE)
    with running_daemon(tmp_path, [folder]) as daemon, daemon.greet() as client:
        error = refused(client, 1, "hollow")
        assert error.code == "provider_unavailable"
        problem = (
            "its engine cannot be imported (No module named 'engine_that_nobody_has'); "
            "install that package again"
        )
        assert error.message == f"hollow/any does not load: {problem}"
        health = client.health()
        assert (health.providers["hollow"].state, health.ready) == ("unavailable", True)
        assert health.providers["hollow"].problem == problem
        assert_echo_serves(client, 2)
        assert len(daemon.logged("load_failed")) == 1
        assert not daemon.strays


@pytest.mark.parametrize("model", ["bad_at_load", "bad_at_warm_up"])
@pytest.mark.parametrize("deed", ["raise", "sys_exit", "segv"])
def test_a_model_that_does_not_come_up_is_told_to_who_asked(
    tmp_path: Path, model: str, deed: str
) -> None:
    with (
        unruly_daemon(
            tmp_path,
            model=model,
            deed=deed,
            eager=False,
            config={"supervision": {"first_pause_s": 0.01}},
        ) as daemon,
        daemon.greet() as client,
    ):
        error = refused(client, 1, "unruly")
        assert error.code == "provider_unavailable"
        assert ("unruly by design" if deed == "raise" else "died") in error.message
        assert client.health().providers["unruly"].state == "unavailable"
        assert_echo_serves(client, 2)
        assert not daemon.strays


def test_a_required_model_that_does_not_come_up_ends_the_daemon(tmp_path: Path) -> None:
    plugins = install_plugins(tmp_path / "plugins", {"unruly": "support.unruly"})
    daemon = Daemon(
        tmp_path,
        [plugins],
        provider="unruly",
        model="bad_at_warm_up",
        settings={"deed": "raise"},
        use={"required": True},
    )
    try:
        assert daemon.process.wait(PATIENCE_S) == 69
    finally:
        daemon.kill()
    assert len(daemon.strays) == 1
    assert "unruly by design" in daemon.strays[0]


# ── at decode ─────────────────────────────────────────────────────────────────────────────────


def test_five_failures_in_a_row_move_streams_and_a_probe_brings_them_back(tmp_path: Path) -> None:
    """A first probe fails, as long as the plugin does."""
    flag = tmp_path / "flag"
    config = {"fallback": ["echo"], "supervision": {"breaker_open_s": 0.5}}
    with (
        unruly_daemon(
            tmp_path, model="flagged", config=config, deed="raise", flag=str(flag)
        ) as daemon,
        daemon.greet() as client,
    ):
        client.open(1, partials=False)
        flag.touch()
        client.speak(1, PHRASE * 6)
        degraded = client.expect(Event, lambda event: event.event == "degraded")
        assert (degraded.stream, degraded.level, degraded.action) == (1, 4, "read by echo/echo")
        client.expect(Segment)
        assert [error.code for error in client.logged(Error, 1)] == ["provider_failed"] * 5
        assert client.health().providers["unruly"].breaker != "closed"
        wait_until(lambda: daemon.logged("breaker_probed"), "a probe")
        flag.unlink()
        restored = client.expect(Event, lambda event: event.event == "restored")
        assert (restored.stream, restored.level) == (1, 0)
        client.speak(1, PHRASE)
        client.finish(1)
        read = [(segment.id, segment.provider) for segment in client.logged(Segment)]
        assert read == [(0, "echo"), (1, "unruly")]
        states = [line["state"] for line in daemon.logged("breaker_probed")]
        assert (states[0], states[-1]) == ("open", "closed")
        assert client.health().providers["unruly"].breaker == "closed"
        assert len(events_of(client, "degraded")) == len(events_of(client, "restored")) == 1
        assert not deaths(daemon, "unruly/flagged")


def test_a_plugin_that_garbles_its_socket_costs_two_workers_and_one_utterance(
    tmp_path: Path,
) -> None:
    with unruly_daemon(tmp_path, deed="garble") as daemon:
        with daemon.greet() as bad, daemon.greet() as good:
            for client in (bad, good):
                client.open(1, partials=False)
            bad.speak(1, BAD)
            good.speak(1, PHRASE)
            bad.finish(1)
            good.finish(1)
            assert_set_aside(bad, 1, at_s=MARKED_AT_S)
            assert len(good.logged(Segment)) == 1
            assert_undisturbed(good)
        assert len(daemon.logged("worker_unintelligible")) == len(deaths(daemon, UNRULY)) == 2
        assert not deaths(daemon, VOICE)
        assert not daemon.strays


@pytest.mark.parametrize("model", ["bad_at_load", "bad_at_warm_up"])
def test_what_a_plugin_prints_gets_between_no_two_frames_on_stdout(
    tmp_path: Path, model: str
) -> None:
    """From Python, C and a child process; while it is loaded or warmed, and amid a decode."""
    chunks = (BAD[begin : begin + CHUNK_BYTES] for begin in range(0, len(BAD), CHUNK_BYTES))
    session: list[ClientMessage] = [
        Hello(),
        Open(stream=1, partials=False),
        *(Audio(stream=1, data=chunk) for chunk in chunks),
        Close(stream=1),
    ]
    plugins = install_plugins(tmp_path, {"unruly": "support.unruly"})
    done = subprocess.run(
        command(None, provider="unruly", model=model, settings={"deed": "print"}),
        input=b"".join(map(encode, session)),
        env=environment(plugins),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0
    heard = list(ClientConnection().receive(memoryview(done.stdout)))
    assert len([message for message in heard if isinstance(message, Segment)]) == 1
    assert not [message for message in heard if isinstance(message, Error)]
    for line in ("by Python", "to descriptor 1", "printed from C", "by a child"):
        assert done.stderr.decode().count(line) == 2
