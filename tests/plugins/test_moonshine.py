"""Moonshine on recordings of people, through libmoonshine itself."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd import DecodeOptions, Machine, Model, ModelUnavailable, ProviderError
from asrd_moonshine import MoonshineProvider
from asrd_moonshine.download import _command
from asrd_moonshine.files import CATALOGUE, ModelFiles, locate
from support.audio import SAMPLE_RATE, read_wav, silence
from support.errors import word_error_rate
from support.stand_in_hub import StandInHub

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


def in_the_wheel() -> ModelFiles:
    files = locate("tiny-en")
    assert files is not None
    return files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's cache, empty."""
    monkeypatch.setenv("MOONSHINE_VOICE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_may_be_given_as_a_path(tmp_path: Path) -> None:
    embedded = in_the_wheel()
    folder = tmp_path / "tiny-en"
    folder.symlink_to(embedded.folder)
    provider = MoonshineProvider()
    assert provider.status(str(folder)).is_present
    model = provider.load(str(folder), {"max_tokens_per_second": 8, "single_thread": True})
    model.decode(silence(0.5), OPTIONS)
    model.close()
    model.close()  # a second time does nothing


def test_a_folder_whose_name_tells_nothing_asks_for_the_architecture(tmp_path: Path) -> None:
    embedded = in_the_wheel()
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


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("encoder_model.ort", 1_000_000),
        ("encoder_model.ort", 0),
        ("decoder_model_merged.ort", 30_412_000),
        ("decoder_model_merged.ort", 10),
        ("tokenizer.bin", 249_900),
        ("tokenizer.bin", 10),
        ("tokenizer.bin", 0),
    ],
)
def test_a_file_cut_off_is_an_error_and_not_a_crash(tmp_path: Path, name: str, size: int) -> None:
    folder = shutil.copytree(in_the_wheel().folder, tmp_path / "tiny-en")
    with (folder / name).open("r+b") as file:
        file.truncate(size)
    with pytest.raises(ProviderError, match="damaged"):
        MoonshineProvider().load(str(folder), {})


def test_a_damaged_model_of_the_cache_names_the_command_that_heals_it(cache: Path) -> None:
    files = locate("base-en")
    assert files is not None
    shutil.copytree(in_the_wheel().folder, files.folder)
    (files.folder / "encoder_model.ort").write_bytes(b"x")
    with pytest.raises(ProviderError, match=r"damaged .* asrd models pull moonshine/base-en$"):
        MoonshineProvider().load("base-en", {})


def test_a_model_of_another_language_is_found_in_the_cache_and_tells_it(cache: Path) -> None:
    """The weights are the English ones: what is tested is all around them."""
    files = locate("tiny-ja")
    assert files is not None
    shutil.copytree(in_the_wheel().folder, files.folder)
    provider = MoonshineProvider()
    for model in ("tiny-ja", str(files.folder)):
        status = provider.status(model)
        assert (status.model, status.is_present, status.remedy) == (model, True, "")
        loaded = provider.load(model, {})
        assert loaded.decode(silence(1), OPTIONS).language == "ja"
        loaded.close()


def test_a_path_becomes_absolute_and_has_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny-en").symlink_to(in_the_wheel().folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("./tiny-en", f"../{tmp_path.name}/tiny-en", "~/tiny-en"):
        status = MoonshineProvider().status(path)
        assert status.model == f"{tmp_path}/tiny-en"
        assert status.size_bytes == sum(f.stat().st_size for f in (tmp_path / "tiny-en").iterdir())


def test_the_models_to_choose_from_come_with_what_is_here(cache: Path) -> None:
    models = list(MoonshineProvider().models())
    assert [status.model for status in models] == list(CATALOGUE)
    assert [status.model for status in models if status.is_present] == ["tiny-en"]
    assert models[0].size_bytes > 40_000_000
    absent = models[1]
    assert absent.problem == "The model 'base-en' is not in Moonshine's cache."
    assert absent.remedy == "asrd models pull moonshine/base-en"


def test_a_wrong_name_is_told_the_nearest_one() -> None:
    status = MoonshineProvider().status("tiny_en")
    assert status.problem == "Moonshine has no model 'tiny_en'; did you mean 'tiny-en'?"


def test_it_suggests_the_model_in_the_wheel_where_there_is_some_of_a_core() -> None:
    machine = Machine(cores=0.5, memory_bytes=10**9, available_bytes=10**9)
    (suggestion,) = MoonshineProvider().suggest(machine)
    assert MoonshineProvider().status(suggestion.model).is_present
    MoonshineProvider().check_settings(suggestion.settings)
    little = Machine(cores=0.1, memory_bytes=10**9, available_bytes=10**9)
    assert list(MoonshineProvider().suggest(little)) == []


# ── pull ──────────────────────────────────────────────────────────────────────────────────────


Downloader = Callable[[str], None]


@pytest.fixture
def downloader(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Downloader:
    """Puts a program in the downloader's place; it is given base-en's folder."""
    files = locate("base-en")
    assert files is not None

    def put(program: str) -> None:
        code = (
            f"import pathlib, shutil, sys, time\n"
            f"folder = pathlib.Path({str(files.folder)!r})\n"
            f"wheel = pathlib.Path({str(in_the_wheel().folder)!r})\n{program}"
        )
        monkeypatch.setattr(
            "asrd_moonshine.download._command", lambda *_: [sys.executable, "-c", code]
        )

    return put


def test_the_model_in_the_wheel_needs_no_pull() -> None:
    told: list[tuple[int, int | None]] = []
    MoonshineProvider().pull("tiny-en", lambda done, total: told.append((done, total)))
    size_bytes = in_the_wheel().size_bytes
    assert told == [(size_bytes, size_bytes)]


def test_a_pulled_model_is_there_and_its_growth_was_told(downloader: Downloader) -> None:
    downloader(
        """
folder.mkdir(parents=True)
(folder / "encoder_model.ort.partial").write_bytes(b"half")
time.sleep(0.6)
(folder / "encoder_model.ort.partial").unlink()
shutil.copytree(wheel, folder, dirs_exist_ok=True)
"""
    )
    told: list[tuple[int, int | None]] = []
    provider = MoonshineProvider()
    provider.pull("base-en", lambda done, total: told.append((done, total)))
    status = provider.status("base-en")
    assert status.is_present
    assert (4, None) in told
    assert told[-1] == (status.size_bytes, None)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print('a bar\\r 50 %'); sys.exit('OSError: no such host')", "OSError: no such host$"),
        ("raise OSError('x' * 1000)", "failed: OSError: x{100,300}\\.\\.\\.$"),
        ("sys.exit(3)", "it said nothing"),
        ("pass", "has ended, but: The model 'base-en' is not in Moonshine's cache"),
    ],
)
def test_a_pull_that_fails_says_why(downloader: Downloader, program: str, reason: str) -> None:
    downloader(program)
    with pytest.raises(ProviderError, match=reason):
        MoonshineProvider().pull("base-en", lambda *_: None)
    assert not MoonshineProvider().status("base-en").is_present


def test_a_pull_that_is_interrupted_ends_the_downloader(
    downloader: Downloader, cache: Path
) -> None:
    downloader(
        """
import os
folder.mkdir(parents=True)
(folder / "pid").write_text(str(os.getpid()))
time.sleep(100)
"""
    )

    def interrupt(done: int, _: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MoonshineProvider().pull("base-en", interrupt)
    (pid,) = cache.rglob("pid")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_what_cannot_be_pulled_says_why(tmp_path: Path) -> None:
    provider = MoonshineProvider()
    with pytest.raises(ProviderError, match="did you mean 'base-en'"):
        provider.pull("bse-en", lambda *_: None)
    with pytest.raises(ProviderError, match="lacks encoder_model"):
        provider.pull(str(tmp_path), lambda *_: None)


def test_the_licence_of_other_languages_is_told(
    downloader: Downloader, caplog: pytest.LogCaptureFixture
) -> None:
    downloader("sys.exit(1)")
    for model in ("base-en", "base-es"):
        assert not caplog.messages
        with pytest.raises(ProviderError):
            MoonshineProvider().pull(model, lambda *_: None)
    (told,) = caplog.messages
    assert "may not be used commercially" in told


def test_the_downloader_is_called_for_the_folder_where_the_model_is_looked_for(
    cache: Path,
) -> None:
    """The command's two numbers and the folder agree with the library's own catalogue."""
    from moonshine_voice.download import find_model_info
    from moonshine_voice.moonshine_api import ModelArch

    for name in CATALOGUE:
        files = locate(name)
        assert files is not None
        if files.download is None:
            assert name == "tiny-en"
            continue
        words = _command(*files.download)
        assert words[1:4] == ["-m", "moonshine_voice.download", "--stt"]
        assert (words[4], words[6]) == ("--language", "--model-arch")
        info = find_model_info(words[5], ModelArch(int(words[7])))
        assert files.folder == cache / info["download_url"].removeprefix("https://")


def test_the_downloader_that_breaks_off_leaves_nothing_with_a_models_name(tmp_path: Path) -> None:
    """What `pull` builds on: a file is named when it is whole, and a short one is replaced."""
    import requests
    from moonshine_voice.download_file import download_file

    content = bytes(range(256)) * 2_000
    target = tmp_path / "tokenizer.bin"

    def fetch(url: str) -> None:
        download_file(url, target, show_progress=False, expected_size=len(content))

    with StandInHub({"owner/name": {"tokenizer.bin": content}}) as hub:
        url = f"{hub.url}/owner/name/resolve/main/tokenizer.bin"
        hub.faults.cuts, hub.faults.cut_after_bytes = 1, 100_000
        with pytest.raises(requests.RequestException):
            fetch(url)
        assert not target.exists()
        fetch(url)
        assert target.read_bytes() == content
        target.write_bytes(content[:-1])
        fetch(url)
        assert target.read_bytes() == content
