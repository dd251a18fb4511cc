"""What every built-in provider keeps to."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING

import pluggy
import pytest

import asrd_echo
import asrd_faster_whisper
import asrd_moonshine
import asrd_whisper_cpp
from asrd import (
    DecodeOptions,
    DecodeRequest,
    Gpu,
    Machine,
    Model,
    ModelUnavailable,
    Provider,
    ProviderError,
    Setting,
)
from asrd.providers.engine import checked
from asrd.providers.spec import Hooks
from support.audio import Samples, read_wav

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

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
AT_ONCE = 2
MEETING_S = 15.0
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


def able_model(provider: Provider, tiny_whisper: "TinyWhisper") -> Model:
    """A model that is small, and set up to read several windows at once where it can."""
    paths = {"faster_whisper": tiny_whisper.ctranslate2, "whisper_cpp": tiny_whisper.ggml}
    settings: dict[str, Setting] = {"max_batch": 4} if provider.name == "echo" else {}
    model = str(paths.get(provider.name, provider.default_model))
    return provider.load(model, provider.spread(settings, AT_ONCE))


@pytest.fixture(scope="module", params=PLUGINS, ids=lambda plugin: plugin.__name__)
def able(request: pytest.FixtureRequest, tiny_whisper: "TinyWhisper") -> Iterator[Model]:
    model = able_model(provider_of(request.param), tiny_whisper)
    yield model
    model.close()


@pytest.fixture
def windows(tiny_samples: "list[Recording]") -> list[Samples]:
    """Speech of 0.6 to 9 s, and the two without any."""
    recordings = (read_wav(item.path) for item in tiny_samples)
    return [audio for audio in recordings if audio.size < 160_000]


@pytest.mark.parametrize("decodes", [1, 2, 7, 1_000])
def test_settings_that_are_spread_are_settings_and_keep_what_the_user_set(
    provider: Provider, decodes: int
) -> None:
    made = provider.spread({}, decodes)
    provider.check_settings(made)
    if decodes == 1:
        assert made == {}
    for name, value in made.items():
        chosen: dict[str, Setting] = {name: int(value) + 1}
        assert provider.spread(chosen, decodes)[name] == chosen[name]
        assert chosen == {name: int(value) + 1}


def test_abilities_make_sense(able: Model) -> None:
    assert checked(able.abilities) == able.abilities
    assert able.abilities.partial_contexts_s[-1] == able.abilities.final_contexts_s[-1] == 30


def test_who_says_that_it_reads_batches_does_and_no_other(able: Model) -> None:
    assert (type(able).decode_batch is Model.decode_batch) == (able.abilities.max_batch == 1)


@pytest.mark.parametrize("words", [False, True], ids=["text", "words"])
@pytest.mark.parametrize("is_partial", [False, True], ids=["finals", "partials"])
def test_a_batch_reads_what_one_by_one_reads(
    able: Model, windows: list[Samples], *, is_partial: bool, words: bool
) -> None:
    if able.abilities.max_batch == 1:
        pytest.skip("it reads no batches")
    options = DecodeOptions(is_partial=is_partial, words=words)
    lanes: dict[float, list[Samples]] = {}
    for window in windows:
        context_s = able.abilities.context_s(window.size / 16_000, is_partial=is_partial)
        lanes.setdefault(context_s, []).append(window)
    for lane in lanes.values():
        batch = lane[: able.abilities.max_batch]
        together = able.decode_batch([DecodeRequest(audio=one, options=options) for one in batch])
        alone = [able.decode(one, options) for one in batch]
        assert [getattr(read, "text", read) for read in together] == [read.text for read in alone]
    assert max(map(len, lanes.values())) > 1


def test_decodes_at_once_read_what_one_after_the_other_reads(
    able: Model, windows: list[Samples]
) -> None:
    options = DecodeOptions(words=True)
    alone = [able.decode(window, options).text for window in windows]
    threads = able.abilities.decodes_at_once
    barrier = threading.Barrier(threads)

    def read_all(thread: int) -> list[str]:
        barrier.wait(MEETING_S)
        order = windows[thread:] + windows[:thread]  # what is read at once differs
        texts = [able.decode(window, options).text for window in order]
        return texts[-thread:] + texts[:-thread] if thread else texts

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(read_all, range(threads))) == [alone] * threads


def test_all_but_moonshine_decode_as_many_at_once_as_they_are_spread_over(
    tiny_whisper: "TinyWhisper",
) -> None:
    found = {}
    for plugin in PLUGINS:
        provider = provider_of(plugin)
        model = able_model(provider, tiny_whisper)
        found[provider.name] = model.abilities.decodes_at_once
        model.close()
    assert found == {"echo": 2, "faster_whisper": 2, "moonshine": 1, "whisper_cpp": 2}
