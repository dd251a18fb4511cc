"""PCM of any format becomes 16 kHz mono, on an exact clock."""

import struct
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from hypothesis import example, given
from hypothesis import strategies as st

from asrd.audio import NO_SAMPLES, SAMPLE_RATE, Converter, PcmFormat, Samples, to_mono
from support.profiles import examples

RATES = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]
EDGE = 200
"""Samples at either end of a run, which a filter cannot give back unchanged."""


def f32(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def tone(frequency: float, rate: int, count: int) -> npt.NDArray[np.float64]:
    """A sine of amplitude one half."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(count) / rate)


def chirp(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A tone that rises by 1500 Hz in each second."""
    return 0.5 * np.sin(2 * np.pi * (100 + 750 * seconds) * seconds)


def noise(count: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, count).astype("<f4").tobytes()


def pieces(pcm: bytes, sizes: list[int], frame_bytes: int) -> list[bytes]:
    """`pcm` cut into pieces of these sizes, over and over."""
    cuts, at = [0], 0
    while at * frame_bytes < len(pcm):
        at += sizes[len(cuts) % len(sizes)]
        cuts.append(min(at * frame_bytes, len(pcm)))
    return [pcm[start:end] for start, end in pairwise(cuts)]


def convert_all(converter: Converter, chunks: list[bytes]) -> Samples:
    return np.concatenate([*map(converter.convert, chunks), converter.finish()])


# ── one sample of every channel ───────────────────────────────────────────────────────────────


def test_s16_is_read_as_little_endian_fractions_of_full_scale() -> None:
    pcm = struct.pack("<4h", 0, 1, 32767, -32768)
    assert to_mono(pcm, PcmFormat()).tolist() == [0.0, 1 / 32768, 32767 / 32768, -1.0]


def test_f32_is_taken_as_it_is() -> None:
    mono = to_mono(f32(0.0, 0.25, -1.0, 1.0), PcmFormat(encoding="pcm_f32le"))
    assert mono.tolist() == [0.0, 0.25, -1.0, 1.0]


def test_what_is_no_number_becomes_silence_and_what_is_too_loud_is_clipped() -> None:
    pcm = f32(float("nan"), float("inf"), float("-inf"), 7.5, -1e30, 0.5)
    mono = to_mono(pcm, PcmFormat(encoding="pcm_f32le"))
    assert mono.tolist() == [0.0, 1.0, -1.0, 1.0, -1.0, 0.5]


@given(st.binary(max_size=400).map(lambda data: data[: len(data) // 4 * 4]))
def test_any_bytes_as_f32_give_numbers_in_range(pcm: bytes) -> None:
    mono = to_mono(pcm, PcmFormat(encoding="pcm_f32le"))
    assert len(mono) == len(pcm) // 4
    assert np.all(np.abs(mono) <= 1.0)  # which a NaN is not


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le"])
@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_mixed_to_their_mean(channels: int, encoding: str) -> None:
    pcm_format = PcmFormat(encoding=encoding, channels=channels)  # type: ignore[arg-type]
    frames = np.random.default_rng(channels).integers(-20000, 20000, (50, channels))
    if encoding == "pcm_s16le":
        pcm = frames.astype("<i2").tobytes()
    else:
        pcm = (frames / 32768).astype("<f4").tobytes()
    assert len(pcm) == 50 * pcm_format.frame_bytes
    np.testing.assert_allclose(
        to_mono(pcm, pcm_format), frames.mean(axis=1) / 32768, rtol=0, atol=1e-6
    )


def test_one_bad_channel_does_not_spoil_the_others() -> None:
    stereo = PcmFormat(encoding="pcm_f32le", channels=2)
    assert to_mono(f32(float("nan"), 0.5, 0.5, 0.5), stereo).tolist() == [0.25, 0.5]


def test_the_bytes_of_the_sender_are_not_written_to() -> None:
    pcm = f32(float("nan"), 2.0)
    to_mono(pcm, PcmFormat(encoding="pcm_f32le"))
    assert pcm == f32(float("nan"), 2.0)


# ── positions ─────────────────────────────────────────────────────────────────────────────────


@given(st.integers(8000, 96000), st.integers(0, 2**63))
@example(44100, 2**53 + 1)
def test_positions_are_whole_numbers_without_rounding_error(rate: int, offset: int) -> None:
    pcm_format = PcmFormat(sample_rate=rate)
    position = pcm_format.to_16k(offset)
    assert position * rate <= offset * SAMPLE_RATE < (position + 1) * rate
    assert pcm_format.to_own(position) <= offset
    assert pcm_format.to_16k(pcm_format.to_own(position)) <= position


@given(st.integers(8000, 96000), st.integers(0, 2**63))
def test_an_own_offset_is_the_last_that_lies_at_or_before_a_position(
    rate: int, position: int
) -> None:
    own = PcmFormat(sample_rate=rate).to_own(position)
    assert own * SAMPLE_RATE <= position * rate < (own + 1) * SAMPLE_RATE


@given(st.sampled_from(RATES), st.lists(st.integers(0, 2**40), min_size=2, max_size=2))
def test_positions_keep_the_order_of_offsets(rate: int, offsets: list[int]) -> None:
    pcm_format = PcmFormat(sample_rate=rate)
    first, second = (pcm_format.to_16k(offset) for offset in sorted(offsets))
    assert first <= second


# ── conversion ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rate", RATES)
@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=8),
    count=st.integers(0, 9000),
    start=st.integers(0, 10**9),
)
@examples(15)
def test_pieces_give_what_the_whole_gives(
    rate: int, sizes: list[int], count: int, start: int
) -> None:
    pcm_format = PcmFormat(encoding="pcm_f32le", sample_rate=rate)
    pcm = noise(count)
    whole = convert_all(Converter(pcm_format, start), [pcm])
    cut = convert_all(Converter(pcm_format, start), pieces(pcm, sizes, pcm_format.frame_bytes))
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rate", RATES)
@given(
    runs=st.lists(st.lists(st.integers(1, 2500), max_size=5), min_size=1, max_size=5),
    start=st.integers(0, 10**9),
)
@examples(15)
def test_every_run_fills_its_span_of_the_clock_exactly(
    rate: int, runs: list[list[int]], start: int
) -> None:
    pcm_format = PcmFormat(encoding="pcm_f32le", sample_rate=rate)
    converter = Converter(pcm_format, start)
    offset, begun = start, pcm_format.to_16k(start)
    for run in runs:
        given_samples = 0
        for count in run:
            offset += count
            given_samples += len(converter.convert(noise(count)))
            assert converter.position == begun + given_samples <= pcm_format.to_16k(offset)
        given_samples += len(converter.finish())
        assert begun + given_samples == converter.position == pcm_format.to_16k(offset)
        begun = converter.position


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate != SAMPLE_RATE])
def test_a_run_is_what_the_resampler_makes_of_it_in_one_go_to_the_last_sample(rate: int) -> None:
    pcm = noise(rate // 3)
    expected = soxr.resample(np.frombuffer(pcm, "<f4"), rate, SAMPLE_RATE, quality="HQ")
    converter = Converter(PcmFormat(encoding="pcm_f32le", sample_rate=rate), 0)
    samples = convert_all(converter, pieces(pcm, [480, 7], 4))
    np.testing.assert_allclose(samples, expected[: len(samples)], rtol=0, atol=1e-4)


def test_nothing_is_finished_where_nothing_came() -> None:
    for rate in RATES:
        assert len(Converter(PcmFormat(sample_rate=rate), 77).finish()) == 0


def test_a_run_may_begin_anywhere() -> None:
    converter = Converter(PcmFormat(sample_rate=48000), 0)
    converter.convert(noise(3000))
    converter.finish()
    converter.start_at(96000)
    assert converter.position == 32000


def test_16_khz_passes_through_unchanged_and_at_once() -> None:
    pcm = np.arange(-500, 500, dtype="<i2").tobytes()
    converter = Converter(PcmFormat(), 0)
    assert converter.convert(pcm).tolist() == [value / 32768 for value in range(-500, 500)]
    assert converter.finish() is NO_SAMPLES


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("frequency", [100.0, 997.0, 2500.0])
def test_a_tone_keeps_its_frequency(rate: int, frequency: float) -> None:
    pcm = tone(frequency, rate, rate).astype("<f4").tobytes()
    pcm_format = PcmFormat(encoding="pcm_f32le", sample_rate=rate)
    samples = convert_all(Converter(pcm_format, 0), pieces(pcm, [480, 3], 4))
    np.testing.assert_allclose(
        samples[EDGE:-EDGE], tone(frequency, SAMPLE_RATE, SAMPLE_RATE)[EDGE:-EDGE], atol=0.001
    )
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) == frequency  # bins of 1 Hz


@pytest.mark.parametrize("rate", RATES)
def test_sound_keeps_its_place_also_behind_a_flush(rate: int) -> None:
    """A chirp fits itself at one place only. A second run begins less than a sample off."""
    first = rate + 123
    pcm = chirp(np.arange(2 * first) / rate).astype("<f4").tobytes()
    pcm_format = PcmFormat(encoding="pcm_f32le", sample_rate=rate)
    converter = Converter(pcm_format, 0)
    for run in (pcm[: first * 4], pcm[first * 4 :]):
        position = converter.position
        heard = convert_all(converter, pieces(run, [480, 313], 4))[EDGE:-EDGE]
        places = position + EDGE + np.arange(len(heard))
        likeness = {
            lag: float(np.dot(chirp((places + lag) / SAMPLE_RATE), heard)) for lag in range(-20, 21)
        }
        best = max(likeness, key=lambda lag: likeness[lag])
        assert best == 0 if position == 0 else best in {0, 1}


@pytest.mark.parametrize("rate", [32000, 44100, 48000, 96000])
def test_what_16_khz_cannot_hold_is_filtered_out(rate: int) -> None:
    pcm = tone(11000, rate, rate).astype("<f4").tobytes()
    samples = convert_all(Converter(PcmFormat(encoding="pcm_f32le", sample_rate=rate), 0), [pcm])
    assert np.max(np.abs(samples[EDGE:-EDGE])) < 0.001


def test_bad_numbers_do_not_spread_beyond_their_place() -> None:
    pcm_format = PcmFormat(encoding="pcm_f32le", sample_rate=48000)
    values = np.zeros(48000, "<f4")
    values[24000] = np.nan
    samples = convert_all(Converter(pcm_format, 0), [values.tobytes()])
    assert not samples.any()
