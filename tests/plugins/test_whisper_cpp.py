"""whisper.cpp with the twenty-word model, through its library itself."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd import (
    DecodeCancelled,
    DecodeOptions,
    Machine,
    Model,
    ModelUnavailable,
    ProviderError,
    RequestUnsupported,
)
from asrd_whisper_cpp import WhisperCppProvider
from asrd_whisper_cpp.files import NAMES, REPOSITORY, locate
from asrd_whisper_cpp.ggml import is_whole
from support.audio import read_wav, silence
from support.stand_in_hub import StandInHub, use_hub

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
    with pytest.raises(RequestUnsupported, match="Whisper knows no language 'elvish'; give a code"):
        model.decode(silence(1), DecodeOptions(language="elvish"))
    with pytest.raises(RequestUnsupported, match=r"language 'dee'; did you mean 'de'\?"):
        model.decode(silence(1), DecodeOptions(language="dee"))


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


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (0, "is not a ggml model"),
        (47, "is not a ggml model"),
        (100, "is cut off: it has 0.0 MB of at least 7.9 MB"),
        (4_000_000, "is cut off: it has 4.0 MB of at least 7.9 MB"),
    ],
)
def test_a_file_cut_off_is_told_by_its_status(
    tiny_whisper: "TinyWhisper", tmp_path: Path, size: int, problem: str
) -> None:
    path = tmp_path / "ggml-cut.bin"
    path.write_bytes(tiny_whisper.ggml.read_bytes()[:size])
    assert WhisperCppProvider().status(str(path)).problem == f"The file {path} {problem}."
    with pytest.raises(ModelUnavailable, match=r"ggml-cut\.bin is "):
        WhisperCppProvider().load(str(path), {})


@pytest.mark.parametrize("missing", [1, 20_000, 500_000])
def test_a_file_that_lacks_its_very_end_does_not_load(
    tiny_whisper: "TinyWhisper", tmp_path: Path, missing: int
) -> None:
    """The engine itself would take a last tensor that is cut off for whole."""
    path = tmp_path / "ggml-cut.bin"
    path.write_bytes(tiny_whisper.ggml.read_bytes()[:-missing])
    assert WhisperCppProvider().status(str(path)).is_present
    with pytest.raises(ProviderError, match=r"ggml-cut\.bin is cut off\."):
        WhisperCppProvider().load(str(path), {})
    with pytest.raises(ProviderError, match=r"ggml-cut\.bin is cut off\."):
        WhisperCppProvider().pull(str(path), lambda *_: None)
    assert is_whole(tiny_whisper.ggml)


@pytest.mark.parametrize(
    ("offset", "number"), [(12, 0), (16, 0), (16, 7), (32, -1), (44, 2**31 - 1)]
)
def test_a_head_that_would_abort_the_engine_is_an_error(
    tiny_whisper: "TinyWhisper", tmp_path: Path, offset: int, number: int
) -> None:
    content = bytearray(tiny_whisper.ggml.read_bytes())
    content[offset : offset + 4] = number.to_bytes(4, "little", signed=True)
    path = tmp_path / "ggml-odd.bin"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"ggml-odd\.bin is damaged\."):
        WhisperCppProvider().load(str(path), {})


def test_what_the_engine_says_of_a_file_it_refuses_is_told(
    tiny_whisper: "TinyWhisper", tmp_path: Path
) -> None:
    """The file is whole, and a tensor in it has another name."""
    path = tmp_path / "ggml-renamed.bin"
    content = tiny_whisper.ggml.read_bytes()
    path.write_bytes(content.replace(b"encoder.conv1.bias", b"encoder.conv9.bias"))
    with pytest.raises(ProviderError, match=r"cannot load .*ggml-renamed\.bin: whisper_.*conv9"):
        WhisperCppProvider().load(str(path), {})


def test_a_decode_tells_of_every_token_and_reads_the_same(
    model: Model, phrase: "Recording"
) -> None:
    told: list[None] = []
    asked = DecodeOptions(keep_going=lambda: told.append(None) or True)  # type: ignore[func-returns-value]
    audio = read_wav(phrase.path)
    assert model.decode(audio, asked) == model.decode(audio, OPTIONS)
    assert len(told) > 2 + len(phrase.transcript.split())  # the encoder twice, and the tokens


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("answers", [0, 1, 2, 5])
def test_a_cancelled_decode_stops_at_once_and_leaves_no_trace(
    tiny_whisper: "TinyWhisper", phrase: "Recording", threads: int, answers: int
) -> None:
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), {"threads": threads})
    audio = read_wav(phrase.path)
    before = model.decode(audio, OPTIONS)
    left = iter([True] * answers + [False])  # asked once more, it would raise StopIteration
    with pytest.raises(DecodeCancelled):
        model.decode(audio, DecodeOptions(keep_going=lambda: next(left)))
    assert next(left, None) is None
    assert model.decode(audio, OPTIONS) == before
    model.close()


def test_what_was_asked_of_a_decode_is_not_kept(model: Model, phrase: "Recording") -> None:
    class Asker:
        def __call__(self) -> bool:
            return True

    asker = Asker()
    gone = weakref.ref(asker)
    model.decode(read_wav(phrase.path), DecodeOptions(keep_going=asker))
    del asker
    gc.collect()
    assert gone() is None


def test_an_error_of_the_one_who_asks_comes_through(model: Model, phrase: "Recording") -> None:
    def fail() -> bool:
        raise BrokenPipeError("gone")

    with pytest.raises(BrokenPipeError, match="gone"):
        model.decode(read_wav(phrase.path), DecodeOptions(keep_going=fail))
    assert model.decode(read_wav(phrase.path), OPTIONS).text == phrase.transcript


def test_an_engine_that_fails_or_runs_out_of_memory_is_an_error_of_the_provider(
    model: Model, phrase: "Recording", monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object) -> int:
        raise MemoryError

    audio = read_wav(phrase.path)
    monkeypatch.setattr("asrd_whisper_cpp.model.whisper.whisper_full", lambda *_: -7)
    with pytest.raises(ProviderError, match=r"cannot decode this window: code -7\."):
        model.decode(audio, OPTIONS)
    monkeypatch.setattr("asrd_whisper_cpp.model.whisper.whisper_full", exhaust)
    with pytest.raises(ProviderError, match="ran out of memory"):
        model.decode(audio, OPTIONS)


def test_the_engine_prints_nothing(
    tiny_whisper: "TinyWhisper",
    phrase: "Recording",
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), {"threads": 1})
    audio = read_wav(phrase.path)
    model.decode(audio, DecodeOptions(words=True))
    with pytest.raises(DecodeCancelled):
        model.decode(audio, DecodeOptions(keep_going=lambda: False))
    monkeypatch.setattr(model, "_is_multilingual", True)
    model.decode(audio, OPTIONS)  # it finds out the language by itself
    with pytest.raises(RequestUnsupported):
        model.decode(audio, DecodeOptions(language="elvish"))
    model.close()
    assert capfd.readouterr() == ("", "")


def test_a_process_ends_well_without_closing_its_model(tiny_whisper: "TinyWhisper") -> None:
    code = f"""
from asrd_whisper_cpp import WhisperCppProvider
model = WhisperCppProvider().load({str(tiny_whisper.ggml)!r}, {{}})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """pywhispercpp's folder and the Hugging Face cache, both empty."""
    ours, cache = tmp_path / "models", tmp_path / "hub"
    ours.mkdir()
    monkeypatch.setattr("asrd_whisper_cpp.files._models_folder", lambda: ours)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    return ours, cache


def test_a_model_is_found_by_name_in_the_engines_folder(
    tiny_whisper: "TinyWhisper", folders: tuple[Path, Path]
) -> None:
    ours, _ = folders
    (ours / "ggml-tiny.en.bin").symlink_to(tiny_whisper.ggml)
    (ours / "mine.bin").symlink_to(tiny_whisper.ggml)
    provider = WhisperCppProvider()
    size_bytes = tiny_whisper.ggml.stat().st_size
    for name, right_name in {"tiny.en": "tiny.en", "mine.bin": "mine", "mine": "mine"}.items():
        status = provider.status(name)
        assert (status.model, status.is_present) == (right_name, True)
        assert (status.size_bytes, status.remedy) == (size_bytes, "")

    absent = provider.status("base")
    assert absent.problem == f"The model 'base' is neither in the Hugging Face cache nor in {ours}."
    assert (absent.remedy, absent.size_bytes) == ("asrd models pull whisper_cpp/base", 0)
    with pytest.raises(ModelUnavailable, match="'base' is neither"):
        provider.load("base", {})


@pytest.mark.parametrize(
    ("name", "right_name"),
    [
        ("base", "base"),
        ("ggml-base.bin", "base"),
        ("turbo", "large-v3-turbo"),
        ("large", "large-v3"),
        ("large-v3-turbo-q5_0", "large-v3-turbo-q5_0"),
    ],
)
def test_the_same_weights_have_one_name(
    folders: tuple[Path, Path], name: str, right_name: str
) -> None:
    assert WhisperCppProvider().status(name).model == right_name


def test_a_path_becomes_absolute(
    tiny_whisper: "TinyWhisper", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_whisper.ggml.parent)
    for path in ("./ggml.bin", f"../{tiny_whisper.ggml.parent.name}/ggml.bin"):
        status = WhisperCppProvider().status(path)
        assert (status.model, status.is_present) == (str(tiny_whisper.ggml), True)
    monkeypatch.setenv("HOME", str(tiny_whisper.ggml.parent))
    assert WhisperCppProvider().status("~/ggml.bin").model == str(tiny_whisper.ggml)


def test_a_wrong_name_is_told_the_nearest_one(folders: tuple[Path, Path]) -> None:
    status = WhisperCppProvider().status("medum.en")
    assert status.problem == "whisper.cpp has no model 'medum.en'; did you mean 'medium.en'?"
    assert status.remedy == ""
    assert WhisperCppProvider().status("zzz").problem.endswith("large-v3, large-v3-turbo.")


def test_a_file_that_may_not_be_read_is_told(
    tiny_whisper: "TinyWhisper", monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    status = WhisperCppProvider().status(str(tiny_whisper.ggml))
    assert status.problem == f"The file {tiny_whisper.ggml} cannot be read: Permission denied."


def test_a_pulled_model_is_found_and_read(
    tiny_whisper: "TinyWhisper",
    folders: tuple[Path, Path],
    phrase: "Recording",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a damaged one in the engine's folder does not stand in its way."""
    ours, cache = folders
    content = tiny_whisper.ggml.read_bytes()
    damaged = ours / "ggml-tiny.en.bin"
    damaged.write_bytes(content[:-20_000])
    provider = WhisperCppProvider()
    with pytest.raises(ProviderError, match=r"cut off\. asrd models pull whisper_cpp/tiny\.en"):
        provider.load("tiny.en", {})

    told: list[tuple[int, int | None]] = []
    with StandInHub({REPOSITORY: {"ggml-tiny.en.bin": content, "ggml-base.bin": b""}}) as hub:
        use_hub(monkeypatch, hub.url, cache)
        provider.pull("tiny.en", lambda done, total: told.append((done, total)))
    assert told[-1] == (len(content), len(content))
    assert locate("tiny.en").path.is_relative_to(cache)
    model = provider.load("tiny.en", {"threads": 1})
    assert model.decode(read_wav(phrase.path), OPTIONS).text == phrase.transcript
    model.close()

    told.clear()  # the hub is gone: what is here is not fetched again
    provider.pull("tiny.en", lambda done, total: told.append((done, total)))
    assert told == [(len(content), len(content))]


def test_what_cannot_be_pulled_says_why(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = WhisperCppProvider()
    with pytest.raises(ProviderError, match="did you mean 'base'"):
        provider.pull("bse", lambda *_: None)
    with StandInHub({REPOSITORY: {"ggml-tiny.bin": b"x" * 1_000}}) as hub:
        use_hub(monkeypatch, hub.url, folders[1])
        hub.faults.cuts, hub.faults.cut_after_bytes = 100, 500
        hub.faults.only = "ggml-tiny.bin"
        with pytest.raises(ProviderError, match=REPOSITORY):
            provider.pull("tiny", lambda *_: None)
    assert not provider.status("tiny").is_present
    assert provider.status("tiny").problem.startswith("The model 'tiny' is neither")


def test_the_models_to_choose_from_come_with_what_is_here(
    tiny_whisper: "TinyWhisper", folders: tuple[Path, Path]
) -> None:
    (folders[0] / "ggml-small-q8_0.bin").symlink_to(tiny_whisper.ggml)
    models = list(WhisperCppProvider().models())
    assert [status.model for status in models if status.is_present] == ["small-q8_0"]
    assert {status.remedy for status in models if not status.is_present} == {
        f"asrd models pull whisper_cpp/{name}" for name in NAMES if name != "small-q8_0"
    }


def test_the_names_and_the_folder_are_the_engines_own() -> None:
    from pywhispercpp.constants import AVAILABLE_MODELS, MODELS_BASE_URL, MODELS_DIR

    from asrd_whisper_cpp.files import _models_folder

    assert set(NAMES) == set(AVAILABLE_MODELS)
    assert MODELS_BASE_URL.endswith(f"/{REPOSITORY}")
    assert _models_folder() == MODELS_DIR


@pytest.mark.parametrize(
    ("cores", "available_gb", "is_apple_silicon", "models"),
    [
        (1.5, 64, False, []),
        (2, 4, False, ["tiny"]),
        (4, 4, False, ["base", "tiny"]),
        (4, 0.5, False, ["tiny"]),
        (4, 0.3, False, []),
        (8, 1, True, ["base"]),
        (8, 16, True, ["small", "base"]),
    ],
)
def test_it_suggests_what_keeps_up_and_leaves_room(
    cores: float, available_gb: float, is_apple_silicon: bool, models: list[str]
) -> None:
    machine = Machine(
        cores=cores,
        memory_bytes=64 * 10**9,
        available_bytes=int(available_gb * 10**9),
        is_apple_silicon=is_apple_silicon,
    )
    assert [suggestion.model for suggestion in WhisperCppProvider().suggest(machine)] == models
