"""`echo`: text that follows from the audio alone."""

import time

import numpy as np
import pytest

from asrd import DecodeOptions
from asrd_echo import EchoProvider
from support.audio import Samples

OPTIONS = DecodeOptions()


def noise(count: int) -> Samples:
    return np.random.default_rng(1).uniform(-1, 1, count).astype(np.float32)


def test_the_text_tells_the_length_and_every_sample() -> None:
    model = EchoProvider().load("echo", {})
    audio = noise(20_000)
    text = model.decode(audio, OPTIONS).text
    assert text.startswith("echo 1.250s ")
    assert model.decode(audio, OPTIONS).text == text
    changed = audio.copy()
    changed[7] += 0.01
    assert model.decode(changed, OPTIONS).text != text
    assert model.decode(audio[1:], OPTIONS).text != text


def test_the_text_is_the_same_in_every_release() -> None:
    """Golden: clients' own tests may hold on to it."""
    audio = np.array([0.0, 0.5, -0.5, 1.0, -1.0], np.float32)
    assert EchoProvider().load("echo", {}).decode(audio, OPTIONS).text == "echo 0.000s 22845f68"


def test_no_audio_has_no_text() -> None:
    model = EchoProvider().load("echo", {})
    assert model.decode(noise(0), OPTIONS).text == ""


def test_words_come_when_asked_for_and_fill_the_window_evenly() -> None:
    model = EchoProvider().load("echo", {})
    assert model.decode(noise(48_000), OPTIONS).words == ()
    hypothesis = model.decode(noise(48_000), DecodeOptions(words=True))
    assert [(word.start, word.end) for word in hypothesis.words] == [(0, 1), (1, 2), (2, 3)]
    assert " ".join(word.word for word in hypothesis.words) == hypothesis.text


def test_latency_and_real_time_factor_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    settings = {"latency_ms": 250, "real_time_factor": 0.1, "load_ms": 500}
    EchoProvider().load("echo", settings).decode(noise(80_000), OPTIONS)
    assert slept == pytest.approx([0.5, 0.25 + 0.5])
