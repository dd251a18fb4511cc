"""faster-whisper's finals, held against `WhisperModel.transcribe` with the same features."""

from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import ctranslate2
import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor

from asrd import DecodeOptions, DecodeRequest, Hypothesis, Setting, Word
from asrd_faster_whisper import FasterWhisperProvider
from asrd_faster_whisper.features import LogMel
from asrd_faster_whisper.model import FasterWhisperModel
from support.audio import Samples, read_wav
from support.multilingual_whisper import write_multilingual

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

HOTWORDS = "start stop"


def load(folder: Path, **settings: Setting) -> FasterWhisperModel:
    model = FasterWhisperProvider().load(str(folder), {"cpu_threads": 1, **settings})
    return cast("FasterWhisperModel", model)


@pytest.fixture(scope="module")
def recordings(tiny_samples: "list[Recording]") -> dict[str, Samples]:
    return {item.path.stem: read_wav(item.path) for item in tiny_samples}


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 399, 16_001, 480_000])
def test_the_features_are_those_of_faster_whisper(mels: int, samples: int) -> None:
    extractor = FeatureExtractor(feature_size=mels)
    random = np.random.default_rng(samples)
    audio = (random.standard_normal(samples) * np.linspace(0, 0.3, samples)).astype(np.float32)
    audio.flags.writeable = False
    features = LogMel(extractor)(audio)
    assert features.dtype == np.float32
    assert features.shape == (mels, samples // 160)
    np.testing.assert_allclose(features, extractor(audio)[:, :-1], atol=1e-5)


class SameFeatures(FeatureExtractor):  # type: ignore[misc]
    """Gives `transcribe` the features that we compute: weights of 8 bits make the seventh digit of
    a feature into the third of a probability, and that is not what is to be compared."""

    def __call__(self, waveform: Samples, *_: Any, **__: Any) -> npt.NDArray[np.float32]:
        return np.pad(LogMel(self)(waveform), ((0, 0), (0, 1)))


def transcribe(engine: WhisperModel, audio: Samples, options: DecodeOptions) -> Hypothesis:
    """What a final was given before: `WhisperModel.transcribe`, with its fallback."""
    segments, info = engine.transcribe(
        audio,
        language=options.language,
        task=options.task,
        initial_prompt=options.prompt,
        word_timestamps=options.words,
        condition_on_previous_text=False,
        hotwords=HOTWORDS,
    )
    read = list(segments)
    text = "".join(segment.text for segment in read).strip()
    tokens = sum(len(segment.tokens) for segment in read)
    total = sum(segment.avg_logprob * len(segment.tokens) for segment in read)
    return Hypothesis(
        text=text,
        words=tuple(
            Word(word=word.word.strip(), start=word.start, end=word.end)
            for segment in read
            for word in segment.words or ()
        ),
        language=info.language,
        confidence=float(np.exp(total / tokens)) if text else None,
    )


@pytest.mark.parametrize(
    "options",
    [DecodeOptions(), DecodeOptions(words=True, prompt="up up")],
    ids=["plain", "words"],
)
def test_finals_are_what_transcribe_gives(
    tiny_whisper: "TinyWhisper", recordings: dict[str, Samples], options: DecodeOptions
) -> None:
    """Random draws of the fallback too: both engines are new, and seeded alike."""
    assert_reads_as_transcribe(
        tiny_whisper.ctranslate2, [(audio, options) for audio in recordings.values()]
    )


def test_finals_of_many_languages_are_what_transcribe_gives(
    tmp_path: Path, recordings: dict[str, Samples]
) -> None:
    write_multilingual(tmp_path)
    asked = [
        DecodeOptions(language=None),
        DecodeOptions(language="de", words=True),
        DecodeOptions(language="fr", task="translate"),
        DecodeOptions(language="ja", words=True),
    ]
    assert_reads_as_transcribe(tmp_path, list(zip(recordings.values(), cycle(asked), strict=False)))


def assert_reads_as_transcribe(folder: Path, windows: list[tuple[Samples, DecodeOptions]]) -> None:
    ctranslate2.set_random_seed(0)
    engine = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    engine.feature_extractor = SameFeatures()
    theirs = [transcribe(engine, audio, options) for audio, options in windows]
    model = load(folder, hotwords=HOTWORDS)
    for (audio, options), other in zip(windows, theirs, strict=True):
        read = model.decode(audio, options)
        assert (read.text, read.language) == (other.text, other.language)
        assert read.confidence == pytest.approx(other.confidence)
        assert [(word.word, word.start, word.end) for word in read.words] == [
            (word.word, word.start, word.end) for word in other.words
        ]


class Hesitant:
    """An engine that completes one segment in each decode, begins another, and ends there."""

    def __init__(self, whisper: Any, first_timestamp: int) -> None:
        self._whisper = whisper
        self._first_timestamp = first_timestamp
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whisper, name)

    def generate(self, outputs: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        self.batches.append(len(prompts))
        return [self._cut(one) for one in self._whisper.generate(outputs, prompts, **options)]

    def _cut(self, result: Any) -> Any:
        tokens = result.sequences_ids[0]
        is_time = [token >= self._first_timestamp for token in tokens]
        pairs = [place for place in range(1, len(tokens)) if is_time[place - 1] and is_time[place]]
        if not pairs:
            return result
        return SimpleNamespace(
            sequences_ids=[tokens[: pairs[0] + 1]],
            scores=result.scores,
            no_speech_prob=result.no_speech_prob,
        )


@pytest.fixture
def hesitant(tiny_whisper: "TinyWhisper", monkeypatch: pytest.MonkeyPatch) -> FasterWhisperModel:
    model = load(tiny_whisper.ctranslate2, temperature_fallback=False)
    whisper = Hesitant(model._watched, model._vocabulary.first_timestamp)
    monkeypatch.setattr(model._engine, "model", whisper)
    return model


def test_rounds_of_a_batch_run_together(
    hesitant: FasterWhisperModel, recordings: dict[str, Samples]
) -> None:
    batches = cast("Hesitant", hesitant._engine.model).batches
    alone = hesitant.decode(recordings["pauses_1"], DecodeOptions())
    assert len(alone.text.split()) > 10
    rounds = len(batches)
    assert rounds > 2
    batches.clear()
    names = ("pauses_1", "phrase_1", "pauses_1", "pauses_1")
    read = hesitant.decode_batch(
        [DecodeRequest(audio=recordings[one], options=DecodeOptions()) for one in names]
    )
    assert batches == [4] + [3] * (rounds - 1)
    assert [one.text for one in read if isinstance(one, Hypothesis)] == [
        alone.text,
        "open nine one stop",
        alone.text,
        alone.text,
    ]


@pytest.mark.parametrize("has_words", [False, True])
@pytest.mark.parametrize("name", ["pauses_1", "pauses_2"])
def test_the_rounds_through_a_window_are_those_of_transcribe(
    hesitant: FasterWhisperModel, recordings: dict[str, Samples], name: str, has_words: bool
) -> None:
    hesitant._engine.feature_extractor = SameFeatures()
    asked = DecodeOptions(words=has_words, prompt="up up")
    read = hesitant.decode(recordings[name], asked)
    segments, _ = hesitant._engine.transcribe(
        recordings[name],
        temperature=0.0,
        condition_on_previous_text=False,
        initial_prompt="up up",
        word_timestamps=has_words,
    )
    others = list(segments)
    assert len({segment.seek for segment in others}) > 2
    assert read.text == "".join(segment.text for segment in others).strip()
    assert [(word.word, word.start, word.end, word.probability) for word in read.words] == [
        (word.word.strip(), word.start, word.end, word.probability)
        for segment in others
        for word in segment.words or ()
    ]
