"""`asrd providers`, and what commands do without a daemon of ours."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from asrd import Model, ModelStatus, Provider, Setting
from asrd.providers.registry import Registered, Registry
from asrd.wire.messages import Hello
from cli.conftest import Run
from support.fake_daemon import HANG_UP, FakeDaemon, refusal


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
