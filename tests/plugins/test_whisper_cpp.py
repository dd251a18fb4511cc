"""whisper.cpp with the twenty-word model, through its library itself."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd import DecodeOptions, Model, ModelUnavailable, ProviderError
from asrd_whisper_cpp import WhisperCppProvider
from asrd_whisper_cpp.files import is_downloadable
from support.audio import read_wav, silence

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

OPTIONS = DecodeOptions()


@pytest.fixture(scope="module")
def model(tiny_whisper: "TinyWhisper") -> Iterator[Model]:
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), {"threads": 1})
    yield model
    model.close()


@pytest.fixture
def phrase(tiny_samples: "list[Recording]") -> "Recording":
    return next(item for item in tiny_samples if item.transcript == "seven four")


def test_it_reads_every_sample_exactly(model: Model, tiny_samples: "list[Recording]") -> None:
    """Two of them are silence and noise, and their text is empty."""
    read = [model.decode(read_wav(item.path), OPTIONS).text for item in tiny_samples]
    assert read == [item.transcript for item in tiny_samples]
    assert "" in read


def test_confidence_and_language_come_with_the_text(model: Model, phrase: "Recording") -> None:
    hypothesis = model.decode(read_wav(phrase.path), OPTIONS)
    assert hypothesis.confidence is not None
    assert 0.8 < hypothesis.confidence <= 1
    assert hypothesis.language == "en"
    assert hypothesis.words == ()


def test_words_have_times_in_order_and_probabilities(model: Model, phrase: "Recording") -> None:
    words = model.decode(read_wav(phrase.path), DecodeOptions(words=True)).words
    assert [word.word for word in words] == phrase.transcript.split()
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] < 0.4  # said from 0.04 to 0.90 s
    assert 0.6 < times[-1] < 1.1
    assert all(word.probability is not None and 0 < word.probability <= 1 for word in words)


def test_options_of_one_call_do_not_stick(model: Model, phrase: "Recording") -> None:
    audio = read_wav(phrase.path)
    before = model.decode(audio, OPTIONS)
    asked = DecodeOptions(words=True, prompt="up up", task="translate", is_partial=True)
    assert model.decode(audio, asked).words
    assert model.decode(audio, OPTIONS) == before


def test_an_english_model_reads_english_whatever_is_asked(
    model: Model, phrase: "Recording"
) -> None:
    asked = DecodeOptions(language="de", task="translate")
    hypothesis = model.decode(read_wav(phrase.path), asked)
    assert (hypothesis.text, hypothesis.language) == (phrase.transcript, "en")


def test_a_model_of_many_languages_takes_codes_and_refuses_other_words(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "_is_multilingual", True)
    assert model._language("pt_BR") == "pt"  # type: ignore[attr-defined]
    assert model._language(None) == "auto"  # type: ignore[attr-defined]
    with pytest.raises(ProviderError, match="Whisper knows no language 'elvish'"):
        model.decode(silence(1), DecodeOptions(language="elvish"))


@pytest.mark.parametrize("samples", [0, 1, 1_600, 1_760, 480_000])
def test_silence_after_speech_is_empty(model: Model, phrase: "Recording", samples: int) -> None:
    """Given no samples, the engine would repeat what it read last."""
    assert model.decode(read_wav(phrase.path), OPTIONS).text
    audio = np.zeros(samples, np.float32)
    audio.flags.writeable = False
    assert model.decode(audio, OPTIONS).text == ""


def test_beam_search_reads_the_same(tiny_whisper: "TinyWhisper", phrase: "Recording") -> None:
    settings = {"beam_size": 3, "threads": 1, "temperature_fallback": False}
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), settings)
    assert model.decode(read_wav(phrase.path), OPTIONS).text == phrase.transcript
    model.close()
    model.close()  # a second time does nothing


@pytest.mark.parametrize("size", [5, 100, 4_000_000])
def test_a_damaged_file_is_an_error_and_not_a_crash(
    tiny_whisper: "TinyWhisper", tmp_path: Path, size: int
) -> None:
    path = tmp_path / "ggml-cut.bin"
    path.write_bytes(tiny_whisper.ggml.read_bytes()[:size])
    with pytest.raises(ProviderError, match=r"cannot load .*ggml-cut\.bin: whisper_"):
        WhisperCppProvider().load(str(path), {})


def test_the_engine_prints_nothing(
    tiny_whisper: "TinyWhisper", phrase: "Recording", capfd: pytest.CaptureFixture[str]
) -> None:
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), {"threads": 1})
    model.decode(read_wav(phrase.path), DecodeOptions(words=True))
    model.close()
    assert capfd.readouterr() == ("", "")


def test_a_process_ends_well_without_closing_its_model(tiny_whisper: "TinyWhisper") -> None:
    code = f"""
from asrd_whisper_cpp import WhisperCppProvider
model = WhisperCppProvider().load({str(tiny_whisper.ggml)!r}, {{}})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_model_is_found_by_name_in_the_engines_folder(
    tiny_whisper: "TinyWhisper", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asrd_whisper_cpp.files._models_folder", lambda: tmp_path)
    (tmp_path / "ggml-tiny.en.bin").symlink_to(tiny_whisper.ggml)
    (tmp_path / "mine.bin").symlink_to(tiny_whisper.ggml)
    provider = WhisperCppProvider()
    assert provider.status("tiny.en").is_present
    assert provider.status("mine").is_present

    absent = provider.status("base")
    assert absent.problem == f"There is no file {tmp_path}/ggml-base.bin."
    assert absent.remedy.endswith("download_model('base')\"")
    with pytest.raises(ModelUnavailable, match=r"ggml-base\.bin"):
        provider.load("base", {})


def test_the_names_and_the_folder_are_the_engines_own() -> None:
    from pywhispercpp.constants import AVAILABLE_MODELS, MODELS_DIR
    from pywhispercpp.utils import download_model

    from asrd_whisper_cpp.files import _models_folder

    assert all(is_downloadable(name) for name in AVAILABLE_MODELS)
    assert not is_downloadable("base'); import os; ('")
    assert _models_folder() == MODELS_DIR
    assert callable(download_model)  # what the remedy calls
