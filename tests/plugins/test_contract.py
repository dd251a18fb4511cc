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
from asrd import Gpu, Machine, ModelUnavailable, Provider, ProviderError
from asrd.providers.spec import Hooks

MACHINES = (
    Machine(cores=0.5, memory_bytes=10**9, available_bytes=10**8),
    Machine(cores=2, memory_bytes=4 * 10**9, available_bytes=3 * 10**9),
    Machine(cores=64, memory_bytes=10**12, available_bytes=10**12),
    Machine(cores=8, memory_bytes=8 * 10**9, available_bytes=10**9, is_apple_silicon=True),
    Machine(cores=10, memory_bytes=32 * 10**9, available_bytes=10**10, is_apple_silicon=True),
    Machine(
        cores=16,
        memory_bytes=128 * 10**9,
        available_bytes=10**11,
        gpus=(
            Gpu(
                index=0,
                name="a GPU",
                memory_bytes=24 * 10**9,
                free_bytes=20 * 10**9,
                compute_capability=(8, 6),
            ),
        ),
    ),
)
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
from asrd import Machine
for name in {names}:
    plugin = importlib.import_module(name)
    found = []
    plugin.asrd_register_providers(found.append)
    found[0].status(found[0].default_model)
    list(found[0].models())
    found[0].check_settings({{}})
    found[0].suggest(Machine(cores=4, memory_bytes=10**10, available_bytes=10**10))
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
        provider.check_settings({"colour": "red"})
    with pytest.raises(ProviderError, match=f"{provider.name} has no setting 'colour'"):
        provider.load(provider.default_model, {"colour": "red"})


def test_a_model_has_one_right_name_and_the_default_is_among_the_models(
    provider: Provider,
) -> None:
    models = list(provider.models())
    names = [status.model for status in models]
    assert provider.default_model in names
    assert len(set(names)) == len(names)
    for status in models:
        assert provider.status(status.model) == status
        assert bool(status.problem) != status.is_present
        assert (
            status.is_present or status.remedy == f"asrd models pull {provider.name}/{status.model}"
        )


def test_what_is_unknown_is_not_pulled(provider: Provider) -> None:
    with pytest.raises(ProviderError):
        provider.pull("no-such-model", lambda *_: None)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: f"{machine.cores}-cores")
def test_what_is_suggested_exists_and_fits(provider: Provider, machine: Machine) -> None:
    known = {status.model for status in provider.models()}
    for suggestion in provider.suggest(machine):
        assert suggestion.model in known
        provider.check_settings(suggestion.settings)
        assert 0 < suggestion.memory_bytes < machine.memory_bytes
        assert 50 < suggestion.quality < 100
        assert suggestion.reason


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
