"""Which of the built-in providers put models on an NVIDIA GPU, and under which settings."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import asrd_whisper_cpp
from asrd import ProviderError
from asrd.choices import Setting
from asrd_echo import EchoProvider
from asrd_faster_whisper import FasterWhisperProvider
from asrd_moonshine import MoonshineProvider
from asrd_whisper_cpp import WhisperCppProvider


@pytest.mark.parametrize(
    ("settings", "is_wanted"),
    [
        ({}, True),
        ({"device": "auto", "device_index": 1}, True),
        ({"device": "cuda", "compute_type": "int8"}, True),
        ({"device": "cpu"}, False),
    ],
)
def test_faster_whisper_is_put_on_a_gpu_unless_the_cpu_is_chosen(
    settings: dict[str, Setting], is_wanted: bool
) -> None:
    assert FasterWhisperProvider().wants_gpu(settings) is is_wanted
    with pytest.raises(ProviderError, match="did you mean 'device'"):
        FasterWhisperProvider().wants_gpu({"devise": "cpu"})


@pytest.mark.parametrize(
    ("library", "is_built_for_it"),
    [
        ("libggml-cuda.so.0", True),
        ("pywhispercpp.libs/libggml-cuda-684d824a.so.0.13.1", True),
        ("libggml-vulkan.so", True),
        ("ggml-cuda.dll", True),
        ("libggml-cpu.so", False),
        ("libggml-metal.dylib", False),
        ("elsewhere/libggml-cuda.so", False),
    ],
)
def test_whisper_cpp_is_put_on_a_gpu_where_its_library_was_built_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, is_built_for_it: bool
) -> None:
    file = tmp_path / library
    file.parent.mkdir(exist_ok=True)
    file.touch()
    spec = importlib.util.spec_from_file_location("_pywhispercpp", tmp_path / "_pywhispercpp.py")
    monkeypatch.setattr(asrd_whisper_cpp, "find_spec", {"_pywhispercpp": spec}.__getitem__)
    provider = WhisperCppProvider()
    assert provider.wants_gpu({}) is is_built_for_it
    assert provider.wants_gpu({"use_gpu": True, "contexts": 2}) is is_built_for_it
    assert provider.wants_gpu({"use_gpu": False}) is False


@pytest.mark.parametrize("spec", [None, ModuleSpec("_pywhispercpp", None)])
def test_whisper_cpp_wants_no_gpu_where_its_library_is_not_found(
    monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None
) -> None:
    monkeypatch.setattr(asrd_whisper_cpp, "find_spec", {"_pywhispercpp": spec}.__getitem__)
    assert WhisperCppProvider().wants_gpu({}) is False


def test_the_others_run_on_the_cpu() -> None:
    assert MoonshineProvider().wants_gpu({}) is False
    assert EchoProvider().wants_gpu({}) is False
