"""Tones are told from speech, whatever their level and whatever was done to the speech."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import soxr

from asrd.tones import SHORTEST_SAMPLES, is_tones
from conftest import TINY_WHISPER, Recording
from support.audio import SAMPLE_RATE, Samples, read_wav, silence
from support.sounds import (
    arpeggio,
    clicks,
    pink_noise,
    sweep,
    to_pcm,
    vibrato,
    white_noise,
    with_noise,
)

TONES: dict[str, Callable[[float, float], Samples]] = {
    "arpeggio": arpeggio,
    "low arpeggio": partial(arpeggio, lowest=-12),
    "sweep": sweep,
    "vibrato": vibrato,
    "low vibrato": partial(vibrato, frequency_hz=150),
}


def in_16_bits(audio: Samples) -> Samples:
    """As it comes from a client: with the noise that whole numbers bring."""
    whole: Samples = np.frombuffer(to_pcm(audio), "<i2").astype(np.float32)
    return whole / np.float32(32768)


def parts(audio: Samples, duration_s: float) -> list[Samples]:
    size = round(duration_s * SAMPLE_RATE)
    return [audio[begin : begin + size] for begin in range(0, len(audio) - size + 1, size)]


@pytest.mark.parametrize("name", TONES)
@pytest.mark.parametrize("level_db", [-45, -30, -12])
def test_tones_are_known_at_any_level_and_length(name: str, level_db: float) -> None:
    audio = in_16_bits(TONES[name](8.0, level_db))
    assert is_tones(audio)
    assert all(is_tones(part) for part in parts(audio, 1.0))


@pytest.fixture(scope="module")
def voices(two_cities: Recording) -> list[Samples]:
    """One second each of a person reading and of synthesised voices."""
    samples = sorted((TINY_WHISPER / "samples").glob("[ps]*.wav"))
    audios = [read_wav(two_cities.path), *map(read_wav, samples)]
    seconds = [part for audio in audios for part in parts(audio, 1.0)]
    return [part for part in seconds if np.mean(part**2) > 1e-5]


def test_voices_are_none(voices: list[Samples]) -> None:
    assert len(voices) > 60
    assert not any(map(is_tones, voices))


def test_voices_of_a_telephone_are_none(voices: list[Samples]) -> None:
    narrow = [soxr.resample(soxr.resample(part, 16_000, 8_000), 8_000, 16_000) for part in voices]
    assert not any(map(is_tones, narrow))


def test_quiet_voices_are_none(voices: list[Samples]) -> None:
    assert not any(is_tones(in_16_bits(part / np.float32(32))) for part in voices)


def test_a_voice_above_tones_is_none(voices: list[Samples]) -> None:
    """The tones as loud as the voice."""
    for part in voices[:20]:
        level_db = 10 * float(np.log10(np.mean(part**2)))
        assert not is_tones(part + vibrato(1.0, level_db))


@pytest.mark.parametrize(
    "audio",
    [
        silence(0.0),
        silence(2.0),
        white_noise(2.0, -40),
        pink_noise(2.0, -20),
        clicks(2.0, 0.5),
        np.full(16_000, 0.25, np.float32),
        with_noise(vibrato(2.0, -20), 20),
    ],
    ids=["nothing", "silence", "white", "pink", "clicks", "level", "tones in noise"],
)
def test_noise_and_silence_are_none(audio: Samples) -> None:
    assert not is_tones(audio)


def test_what_is_too_short_is_not_judged() -> None:
    tone = vibrato(1.0, -20)
    assert is_tones(tone[:SHORTEST_SAMPLES])
    assert not is_tones(tone[: SHORTEST_SAMPLES - 1])
