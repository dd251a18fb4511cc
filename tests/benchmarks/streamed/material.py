"""What is said in the benchmark `streaming`: recordings with their words, one behind the other."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrd.audio import SAMPLE_RATE
from asrd_moonshine import MoonshineProvider
from benchmarks.common import FRAME_S, Samples, pcm
from conftest import SHARED_AUDIO, TINY_WHISPER, TWO_CITIES_TEXT, read_transcripts
from support.audio import read_wav

PAUSE_S = 1.0
"""Between two takes: longer than any endpointing of the benchmark."""

TWO_CITIES_CUTS = (("it was the spring of hope", 17.35), ("In short", 28.7))
"""Pauses of moonshine's recording, and the words that follow: whole, it is too long for a run."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Take:
    """A recording at 16 kHz and what is said in it."""

    name: str
    samples: Samples
    transcript: str

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A take that is whole in a programme, from one second of it to another."""

    take: Take
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Programme:
    """What one stream says: takes with pauses between. What is cut off at the end is not placed."""

    samples: Samples
    placed: tuple[Placed, ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def programme(takes: Sequence[Take], seconds: float, first: int = 0) -> Programme:
    """All takes in turn, from the one numbered `first` on, once or again and again, until `seconds`
    are full."""
    total = round(seconds * SAMPLE_RATE)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    parts: list[Samples] = []
    placed: list[Placed] = []
    length, number = 0, first
    while length < total:
        take = takes[number % len(takes)]
        end = length + len(take.samples)
        if end <= total:
            begin_s, end_s = length / SAMPLE_RATE, end / SAMPLE_RATE
            placed.append(Placed(take=take, begin_s=begin_s, end_s=end_s))
        parts += take.samples, pause
        length, number = end + len(pause), number + 1
    return Programme(samples=np.concatenate(parts)[:total], placed=tuple(placed))


def read_by(placed: Sequence[Placed], pieces: Sequence[tuple[float, float, str]]) -> list[str]:
    """What was read of each take: the texts of those `pieces` (start, end, text) whose middle lies
    in it, or nearer to it than the next one is."""
    reach_s = PAUSE_S / 2
    return [
        " ".join(
            text
            for start_s, end_s, text in pieces
            if each.begin_s - reach_s <= (start_s + end_s) / 2 < each.end_s + reach_s
        )
        for each in placed
    ]


def whole_frames(samples: Samples) -> Samples:
    """Samples with silence behind them, up to a whole number of the pieces that are sent."""
    size = round(FRAME_S * SAMPLE_RATE)
    return np.concatenate([samples, np.zeros(-len(samples) % size, np.float32)])


def write(take: Take, path: Path) -> None:
    """Write a take as a 16-bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm(take.samples))


def spoken_takes() -> list[Take]:
    """People: moonshine's recording in three parts, and between them those of `shared/audio`, the
    last first, where that folder lies beside the repository."""
    path = MoonshineProvider().sample()
    if path is None:
        raise RuntimeError("moonshine-voice has no recording in this installation")
    ours = _parts(read_wav(path), " ".join(TWO_CITIES_TEXT.split()))
    theirs = _read(SHARED_AUDIO)[::-1] if SHARED_AUDIO.is_dir() else []
    return [*ours[:1], *theirs[:1], *ours[1:2], *theirs[1:], *ours[2:]]


def twenty_word_takes() -> list[Take]:
    """The twenty words that the tests' own Whisper knows: long takes first, but the very longest
    last, which would leave no room for others. Two of the takes hold no speech."""
    longest, *others = sorted(_read(TINY_WHISPER / "samples"), key=lambda take: -take.duration_s)
    return [*others, longest]


def _read(folder: Path) -> list[Take]:
    return [
        Take(name=each.path.stem, samples=read_wav(each.path), transcript=each.transcript)
        for each in read_transcripts(folder)
    ]


def _parts(samples: Samples, text: str) -> list[Take]:
    takes: list[Take] = []
    words_from, samples_from = 0, 0
    for words, at_s in (*TWO_CITIES_CUTS, ("", len(samples) / SAMPLE_RATE)):
        words_to = text.index(words) if words else len(text)
        samples_to = round(at_s * SAMPLE_RATE)
        takes.append(
            Take(
                name=f"two_cities_{len(takes) + 1}",
                samples=samples[samples_from:samples_to],
                transcript=text[words_from:words_to].strip(),
            )
        )
        words_from, samples_from = words_to, samples_to
    return takes
