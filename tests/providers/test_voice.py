"""Silero's voice activity: real windows, and a state that the caller holds."""

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from asrd.errors import ModelUnavailable
from asrd.providers.voice import STATE_BYTES, WINDOW_SAMPLES, VoiceActivity, model_path
from conftest import TINY_WHISPER
from support.audio import read_wav

Windows = npt.NDArray[np.float32]

SPEECH_S = (0.79, 2.33)
"""Where phrase_1.wav is speech, from transcripts.tsv."""


@pytest.fixture(scope="module")
def detector() -> VoiceActivity:
    return VoiceActivity()


@pytest.fixture(scope="module")
def windows() -> Windows:
    samples = read_wav(TINY_WHISPER / "samples" / "phrase_1.wav")
    whole = len(samples) // WINDOW_SAMPLES
    return samples[: whole * WINDOW_SAMPLES].reshape(whole, WINDOW_SAMPLES)


def test_speech_is_likely_where_somebody_speaks(detector: VoiceActivity, windows: Windows) -> None:
    probabilities, _ = detector.score(windows, b"")
    first, last = (round(second * 16000 / WINDOW_SAMPLES) for second in SPEECH_S)
    assert probabilities.shape == (len(windows),)
    assert probabilities[: first - 3].max() < 0.2
    assert probabilities[first + 2 : last - 2].mean() > 0.8
    assert probabilities[last + 10 :].max() < 0.2


def test_noise_and_silence_are_no_speech(detector: VoiceActivity) -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, (100, WINDOW_SAMPLES)).astype(np.float32)
    for windows in (noise, np.zeros_like(noise)):
        assert detector.score(windows, b"")[0].max() < 0.4


@pytest.mark.parametrize("piece", [1, 7, 32])
def test_how_windows_are_cut_into_calls_changes_nothing(
    detector: VoiceActivity, windows: Windows, piece: int
) -> None:
    whole, after = detector.score(windows, b"")
    state, parts = b"", []
    for begin in range(0, len(windows), piece):
        probabilities, state = detector.score(windows[begin : begin + piece], state)
        parts.append(probabilities)
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-4
    assert len(state) == len(after) == STATE_BYTES


def test_streams_that_are_scored_together_are_scored_as_alone(
    detector: VoiceActivity, windows: Windows
) -> None:
    """Of any lengths, in any order, some of them begun before; more than fit into one group."""
    begun = detector.score(windows[:9], b"")[1]
    streams = [
        (windows[begin : begin + count], b"" if begin % 2 else begun)
        for begin, count in enumerate([1, 3, 3, 7, 1, 32, 4, 3, 90, 3, 3, 2, 5, 64, 1, 3])
    ]
    together = detector.score_all(streams)
    assert len(together) == len(streams)
    for (own, before), (probabilities, after) in zip(streams, together, strict=True):
        alone, alone_after = detector.score(own, before)
        assert probabilities.shape == (len(own),)
        assert np.abs(probabilities - alone).max() < 1e-4
        states = (np.frombuffer(state, np.float32) for state in (after, alone_after))
        assert np.abs(np.subtract(*states)).max() < 1e-3


def test_no_stream_is_no_work(detector: VoiceActivity) -> None:
    assert detector.score_all([]) == []


def test_the_detector_itself_remembers_nothing(windows: Windows) -> None:
    """So another process goes on where one has died, and streams cannot touch each other."""
    one, other = VoiceActivity(), VoiceActivity()
    half = len(windows) // 2
    _, state = one.score(windows[:half], b"")
    expected, _ = one.score(windows[half:], state)
    one.score(np.random.default_rng(2).normal(0, 0.1, (9, 512)).astype(np.float32), b"")
    for detector in (one, other):
        assert np.array_equal(detector.score(windows[half:], state)[0], expected)
    fresh, _ = one.score(windows[half:], b"")
    assert not np.array_equal(fresh, expected)


def test_a_faster_whisper_without_its_model_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("faster_whisper", tmp_path / "__init__.py")
    for found in (spec, None):
        monkeypatch.setattr("importlib.util.find_spec", lambda _, found=found: found)
        with pytest.raises(ModelUnavailable, match="pip install --force-reinstall"):
            model_path()


def test_a_model_that_is_another_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.onnx").write_bytes(b"\x3a\x02ab")
    monkeypatch.setattr("asrd.providers.voice.model_path", lambda: tmp_path / "other.onnx")
    with pytest.raises(ModelUnavailable, match=r"not usable .* pip install --force-reinstall"):
        VoiceActivity()
