"""Moonshine's own streams on recordings of people, through libmoonshine itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import psutil
import pytest

from asrd import DecodeOptions, StreamingModel
from asrd.providers import calls
from asrd.providers.engine import Engine
from asrd_moonshine import MoonshineProvider
from asrd_moonshine.streaming import HOP_SAMPLES, MoonshineReader, StreamingMoonshineModel
from support.audio import SAMPLE_RATE, Samples, read_wav, silence
from support.errors import word_error_rate
from support.workers import item, texts

if TYPE_CHECKING:
    from conftest import Recording

OPTIONS = DecodeOptions()
PAUSE_S = 28.7
"""A pause of two_cities.wav, which as a whole is longer than an utterance may be."""


def go_on() -> bool:
    return True


@pytest.fixture(scope="module")
def model() -> Iterator[StreamingMoonshineModel]:
    model = MoonshineProvider().load("tiny-en", {"streaming": True})
    assert isinstance(model, StreamingMoonshineModel)
    yield model
    model.close()


@pytest.fixture
def speech(two_cities: "Recording") -> Samples:
    """Ten seconds, in whole hops."""
    return read_wav(two_cities.path)[: 312 * HOP_SAMPLES]


def pieces(audio: Samples, size: int) -> list[Samples]:
    return [audio[start : start + size] for start in range(0, audio.size, size)]


def heard(model: StreamingModel, audio: Samples, size: int) -> str:
    """What is read of an utterance fed in pieces."""
    reader = model.begin(OPTIONS)
    for piece in pieces(audio, size):
        reader.feed(piece, go_on)
    text = reader.finish(go_on).text
    reader.close()
    return text


def test_it_streams_where_the_user_wants_it_alone(model: StreamingMoonshineModel) -> None:
    assert model.abilities.feed_s == 1.0
    windows = MoonshineProvider().load("tiny-en", {})
    assert not isinstance(windows, StreamingModel)
    assert windows.abilities.feed_s is None
    windows.close()


@pytest.mark.parametrize("size", [8_000, 16_000, 32_000, 7_777, 160_000])
def test_an_utterance_in_pieces_reads_as_a_whole_window(
    model: StreamingMoonshineModel, speech: Samples, size: int
) -> None:
    assert heard(model, speech, size) == model.decode(speech, OPTIONS).text


def test_the_last_samples_are_heard_though_they_fill_no_hop(
    model: StreamingMoonshineModel, speech: Samples
) -> None:
    cut = speech[:-200]
    padded = np.concatenate([cut, np.zeros(200, np.float32)])
    assert heard(model, cut, 16_000) == model.decode(padded, OPTIONS).text


def test_it_reads_a_novel_in_pieces(
    model: StreamingMoonshineModel, two_cities: "Recording"
) -> None:
    audio = read_wav(two_cities.path)
    pause = int(PAUSE_S * SAMPLE_RATE)
    text = " ".join(heard(model, part, 4 * SAMPLE_RATE) for part in (audio[:pause], audio[pause:]))
    assert word_error_rate([(two_cities.transcript, text)]) < 0.05


def test_what_it_reads_grows_and_nothing_of_it_is_stable(
    model: StreamingMoonshineModel, speech: Samples
) -> None:
    reader = model.begin(OPTIONS)
    read = [reader.feed(piece, go_on) for piece in pieces(speech, 2 * SAMPLE_RATE)]
    reader.close()
    lengths = [len(hypothesis.text) for hypothesis in read]
    assert lengths == sorted(set(lengths))
    assert {hypothesis.stable for hypothesis in read} == {0}
    assert {hypothesis.language for hypothesis in read} == {"en"}


def test_utterances_side_by_side_do_not_mix(
    model: StreamingMoonshineModel, two_cities: "Recording"
) -> None:
    audio = read_wav(two_cities.path)
    spoken = [audio[start : start + 3 * SAMPLE_RATE] for start in (0, 160_000, 320_000, 480_000)]
    alone = [heard(model, each, 8_000) for each in spoken]
    assert len(set(alone)) == len(spoken)
    readers = [model.begin(OPTIONS) for _ in spoken]
    for turn in zip(*(pieces(each, 8_000) for each in spoken), strict=True):
        for reader, piece in zip(readers, turn, strict=True):
            reader.feed(piece, go_on)
    assert [reader.finish(go_on).text for reader in readers] == alone
    for reader in readers:
        reader.close()


def test_a_worker_that_has_let_go_of_an_utterance_is_fed_it_anew(
    model: StreamingMoonshineModel, speech: Samples
) -> None:
    engine = Engine(model)

    def hear(audio: Samples, *, is_first: bool, is_last: bool) -> list[str]:
        feeding = calls.Feeding(utterance=1, is_first=is_first, is_last=is_last)
        given = msgspec.structs.replace(item(), audio=audio.tobytes(), feeding=feeding)
        outcomes = engine.read([given], go_on)
        return texts(calls.Decoded(id=1, outcomes=outcomes, decode_s=0.0))

    assert hear(speech[:32_000], is_first=True, is_last=False) != [""]
    engine.forget(1)
    assert hear(speech[32_000:], is_first=False, is_last=True) == ["!forgotten"]
    assert hear(speech, is_first=True, is_last=True) == [model.decode(speech, OPTIONS).text]


@pytest.mark.parametrize("samples", [0, 1, 511, 800, 1_599])
def test_an_utterance_too_short_for_a_word_is_empty(
    model: StreamingMoonshineModel, samples: int
) -> None:
    reader = model.begin(OPTIONS)
    assert reader.feed(np.full(samples, 0.1, np.float32), go_on).text == ""
    assert reader.finish(go_on).text == ""
    reader.close()


def test_a_beginning_too_short_to_be_read_is_not_lost(
    model: StreamingMoonshineModel, speech: Samples
) -> None:
    reader = model.begin(OPTIONS)
    assert reader.feed(speech[:300], go_on).text == ""
    reader.feed(speech[300:], go_on)
    assert reader.finish(go_on).text == model.decode(speech, OPTIONS).text
    reader.close()


def test_tones_are_no_speech(model: StreamingMoonshineModel) -> None:
    seconds = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    chord = sum(np.sin(2 * np.pi * pitch_hz * seconds) for pitch_hz in (220, 277, 330))
    audio = np.asarray(0.1 * chord, np.float32)
    assert model.decode(audio, OPTIONS).text == ""
    assert heard(model, audio, SAMPLE_RATE) == ""


def test_a_closed_reader_may_be_closed_again_and_hears_nothing(
    model: StreamingMoonshineModel,
) -> None:
    reader = model.begin(OPTIONS)
    reader.close()
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.feed(silence(1), go_on)


def test_readers_may_outlive_their_model() -> None:
    model = MoonshineProvider().load("tiny-en", {"streaming": True})
    assert isinstance(model, StreamingModel)
    reader = model.begin(OPTIONS)
    model.close()
    reader.close()


def test_readers_leave_nothing_behind(model: StreamingMoonshineModel, speech: Samples) -> None:
    """A thousand streams of three seconds each hold some 60 MB where they are not freed."""
    process = psutil.Process()
    audio = speech[: 3 * SAMPLE_RATE]

    def turn() -> None:
        reader = model.begin(OPTIONS)
        assert isinstance(reader, MoonshineReader)
        reader._take_in(audio)  # which is quick: nothing is read
        reader.close()

    for _ in range(100):
        turn()
    before_bytes = process.memory_info().rss
    for _ in range(1_000):
        turn()
    assert process.memory_info().rss - before_bytes < 20_000_000
