"""faster-whisper with the twenty-word model, through CTranslate2 itself."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd import DecodeOptions, Model, ModelUnavailable, ProviderError
from asrd_faster_whisper import FasterWhisperProvider
from asrd_faster_whisper.files import REPOSITORIES, locate
from support.audio import read_wav, silence

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

OPTIONS = DecodeOptions()


@pytest.fixture(scope="module")
def model(tiny_whisper: "TinyWhisper") -> Model:
    return FasterWhisperProvider().load(str(tiny_whisper.ctranslate2), {"cpu_threads": 1})


@pytest.fixture
def phrase(tiny_samples: "list[Recording]") -> "Recording":
    return next(item for item in tiny_samples if item.transcript == "open nine one stop")


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
    assert model.decode(silence(1), OPTIONS).confidence is None


def test_words_have_times_in_order_and_probabilities(model: Model, phrase: "Recording") -> None:
    words = model.decode(read_wav(phrase.path), DecodeOptions(words=True)).words
    assert [word.word for word in words] == phrase.transcript.split()
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 1.5 < times[-1] < 2.6  # the phrase ends at 2.33 s
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
    monkeypatch.setattr("faster_whisper.WhisperModel.supported_languages", ["de", "en"])
    assert model._language("de-AT") == "de"  # type: ignore[attr-defined]
    assert model._language(None) is None  # type: ignore[attr-defined]
    with pytest.raises(ProviderError, match="Whisper knows no language 'elvish'"):
        model.decode(silence(1), DecodeOptions(language="elvish"))


@pytest.mark.parametrize("samples", [0, 1, 800, 480_000])
def test_any_length_of_silence_is_empty(model: Model, samples: int) -> None:
    audio = np.zeros(samples, np.float32)
    audio.flags.writeable = False
    assert model.decode(audio, OPTIONS).text == ""


@pytest.mark.parametrize("name", ["config.json", "model.bin", "tokenizer.json"])
def test_a_missing_file_is_named_and_never_fetched(
    tiny_whisper: "TinyWhisper", tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(tiny_whisper.ctranslate2, tmp_path / "model")
    (folder / name).unlink()
    with pytest.raises(ModelUnavailable, match=f"lacks {re.escape(name)}"):
        FasterWhisperProvider().load(str(folder), {})


@pytest.mark.parametrize("name", ["config.json", "model.bin", "tokenizer.json", "vocabulary.json"])
def test_a_damaged_file_is_an_error_with_the_folder_in_it(
    tiny_whisper: "TinyWhisper", tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(tiny_whisper.ctranslate2, tmp_path / "model")
    with (folder / name).open("r+b") as file:
        file.truncate(50)
    with pytest.raises(ProviderError, match=re.escape(f"cannot load {folder}")):
        FasterWhisperProvider().load(str(folder), {})


def test_a_device_or_compute_type_that_is_not_there_is_refused(
    tiny_whisper: "TinyWhisper",
) -> None:
    folder = str(tiny_whisper.ctranslate2)
    with pytest.raises(ProviderError, match="there is no device 63"):
        FasterWhisperProvider().load(folder, {"device": "cuda", "device_index": 63})
    with pytest.raises(ProviderError, match="cpu cannot compute in 'int4'; it can in float32"):
        FasterWhisperProvider().load(folder, {"device": "cpu", "compute_type": "int4"})


def test_a_model_in_the_cache_is_found_by_its_short_name(
    tiny_whisper: "TinyWhisper", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laid out as huggingface_hub lays it out."""
    home = tmp_path / "models--Systran--faster-whisper-tiny"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0123abc")
    (home / "snapshots").mkdir()
    (home / "snapshots" / "0123abc").symlink_to(tiny_whisper.ctranslate2)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    provider = FasterWhisperProvider()
    assert provider.status("tiny").is_present
    assert provider.status("Systran/faster-whisper-tiny").is_present
    provider.load("tiny", {"device": "cpu"}).decode(silence(1), OPTIONS)

    absent = provider.status("base")
    assert absent.problem == "The model 'base' is not in the Hugging Face cache."
    assert absent.remedy.endswith("download_model('Systran/faster-whisper-base')\"")


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HOME": "/h"}, "/h/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/home/me"}, "/home/me/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hub_would_put_it(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    files = locate("base")
    assert files is not None
    assert str(files.folder).startswith(f"{folder}/models--Systran--faster-whisper-base/")


def test_the_short_names_are_the_engines_own() -> None:
    from faster_whisper.utils import _MODELS, download_model

    assert REPOSITORIES == _MODELS
    assert callable(download_model)  # what the remedy calls


@pytest.mark.parametrize("name", ["x/y/z", "a/b; rm -rf", "base'", 'a"/b'])
def test_no_name_reaches_the_remedys_command_unless_it_is_plain(name: str) -> None:
    assert FasterWhisperProvider().status(name).remedy == ""
