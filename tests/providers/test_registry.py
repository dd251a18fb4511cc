"""Plugins are found by their entry points, and a broken one is a line, not a crash."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from asrd.choices import Setting
from asrd.errors import ProviderError
from asrd.providers.registry import Registered, Registry, UnknownProvider, discover
from asrd_echo import EchoProvider
from support.daemon import install_plugins
from support.unruly import UnrulyProvider

BUILT_IN = {"moonshine", "faster_whisper", "whisper_cpp", "echo"}

PROVIDER = """
from asrd import ModelStatus, Provider, hookimpl

class One(Provider):
    name, summary, default_model = "{name}", "-", "-"
    def status(self, model):
        return ModelStatus(model=model, is_present=True)
    def load(self, model, settings):
        raise NotImplementedError

@hookimpl
def asrd_register_providers(register):
"""

BROKEN = {
    "raises_at_import": ("1 / 0", "ZeroDivisionError: division by zero"),
    "exits_at_import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "misses_a_module": ("import no_such_engine", "ModuleNotFoundError: No module named"),
    "raises_at_register": (PROVIDER + "    raise OSError('no disk')", "OSError: no disk"),
    "takes_a_taken_name": (
        PROVIDER.replace("{name}", "echo") + "    register(One())",
        "ValueError: provider 'echo' is already brought by asrd_echo",
    ),
    "registers_twice": (
        PROVIDER.replace("{name}", "two") + "    register(One()); register(One())",
        "ValueError: provider 'two' is already brought by",
    ),
    "registers_no_provider": (PROVIDER + "    register('me')", "TypeError: 'me' is not a Provider"),
    "has_no_name": (
        PROVIDER.replace("name, summary, default_model = ", "_, summary, default_model = ")
        + "    register(One())",
        "AttributeError",
    ),
    "has_an_unknown_hook": (
        PROVIDER.replace("asrd_register_providers", "asrd_unheard_of") + "    pass",
        "PluginValidationError",
    ),
}


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that are installed as plugins, each under its own name."""
    for name, (source, _) in BROKEN.items():
        (tmp_path / f"asrd_test_{name}.py").write_text(source)
    install_plugins(tmp_path, {name: f"asrd_test_{name}" for name in BROKEN} | {"absent": "asrd_x"})
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_built_in_plugins_are_found_like_any_other() -> None:
    registry = discover()
    assert registry.registered.keys() >= BUILT_IN
    assert not registry.broken
    assert registry.get("echo").plugin == "asrd_echo"
    assert isinstance(registry.providers["echo"], EchoProvider)


def test_a_broken_plugin_is_a_line_and_disturbs_no_other(stranger: Path) -> None:
    """Whatever is wrong with it, even that it ends the process."""
    registry = discover()
    assert registry.registered.keys() == discover().registered.keys() >= BUILT_IN
    assert registry.get("echo").plugin == "asrd_echo"
    assert registry.broken.keys() == BROKEN.keys() | {"absent"}
    for name, (_, line) in BROKEN.items():
        assert registry.broken[name].startswith(line), name
        assert "\n" not in registry.broken[name].strip()


def test_a_plugin_brings_all_of_its_providers_or_none(stranger: Path) -> None:
    assert "two" not in discover().registered


def test_an_unknown_provider_is_told_with_the_nearest_name(stranger: Path) -> None:
    registry = discover()
    with pytest.raises(UnknownProvider, match="did you mean 'moonshine'"):
        registry.get("monshine")
    with pytest.raises(UnknownProvider, match=r"there are echo, faster_whisper, "):
        registry.get("zzz")
    with pytest.raises(UnknownProvider, match="its plugin is broken: OSError: no disk"):
        registry.get("raises_at_register")


def test_an_enormous_name_is_not_repeated() -> None:
    with pytest.raises(UnknownProvider) as told:
        Registry().get("x" * 10_000)
    assert len(str(told.value)) < 200


def test_a_provider_that_raises_when_asked_for_a_model_has_not_got_it() -> None:
    """Names come from clients, and a plugin's look at the disk may fail in any way."""
    registry = Registry()
    registry.add("support.unruly")
    assert isinstance(registry.get("unruly").provider, UnrulyProvider)
    status = registry.get("unruly").status("bad_at_status")
    assert not status.is_present
    assert status.problem == (
        "unruly cannot tell of the model 'bad_at_status': RuntimeError: unruly by design"
    )


def test_a_provider_that_raises_at_its_settings_is_told_as_such() -> None:
    class Bad(EchoProvider):
        def check_settings(self, settings: Mapping[str, Setting]) -> None:
            raise RuntimeError("unruly by design")

    entry = Registered(provider=Bad(), plugin="bad")
    with pytest.raises(ProviderError, match="settings: RuntimeError: unruly by design"):
        entry.check_settings({})


def test_looking_for_plugins_imports_no_engine_and_no_array_library() -> None:
    script = (
        "import sys; from asrd.providers.registry import discover; discover();"
        "heavy = {'numpy', 'onnxruntime', 'ctranslate2', 'faster_whisper', 'moonshine_voice',"
        " 'pywhispercpp', '_pywhispercpp', 'torch', 'av'};"
        "print(*sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n", b"")
