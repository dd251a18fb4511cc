"""Moonshine on recordings of people, through libmoonshine itself."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd import DecodeOptions, Model, ModelUnavailable, ProviderError
from asrd_moonshine import MoonshineProvider
from asrd_moonshine.files import CATALOGUE, locate
from support.audio import SAMPLE_RATE, read_wav, silence
from support.errors import word_error_rate

if TYPE_CHECKING:
    from conftest import Recording

OPTIONS = DecodeOptions()
PAUSE_S = 28.7
"""A pause of two_cities.wav, which as a whole is longer than a window may be."""


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    model = MoonshineProvider().load("tiny-en", {})
    yield model
    model.close()


def test_it_reads_two_long_windows_of_a_novel(model: Model, two_cities: "Recording") -> None:
    audio = read_wav(two_cities.path)
    pause = int(PAUSE_S * SAMPLE_RATE)
    text = " ".join(model.decode(part, OPTIONS).text for part in (audio[:pause], audio[pause:]))
    assert word_error_rate([(two_cities.transcript, text)]) < 0.05


def test_it_reads_short_recordings(model: Model, shared_audio: "list[Recording]") -> None:
    pairs = [
        (item.transcript, model.decode(read_wav(item.path), OPTIONS).text) for item in shared_audio
    ]
    assert word_error_rate(pairs) < 0.08


def test_the_text_depends_on_the_window_alone(model: Model, two_cities: "Recording") -> None:
    """What was decoded before leaves no trace, though the library keeps state."""
    audio = read_wav(two_cities.path)
    windows = [audio[start : start + 2 * SAMPLE_RATE] for start in range(16_000, 160_000, 48_000)]
    first = [model.decode(window, OPTIONS).text for window in windows]
    again = [model.decode(window, OPTIONS).text for window in reversed(windows)]
    assert again[::-1] == first
    assert len(set(first)) == len(windows)


def test_it_says_its_language_and_ignores_another(model: Model, two_cities: "Recording") -> None:
    audio = read_wav(two_cities.path)[: 5 * SAMPLE_RATE]
    asked = DecodeOptions(language="de", task="translate", words=True, prompt="x", is_partial=True)
    hypothesis = model.decode(audio, asked)
    assert hypothesis == model.decode(audio, OPTIONS)
    assert hypothesis.language == "en"


@pytest.mark.parametrize("samples", [0, 1, 800, 1_599])
def test_a_window_too_short_for_a_word_is_empty(model: Model, samples: int) -> None:
    """The library fails on some of these lengths, and reads "You" in others."""
    assert model.decode(np.full(samples, 0.1, np.float32), OPTIONS).text == ""


def test_the_shortest_window_and_the_longest_one_decode(model: Model) -> None:
    for duration_s in (0.1, 30.0):
        model.decode(silence(duration_s), OPTIONS)


def test_audio_may_be_read_only_and_strided(model: Model, two_cities: "Recording") -> None:
    audio = read_wav(two_cities.path)[SAMPLE_RATE : 4 * SAMPLE_RATE]
    strided = np.repeat(audio, 2)[::2]
    strided.flags.writeable = False
    assert model.decode(strided, OPTIONS) == model.decode(audio, OPTIONS)


def test_a_folder_may_be_given_as_a_path(tmp_path: Path) -> None:
    embedded = locate("tiny-en")
    assert embedded is not None
    folder = tmp_path / "tiny-en"
    folder.symlink_to(embedded.folder)
    provider = MoonshineProvider()
    assert provider.status(str(folder)).is_present
    model = provider.load(str(folder), {"max_tokens_per_second": 8, "single_thread": True})
    model.decode(silence(0.5), OPTIONS)
    model.close()
    model.close()  # a second time does nothing


def test_a_folder_whose_name_tells_nothing_asks_for_the_architecture(tmp_path: Path) -> None:
    embedded = locate("tiny-en")
    assert embedded is not None
    folder = tmp_path / "mine"
    folder.symlink_to(embedded.folder)
    with pytest.raises(ProviderError, match="set 'architecture'"):
        MoonshineProvider().load(str(folder), {})
    MoonshineProvider().load(str(folder), {"architecture": "tiny"}).close()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "encoder_model.ort").touch()
    status = MoonshineProvider().status(str(tmp_path))
    assert status.problem == (
        f"The folder {tmp_path} lacks decoder_model_merged.ort, tokenizer.bin."
    )
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.bin"):
        MoonshineProvider().load(str(tmp_path), {})


def test_a_damaged_file_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    embedded = locate("tiny-en")
    assert embedded is not None
    folder = shutil.copytree(embedded.folder, tmp_path / "tiny-en")
    with (folder / "encoder_model.ort").open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(ProviderError, match="a file is damaged"):
        MoonshineProvider().load(str(folder), {})


def test_every_other_model_has_a_command_that_fetches_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command's two numbers and the folder agree with the library's own catalogue."""
    monkeypatch.setenv("MOONSHINE_VOICE_CACHE", str(tmp_path))
    from moonshine_voice.download import find_model_info
    from moonshine_voice.moonshine_api import ModelArch

    for name in CATALOGUE:
        status = MoonshineProvider().status(name)
        if name == "tiny-en":
            assert status.is_present
            continue
        words = status.remedy.split()
        assert words[1:4] == ["-m", "moonshine_voice.download", "--stt"]
        info = find_model_info(words[5], ModelArch(int(words[7])))
        folder = tmp_path / info["download_url"].removeprefix("https://")
        assert str(folder) in status.problem
