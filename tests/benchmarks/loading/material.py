"""What is played: real speech, with pauses that are not digital silence."""

import csv
from pathlib import Path

import numpy as np

from asrd.audio import SAMPLE_RATE
from asrd.wire import messages as wire
from asrd.wire.codec import encode
from benchmarks.common import Samples, frames, speech
from support.audio import read_wav

PAUSE_S = 1.5
NOISE_DBFS = -50.0
"""Of the pauses: above the daemon's gate for silence, so that no window of them is spared."""

STREAM = 1
"""The number that every stream has on its own connection, so that all share the same bytes."""


def pause(seconds: float, seed: int = 1) -> Samples:
    """A quiet room."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))
    return (10 ** (NOISE_DBFS / 20) * noise).astype(np.float32)


def talk(folder: Path | None) -> Samples:
    """Recordings one after the other, a pause behind each; to be played in a loop.

    Those of `folder` (`transcripts.tsv` lists them in its first column), else moonshine-voice's.
    """
    if folder is None:
        recordings = [speech(30.0)]
    else:
        with (folder / "transcripts.tsv").open(encoding="utf-8") as table:
            names = [line[0] for line in csv.reader(table, delimiter="\t") if line]
        recordings = [read_wav(folder / name) for name in names if (folder / name).is_file()]
    return np.concatenate([part for each in recordings for part in (each, pause(PAUSE_S))])


def messages(samples: Samples) -> list[bytes]:
    """Samples as `audio` messages, each a frame ready to be sent; they bear no offset."""
    return [encode(wire.Audio(stream=STREAM, data=data)) for data in frames(samples)]
