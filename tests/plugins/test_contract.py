"""What every built-in provider keeps to."""

import subprocess
import sys
from types import ModuleType

import pluggy
import pytest

import asrd_echo
import asrd_faster_whisper
import asrd_moonshine
import asrd_whisper_cpp
from asrd import ModelUnavailable, Provider, ProviderError
from asrd.providers.spec import Hooks

PLUGINS = (asrd_echo, asrd_faster_whisper, asrd_moonshine, asrd_whisper_cpp)
ENGINES = ("numpy", "ctranslate2", "faster_whisper", "moonshine_voice", "_pywhispercpp", "requests")


def provider_of(plugin: ModuleType) -> Provider:
    manager = pluggy.PluginManager("asrd")
    manager.add_hookspecs(Hooks)
    manager.register(plugin)
    found: list[Provider] = []
    manager.hook.asrd_register_providers(register=found.append)
    (provider,) = found
    return provider


@pytest.fixture(params=PLUGINS, ids=lambda plugin: plugin.__name__)
def provider(request: pytest.FixtureRequest) -> Provider:
    return provider_of(request.param)


def test_registering_and_looking_imports_no_engine() -> None:
    """The core does both, and stays small and quick."""
    names = [plugin.__name__ for plugin in PLUGINS]
    code = f"""
import importlib, sys
for name in {names}:
    plugin = importlib.import_module(name)
    plugin.asrd_register_providers(lambda provider: provider.status(provider.default_model))
print([engine for engine in {ENGINES} if engine in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"


def test_the_names_are_those_of_the_wire() -> None:
    names = [provider_of(plugin).name for plugin in PLUGINS]
    assert names == ["echo", "faster_whisper", "moonshine", "whisper_cpp"]


def test_an_unknown_model_is_reported_and_does_not_load(provider: Provider) -> None:
    status = provider.status("no-such-model")
    assert not status.is_present
    assert status.problem.endswith(".")
    with pytest.raises(ModelUnavailable, match="no-such-model"):
        provider.load("no-such-model", {})


def test_an_unknown_setting_is_named_before_anything_loads(provider: Provider) -> None:
    with pytest.raises(ProviderError, match=f"{provider.name} has no setting 'colour'"):
        provider.load(provider.default_model, {"colour": "red"})


def test_a_package_that_is_not_installed_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asrd_faster_whisper.find_spec", lambda _: None)
    monkeypatch.setattr("asrd_moonshine.package_folder", lambda: None)
    monkeypatch.setattr("asrd_whisper_cpp.find_spec", lambda _: None)
    for plugin in (asrd_faster_whisper, asrd_moonshine, asrd_whisper_cpp):
        provider = provider_of(plugin)
        status = provider.status(provider.default_model)
        assert "is not installed" in status.problem
        assert " -m pip install " in status.remedy
        with pytest.raises(ModelUnavailable, match="is not installed"):
            provider.load(provider.default_model, {})
