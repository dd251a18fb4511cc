"""What a model reads before it counts as ready."""

import time

import numpy as np
import numpy.typing as npt
import pytest

from asrd import DecodeOptions, Hypothesis, Model, ProviderError
from asrd.audio import SAMPLE_RATE
from asrd.choices import WarmUp
from asrd.providers.warm_up import LENGTHS_S, warm


class Reader(Model):
    """Notes what it is given, and takes as long as it is told to."""

    def __init__(self, latency_s: float = 0.0, fails_at: int = -1) -> None:
        self.given: list[npt.NDArray[np.float32]] = []
        self.options: list[DecodeOptions] = []
        self._latency_s = latency_s
        self._fails_at = fails_at

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        if len(self.given) == self._fails_at:
            raise ProviderError("out of order")
        self.given.append(audio)
        self.options.append(options)
        time.sleep(self._latency_s)
        return Hypothesis(text="")


@pytest.mark.parametrize(
    ("level", "lengths_s"),
    [
        (WarmUp.NONE, []),
        (WarmUp.MINIMAL, [0.5]),
        (WarmUp.STANDARD, [0.5, 1, 4]),
        (WarmUp.FULL, [0.1, 0.5, 1, 2, 4, 8, 15, 30]),
    ],
)
def test_each_level_reads_its_lengths_of_silence(level: WarmUp, lengths_s: list[float]) -> None:
    reader, options = Reader(), DecodeOptions()
    done = warm(reader, level, options)
    assert [audio.size / SAMPLE_RATE for audio in reader.given] == lengths_s
    assert [decode.audio_s for decode in done] == lengths_s
    for audio in reader.given:
        assert audio.dtype == np.float32
        assert audio.ndim == 1
        assert not audio.any()
        assert not audio.flags.writeable
    assert all(given is options for given in reader.options)


def test_every_level_has_lengths() -> None:
    assert LENGTHS_S.keys() == set(WarmUp)


def test_the_time_of_each_inference_is_kept() -> None:
    done = warm(Reader(latency_s=0.02), WarmUp.STANDARD, DecodeOptions())
    assert all(0.02 <= decode.took_s < 1.0 for decode in done)


def test_what_the_model_raises_is_raised() -> None:
    reader = Reader(fails_at=2)
    with pytest.raises(ProviderError, match="out of order"):
        warm(reader, WarmUp.STANDARD, DecodeOptions())
    assert len(reader.given) == 2
