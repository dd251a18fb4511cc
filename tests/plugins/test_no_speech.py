"""What the engines do where nobody speaks, and where their speech ends, with the tests' models."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd import DecodeOptions, Hypothesis, Model
from asrd_faster_whisper import FasterWhisperProvider
from asrd_moonshine import MoonshineProvider
from asrd_whisper_cpp import WhisperCppProvider
from support.audio import SAMPLE_RATE, Samples, read_wav, silence
from support.sounds import arpeggio, chords, vibrato

if TYPE_CHECKING:
    from conftest import TinyWhisper

FINAL = DecodeOptions()
PARTIAL = DecodeOptions(is_partial=True)
BOTH = pytest.mark.parametrize("asked", [FINAL, PARTIAL], ids=["final", "partial"])

PAUSES = "six no start start yes five open eight close seven three eight close down eight"
PAUSES_STRETCHES = [
    ("six no", 1.6),
    ("start start yes five open eight", 5.64),
    ("close seven three eight", 8.72),
    ("close down eight", 11.64),
]
"""What is said between the pauses of pauses_1.wav, and until when, by the marks of the model."""


@pytest.fixture(scope="module", params=["faster_whisper", "whisper_cpp"])
def whisper(request: pytest.FixtureRequest, tiny_whisper: "TinyWhisper") -> Iterator[Model]:
    if request.param == "faster_whisper":
        model = FasterWhisperProvider().load(str(tiny_whisper.ctranslate2), {"cpu_threads": 1})
    else:
        model = WhisperCppProvider().load(str(tiny_whisper.ggml), {"threads": 1})
    yield model
    model.close()


@pytest.fixture(scope="module")
def moonshine() -> Iterator[Model]:
    model = MoonshineProvider().load("tiny-en", {})
    yield model
    model.close()


def sample(name: str) -> Samples:
    return read_wav(Path(__file__).parent.parent / "tiny_whisper" / "samples" / f"{name}.wav")


def stretches(read: Hypothesis) -> list[tuple[str, float]]:
    """What the boundaries cut the text into, and their times, rounded to the marks' 20 ms."""
    places = [0, *(boundary.characters for boundary in read.boundaries)]
    texts = [read.text[begin:end].strip() for begin, end in pairwise(places)]
    times = [round(50 * boundary.at) / 50 for boundary in read.boundaries]
    return list(zip(texts, times, strict=True))


# ── boundaries ────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_boundaries_stand_where_the_model_marks_the_end_of_a_stretch(
    whisper: Model, asked: DecodeOptions
) -> None:
    read = whisper.decode(sample("pauses_1"), asked)
    assert read.text == PAUSES
    assert stretches(read) == PAUSES_STRETCHES


def test_a_window_that_is_one_segment_has_its_boundaries_too(whisper: Model) -> None:
    """Partials of less than 12 s are a single segment to whisper.cpp."""
    read = whisper.decode(sample("pauses_1")[: 7 * SAMPLE_RATE], PARTIAL)
    assert read.text == "six no start start yes five open eight"
    assert stretches(read) == PAUSES_STRETCHES[:2]


@BOTH
def test_the_last_mark_is_a_boundary_at_the_end_of_the_text(
    whisper: Model, asked: DecodeOptions
) -> None:
    assert stretches(whisper.decode(sample("phrase_1"), asked)) == [("open nine one stop", 2.34)]


@BOTH
def test_times_count_from_the_beginning_of_the_window(whisper: Model, asked: DecodeOptions) -> None:
    """Seven seconds of silence before the speech, which is read in a round of its own by some."""
    audio = np.concatenate([silence(7.0), sample("phrase_1")])
    read = whisper.decode(audio, asked)
    assert read.text == "open nine one stop"
    (boundary,) = read.boundaries
    assert boundary.characters == len(read.text)
    assert boundary.at == pytest.approx(9.34, abs=0.061)


@BOTH
def test_where_nothing_is_said_there_are_no_boundaries(
    whisper: Model, asked: DecodeOptions
) -> None:
    assert whisper.decode(sample("noise_1"), asked).boundaries == ()


def test_a_boundary_is_never_behind_the_end_of_the_audio(whisper: Model) -> None:
    audio = sample("pauses_2")
    for end in range(SAMPLE_RATE, len(audio), SAMPLE_RATE):
        read = whisper.decode(audio[:end], PARTIAL)
        places = [boundary.characters for boundary in read.boundaries]
        times = [boundary.at for boundary in read.boundaries]
        assert places == sorted(set(places))
        assert times == sorted(set(times))
        assert all(0 < place <= len(read.text) for place in places)
        assert all(0 < at <= end / SAMPLE_RATE for at in times)


# ── no speech ─────────────────────────────────────────────────────────────────────────────────


@BOTH
@pytest.mark.parametrize("name", ["faster_whisper", "whisper_cpp"])
def test_what_the_model_takes_for_no_speech_is_no_text_at_one_temperature_as_at_all(
    name: str, asked: DecodeOptions, tiny_whisper: "TinyWhisper", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every window is held to be no speech, if its text is improbable enough."""
    module = {"faster_whisper": "attempts", "whisper_cpp": "model"}[name]
    monkeypatch.setattr(f"asrd_{name}.{module}._NO_SPEECH", -1.0)
    model: Model
    if name == "faster_whisper":
        model = FasterWhisperProvider().load(str(tiny_whisper.ctranslate2), {"cpu_threads": 1})
    else:
        model = WhisperCppProvider().load(str(tiny_whisper.ggml), {"threads": 1})
    audio = sample("phrase_1")
    assert model.decode(audio, asked).text == "open nine one stop"
    monkeypatch.setattr(f"asrd_{name}.{module}._LEAST_LOG_PROBABILITY", 1.0)
    assert model.decode(audio, asked).text == ""
    model.close()


@BOTH
def test_no_whisper_hears_words_in_tones(whisper: Model, asked: DecodeOptions) -> None:
    for audio in (arpeggio(2.0, -12, lowest=-12), vibrato(4.0, -20, 150)):
        read = whisper.decode(audio, asked)
        assert (read.text, read.words, read.boundaries) == ("", (), ())


def test_moonshine_hears_no_words_in_tones(moonshine: Model) -> None:
    for audio in (arpeggio(2.0, -12, lowest=-12), vibrato(4.0, -20, 150)):
        assert moonshine.decode(audio, FINAL).text == ""


def test_what_moonshine_writes_for_music_is_no_text(
    moonshine: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bare notes: "♪♪♪♪"."""
    monkeypatch.setattr("asrd_moonshine.transcriber.is_tones", lambda _: False)
    assert moonshine.decode(chords(8.0, -40), FINAL).text == ""
