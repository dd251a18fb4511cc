"""Sounds in which nobody speaks, the same in every run: float32 in -1..1 at 16 kHz, mono."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from support.audio import SAMPLE_RATE, Samples, silence

Wave = npt.NDArray[np.float64]

CONCERT_A_HZ = 440.0


def white_noise(duration_s: float, level_db: float, seed: int = 0) -> Samples:
    """As much power at every frequency; `level_db` is its RMS below full scale."""
    return _at_level(_draw(duration_s, seed), level_db)


def pink_noise(duration_s: float, level_db: float, seed: int = 0) -> Samples:
    """As much power in every octave from 20 Hz on; `level_db` is its RMS below full scale."""
    spectrum = np.fft.rfft(_draw(duration_s, seed))
    frequencies = np.fft.rfftfreq(round(duration_s * SAMPLE_RATE), 1 / SAMPLE_RATE)
    spectrum *= np.where(frequencies < 20, 0, 1 / np.sqrt(np.maximum(frequencies, 20)))
    return _at_level(np.fft.irfft(spectrum, round(duration_s * SAMPLE_RATE)), level_db)


def mains_hum(duration_s: float, level_db: float) -> Samples:
    """50 Hz and its harmonics, the odd ones louder, as a bad earth sounds."""
    at = _times(duration_s)
    return _at_level(
        _sum(
            np.sin(2 * np.pi * 50 * harmonic * at + harmonic)
            / (harmonic if harmonic % 2 else 3 * harmonic)
            for harmonic in range(1, 21)
        ),
        level_db,
    )


def clicks(duration_s: float, peak: float, seed: int = 0) -> Samples:
    """Three a second at random: single samples, and bursts of noise of 1 to 30 ms."""
    random = np.random.default_rng(seed)
    wave = np.zeros(round(duration_s * SAMPLE_RATE))
    for _ in range(round(3 * duration_s)):
        begin = int(random.integers(len(wave)))
        length = 1 if random.random() < 0.5 else int(random.integers(16, 480))
        burst = random.uniform(-peak, peak, length) * np.linspace(1, 0, length, endpoint=False)
        wave[begin : begin + length] = burst[: len(wave) - begin]
    return wave.astype(np.float32)


def chords(duration_s: float, level_db: float) -> Samples:
    """A cadence of chords of a second each, every note with overtones and dying away."""
    cadence = [(0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7, 12)]
    parts = [
        _sum(_note(_pitch(note), 1.0) for note in cadence[index % len(cadence)])
        for index in range(round(duration_s))
    ]
    return _at_level(np.concatenate(parts), level_db)


def arpeggio(duration_s: float, level_db: float, lowest: int = 0) -> Samples:
    """Eight notes a second, up and down a chord, `lowest` half tones from the A below middle C."""
    notes = [0, 4, 7, 12, 16, 12, 7, 4]
    parts = [
        _note(_pitch(lowest + notes[index % len(notes)]), 0.125)
        for index in range(round(8 * duration_s))
    ]
    return _at_level(np.concatenate(parts), level_db)


def sweep(duration_s: float, level_db: float) -> Samples:
    """A tone that climbs from 60 Hz to 6 kHz, an equal interval each second."""
    frequencies = 60 * (100 ** (_times(duration_s) / duration_s))
    return _at_level(np.sin(2 * np.pi * np.cumsum(frequencies) / SAMPLE_RATE), level_db)


def vibrato(duration_s: float, level_db: float, frequency_hz: float = CONCERT_A_HZ) -> Samples:
    """One long note with overtones, a quarter tone up and down five times a second."""
    bend = 2 ** (np.sin(2 * np.pi * 5 * _times(duration_s)) / 24)
    phase = 2 * np.pi * np.cumsum(frequency_hz * bend) / SAMPLE_RATE
    return _at_level(_sum(np.sin(k * phase) / k**1.5 for k in range(1, 8)), level_db)


def telephone(duration_s: float, level_db: float) -> Samples:
    """A dial tone, ten keys, and ringing: 1 s of tone in 4 s."""
    rows, columns = (697, 770, 852, 941), (1209, 1336, 1477)
    parts = [_tones((425.0,), 2.0)]
    for key in range(10):
        parts += [_tones((rows[key // 3], columns[key % 3]), 0.1), np.zeros(SAMPLE_RATE // 10)]
    while sum(map(len, parts)) < duration_s * SAMPLE_RATE:
        parts += [_tones((425.0,), 1.0), np.zeros(3 * SAMPLE_RATE)]
    return _at_level(np.concatenate(parts)[: round(duration_s * SAMPLE_RATE)], level_db)


def every_sound(duration_s: float) -> dict[str, Samples]:
    """All of them by name, each at several levels. Voice activity takes the low notes for speech
    now and then, and nothing else."""
    quiet_to_loud: dict[str, tuple[Callable[[float, float], Samples], Sequence[float]]] = {
        "white noise": (white_noise, (-60, -50, -40, -30, -20, -10)),
        "pink noise": (pink_noise, (-60, -50, -40, -30, -20, -10)),
        "mains hum": (mains_hum, (-50, -30, -12)),
        "chords": (chords, (-40, -20, -12)),
        "arpeggio": (arpeggio, (-40, -20, -12)),
        "low arpeggio": (partial(arpeggio, lowest=-12), (-40, -20, -12)),
        "sweep": (sweep, (-40, -20, -6)),
        "vibrato": (vibrato, (-40, -20, -12)),
        "low vibrato": (partial(vibrato, frequency_hz=150), (-40, -20, -12)),
        "telephone": (telephone, (-40, -20, -6)),
    }
    return {
        "digital silence": silence(duration_s),
        "quiet clicks": clicks(duration_s, 0.05),
        "loud clicks": clicks(duration_s, 0.9),
        **{
            f"{name} at {level_db:g} dB": make(duration_s, level_db)
            for name, (make, levels_db) in quiet_to_loud.items()
            for level_db in levels_db
        },
    }


def to_pcm(samples: Samples) -> bytes:
    """As they are sent to a daemon; what is too loud is clipped."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()


def with_noise(speech: Samples, signal_to_noise_db: float, seed: int = 0) -> Samples:
    """Speech in white noise, as far below the mean power of what is not silent in it."""
    frames = speech[: len(speech) // 512 * 512].reshape(-1, 512).astype(np.float64)
    powers = np.mean(frames**2, axis=1)
    level_db = 10 * np.log10(np.mean(powers[powers > powers.max() / 1000]))
    noise = white_noise(len(speech) / SAMPLE_RATE, level_db - signal_to_noise_db, seed)
    return (speech + noise).astype(np.float32)


def _draw(duration_s: float, seed: int) -> Wave:
    return np.random.default_rng(seed).standard_normal(round(duration_s * SAMPLE_RATE))


def _sum(waves: Iterable[Wave]) -> Wave:
    total: Wave = np.sum(list(waves), axis=0, dtype=np.float64)
    return total


def _times(duration_s: float) -> Wave:
    return np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE


def _at_level(wave: Wave, level_db: float) -> Samples:
    power = float(np.mean(wave**2))
    samples: Samples = (wave * (10 ** (level_db / 20) / np.sqrt(power))).astype(np.float32)
    return samples


def _pitch(note: int) -> float:
    """`note` half tones above the A below middle C."""
    return CONCERT_A_HZ / 2 * 2 ** (note / 12)


def _note(frequency_hz: float, duration_s: float) -> Wave:
    """A plucked string: soon loud, slowly quiet, its overtones sooner."""
    at = _times(duration_s)
    tone = _sum(
        np.sin(2 * np.pi * k * frequency_hz * at) * np.exp(-3 * k * at) / k for k in range(1, 7)
    )
    return tone * np.minimum(1, at / 0.01) * np.minimum(1, (duration_s - at) / 0.01)


def _tones(frequencies_hz: Sequence[float], duration_s: float) -> Wave:
    at = _times(duration_s)
    edges = np.minimum(1, np.minimum(at, duration_s - at) / 0.005)
    return edges * _sum(np.sin(2 * np.pi * frequency * at) for frequency in frequencies_hz)
