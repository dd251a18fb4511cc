"""PCM of any declared format to what every model here takes: mono float32 at 16 kHz.

Positions are exact across formats: sample p of a stream at rate r lies at sample
`p * 16000 // r` of the 16 kHz clock, whatever the resampler delays or rounds inside.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import soxr

from asrd.choices import SAMPLE_BYTES

SAMPLE_RATE = 16000

Samples = npt.NDArray[np.float32]
"""Mono float32 at 16 kHz in -1..1, shape (n,)."""

NO_SAMPLES: Samples = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class PcmFormat:
    """How a stream's bytes are to be read; samples of all channels are interleaved."""

    encoding: Literal["pcm_s16le", "pcm_f32le"] = "pcm_s16le"
    sample_rate: int = SAMPLE_RATE
    channels: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return SAMPLE_BYTES[self.encoding] * self.channels

    def to_16k(self, offset: int) -> int:
        """The 16 kHz position of the stream's own `offset`."""
        return offset * SAMPLE_RATE // self.sample_rate

    def to_own(self, position: int) -> int:
        """The last own offset that lies at or before a 16 kHz `position`."""
        return position * self.sample_rate // SAMPLE_RATE


def to_mono(pcm: bytes, pcm_format: PcmFormat) -> Samples:
    """Mono float32 at the stream's own rate. `pcm` holds whole samples of every channel.

    What is not a number becomes silence and what is out of range is clipped: one NaN would
    poison a recurrent model's state for good.
    """
    if pcm_format.encoding == "pcm_s16le":
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)
        samples *= np.float32(1 / 32768)
    else:
        samples = np.frombuffer(pcm, "<f4").astype(np.float32)
        np.nan_to_num(samples, copy=False, posinf=1.0, neginf=-1.0)
        np.clip(samples, -1.0, 1.0, out=samples)
    if pcm_format.channels > 1:
        samples = samples.reshape(-1, pcm_format.channels).mean(axis=1, dtype=np.float32)
    return samples


class Converter:
    """Converts one unbroken run of a stream's audio, piece by piece.

    `finish` gives what the resampler still holds, so that the run's samples fill its span of the
    16 kHz clock exactly; the next piece then begins a new run.
    """

    def __init__(self, pcm_format: PcmFormat, offset: int) -> None:
        self._format = pcm_format
        self._resampler: soxr.ResampleStream | None = None
        if pcm_format.sample_rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(
                pcm_format.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ"
            )
        self.start_at(offset)

    def start_at(self, offset: int) -> None:
        """Begin a new run at the stream's own `offset`."""
        self._offset = offset
        self.position = self._format.to_16k(offset)
        if self._resampler is not None:
            self._resampler.clear()

    def convert(self, pcm: bytes) -> Samples:
        """The 16 kHz samples that `pcm` completes."""
        self._offset += len(pcm) // self._format.frame_bytes
        samples = to_mono(pcm, self._format)
        if self._resampler is not None:
            samples = np.asarray(self._resampler.resample_chunk(samples), np.float32)
            # A resampler may run ahead of its input by a rounding; the clock may not.
            samples = samples[: self._format.to_16k(self._offset) - self.position]
        self.position += len(samples)
        return samples

    def finish(self) -> Samples:
        """The rest of this run; the next `convert` continues the clock where it ends."""
        missing = self._format.to_16k(self._offset) - self.position
        rest = NO_SAMPLES
        if self._resampler is not None:
            rest = np.asarray(self._resampler.resample_chunk(NO_SAMPLES, last=True), np.float32)
            rest = rest[:missing]
            if len(rest) < missing:
                rest = np.concatenate([rest, np.zeros(missing - len(rest), np.float32)])
        self.start_at(self._offset)
        return rest
