"""What a model reads before it counts as ready."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from asrd import (
    Abilities,
    DecodeCancelled,
    DecodeOptions,
    DecodeRequest,
    Hypothesis,
    Model,
    ProviderError,
)
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


class BatchReader(Reader):
    """Reads several windows in one call, or raises what it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.batches: list[Sequence[DecodeRequest]] = []
        self._error = error

    def decode_batch(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis | ProviderError]:
        self.batches.append(requests)
        if self._error is not None:
            raise self._error
        return [Hypothesis(text="") for _ in requests]


ONE_BY_ONE = Abilities()
TOGETHER = Abilities(max_batch=8)


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
    done = warm(reader, ONE_BY_ONE, level, options)
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
    done = warm(Reader(latency_s=0.02), ONE_BY_ONE, WarmUp.STANDARD, DecodeOptions())
    assert all(0.02 <= decode.took_s < 1.0 for decode in done)


def test_what_the_model_raises_is_raised() -> None:
    reader = Reader(fails_at=2)
    with pytest.raises(ProviderError, match="out of order"):
        warm(reader, ONE_BY_ONE, WarmUp.STANDARD, DecodeOptions())
    assert len(reader.given) == 2


@pytest.mark.parametrize(
    ("level", "sizes"),
    [(WarmUp.NONE, []), (WarmUp.MINIMAL, []), (WarmUp.STANDARD, [2]), (WarmUp.FULL, [2])],
)
def test_a_model_that_reads_several_in_one_call_reads_two_so_where_there_is_time(
    level: WarmUp, sizes: list[int]
) -> None:
    reader = BatchReader()
    done = warm(reader, TOGETHER, level, DecodeOptions())
    assert [len(batch) for batch in reader.batches] == sizes
    assert len(done) == len(LENGTHS_S[level])  # of a batch there is nothing to learn
    for request in (each for batch in reader.batches for each in batch):
        assert request.audio.size == SAMPLE_RATE
        assert not request.audio.any()
        assert not request.audio.flags.writeable
        assert request.options.is_partial
    other = BatchReader()
    warm(other, ONE_BY_ONE, level, DecodeOptions())
    assert other.batches == []


@pytest.mark.parametrize("error", [NotImplementedError(), ProviderError("too much"), MemoryError()])
def test_what_cannot_be_read_in_one_call_is_no_failure_of_the_warm_up(error: Exception) -> None:
    reader = BatchReader(error)
    assert len(warm(reader, TOGETHER, WarmUp.STANDARD, DecodeOptions())) == 3
    assert len(reader.batches) == 1


def test_a_warm_up_that_nobody_wants_any_more_ends_at_the_batch_too() -> None:
    with pytest.raises(DecodeCancelled):
        warm(BatchReader(DecodeCancelled()), TOGETHER, WarmUp.FULL, DecodeOptions())
