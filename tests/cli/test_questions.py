"""`asrd health`, `asrd stats`, `asrd providers`, `asrd serve`."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from asrd import Model, ModelStatus, Provider, Setting
from asrd.config import Config
from asrd.errors import StartupError
from asrd.providers.registry import Registered, Registry
from asrd.wire.messages import GetHealth, Hello
from cli.conftest import Run
from support.fake_daemon import HANG_UP, FakeDaemon, health, refusal


def test_a_ready_daemon(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    outcome = asrd("health", "--socket", socket, "--deep")
    assert outcome.code == 0
    assert outcome.out == "ready, up for 1 h 2 min\n  fake: ready, model none\n"
    assert daemon.heard[1] == GetHealth(deep=True)


def test_a_daemon_that_is_not_ready(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[GetHealth] = lambda _: [health(is_ready=False)]
    outcome = asrd("health", "--socket", socket, "--json")
    assert outcome.code == 69
    found = json.loads(outcome.out)
    assert (found["ready"], found["providers"]["fake"]["state"]) == (False, "unavailable")
    assert "type" not in found


def test_no_daemon(asrd: Run, socket: Path) -> None:
    outcome = asrd("health", "--socket", socket, "--json")
    assert outcome.code == 69
    assert json.loads(outcome.out)["state"] == "unreachable"
    assert "no daemon answers" in outcome.error
    assert asrd("stats", "--socket", socket).code == 69


def test_a_daemon_that_is_not_ours(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    daemon.rules[Hello] = lambda _: [refusal("unauthorized", "not you", is_fatal=True), HANG_UP]
    outcome = asrd("health", "--socket", socket)
    assert outcome.code == 77
    assert outcome.error.startswith("not you: ")


def test_stats(asrd: Run, daemon: FakeDaemon, socket: Path) -> None:
    lines = asrd("stats", "--socket", socket).out.splitlines()
    assert "counters.streams 1" in lines
    assert "latencies.final.p50 1.5" in lines
    assert json.loads(asrd("stats", "--socket", socket, "--json").out)["level"] == 0


class Engine(Provider):
    """A provider with a model or without."""

    summary = "An engine"
    default_model = "small"

    def __init__(self, name: str, status: ModelStatus | Exception) -> None:
        self.name = name  # type: ignore[misc]
        self._status = status

    def status(self, model: str) -> ModelStatus:
        if isinstance(self._status, Exception):
            raise self._status
        return self._status

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        raise NotImplementedError


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """One provider that can be used, one without its model, two broken ones."""
    absent = ModelStatus(
        model="small", is_present=False, problem="It is not here.", remedy="get --it"
    )
    engines = [
        Engine("moonshine", ModelStatus(model="small", is_present=True)),
        Engine("other", absent),
        Engine("raising", ZeroDivisionError("inside")),
    ]
    registered = {engine.name: Registered(provider=engine, plugin="plugin") for engine in engines}
    registry = Registry(registered=registered, broken={"stranger": "ImportError: no module"})
    monkeypatch.setattr("asrd.providers.registry.discover", lambda: registry)
    return registry


@pytest.mark.usefixtures("registry")
def test_providers_and_what_they_lack(asrd: Run) -> None:
    outcome = asrd("providers")
    assert outcome.code == 0
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[:5] == [
        ["PROVIDER", "INSTALLED", "MODEL", "PRESENT", "DEFAULT"],
        ["moonshine", "yes", "small", "yes", "yes", "An", "engine"],
        ["other", "yes", "small", "no", "An", "engine"],
        ["raising", "broken", "no"],
        ["stranger", "broken", "no"],
    ]
    assert "\nother: It is not here.\n  get --it\n" in outcome.out
    assert "\nraising: ZeroDivisionError: inside\n" in outcome.out
    assert "\nstranger: ImportError: no module\n" in outcome.out


@pytest.mark.usefixtures("registry")
def test_providers_as_json(asrd: Run) -> None:
    found = {row["provider"]: row for row in json.loads(asrd("providers", "--json").out)}
    assert found["other"]["remedy"] == "get --it"
    assert found["moonshine"]["is_default"]
    assert not found["stranger"]["is_installed"]


@pytest.mark.usefixtures("registry")
def test_a_provider_without_a_recording_has_no_sample(asrd: Run) -> None:
    outcome = asrd("transcribe", "--sample", "--provider", "other")
    assert outcome.code == 66
    assert "ships no recording" in outcome.error


def test_serve_hands_its_options_to_the_daemon(
    asrd: Run, monkeypatch: pytest.MonkeyPatch, socket: Path
) -> None:
    started: list[tuple[Config, Path]] = []

    def serve(config: Config, *, socket_path: Path) -> int:
        started.append((config, socket_path))
        return 7

    levels: list[str] = []
    monkeypatch.setattr("asrd.server.logs.configure", levels.append)
    monkeypatch.setattr("asrd.server.app.serve", serve)
    arguments = ["--provider=whisper_cpp", "--model=m", "-o", "threads=2", "-o", "a.b=c", "--lazy"]
    outcome = asrd("serve", "--socket", socket, *arguments, "--log-level", "debug")
    assert outcome.code == 7
    settings: dict[str, dict[str, Setting]] = {"whisper_cpp": {"threads": 2}, "a": {"b": "c"}}
    config = Config(provider="whisper_cpp", model="m", eager=False, provider_settings=settings)
    assert started == [(config, socket)]
    assert levels == ["debug"]


def test_a_daemon_that_cannot_start_says_so(asrd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: Config) -> int:
        raise StartupError("the address is in use: stop the other one", 75)

    monkeypatch.setattr("asrd.server.logs.configure", lambda _: None)
    monkeypatch.setattr("asrd.server.app.serve_stdio", fail)
    outcome = asrd("serve", "--stdio")
    assert outcome.code == 75
    assert outcome.error == "the address is in use: stop the other one"
