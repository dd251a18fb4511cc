"""Voice activity: the Silero model that faster-whisper ships, for many streams in one worker.

The model reads windows of 512 samples at 16 kHz, each behind the last 64 samples of the one
before, and carries a recurrent state from window to window. All windows of all streams that are at
hand go through it together. The state is the caller's, who hands it in and keeps what comes back:
1.3 kB, and a worker that dies takes no stream's past along.

What a window gives does not depend on what is scored beside it but for the last bits of its
floats: products of matrices add up in another order when they are larger.

Silero VAD: https://github.com/snakers4/silero-vad (MIT).
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asrd.errors import ModelUnavailable
from asrd.providers.onnx_file import read_weights
from asrd.providers.silero import BLOCK_WINDOWS, HIDDEN, INPUT_SAMPLES, Network

WINDOW_SAMPLES = 512
CONTEXT_SAMPLES = 64
STATE_BYTES = 4 * (2 * HIDDEN + CONTEXT_SAMPLES)
_FRESH = bytes(STATE_BYTES)
_WITH_CONTEXT = CONTEXT_SAMPLES + WINDOW_SAMPLES
_MIRRORED = slice(_WITH_CONTEXT - 2, 2 * _WITH_CONTEXT - INPUT_SAMPLES - 2, -1)
"""The samples before the last, backwards: the last spectrum reaches over the end."""

_REMEDY = "pip install --force-reinstall 'faster-whisper>=1.2.1,<2'"

Unscored = tuple[npt.NDArray[np.float32], bytes]
"""Windows of one stream and the state before them."""

Scored = tuple[npt.NDArray[np.float32], bytes]
"""Probabilities of shape (n,), and `STATE_BYTES` for the next call."""


def model_path() -> Path:
    """Where the model's file is. Raises ModelUnavailable when faster-whisper is not whole."""
    package = importlib.util.find_spec("faster_whisper")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "assets" / "silero_vad_v6.onnx"
        if path.is_file():
            return path
    raise ModelUnavailable(f"the voice-activity model is missing from faster-whisper: {_REMEDY}")


class VoiceActivity:
    """Scores windows. Keeps nothing from one call to the next.

    Raises:
        ModelUnavailable: the model's file is missing, or is not what it should be.
    """

    def __init__(self) -> None:
        path = model_path()
        try:
            self._network = Network(read_weights(path.read_bytes()))
        except ValueError as error:
            raise ModelUnavailable(f"{path} is not usable ({error}): {_REMEDY}") from error

    def score(self, windows: npt.NDArray[np.float32], state: bytes) -> Scored:
        """Score the windows of one stream; see `score_all`."""
        return self.score_all([(windows, state)])[0]

    def score_all(self, streams: Sequence[Unscored]) -> list[Scored]:
        """The speech probability of each window of each stream, and the state behind them.

        Args:
            streams: for each its windows, shape (n, 512), n at least 1, and what the call for the
                windows before these gave; empty where nothing was before.

        Returns:
            What was found for each, in their order.
        """
        return [scored for group in _groups(streams) for scored in self._score_group(group)]

    def _score_group(self, streams: Sequence[Unscored]) -> Iterator[Scored]:
        counts = np.array([len(windows) for windows, _ in streams])
        begins = np.cumsum(counts) - counts
        states = b"".join(state or _FRESH for _, state in streams)
        before = np.frombuffer(states, np.float32).reshape(len(streams), -1)
        windows = np.concatenate([windows for windows, _ in streams])
        gates = self._network.gates(_padded(windows, begins, before[:, 2 * HIDDEN :]))
        # The longest stream first: those that have a window left are always the first ones.
        order = np.argsort(-counts, kind="stable")
        h, c = before[order, :HIDDEN], before[order, HIDDEN : 2 * HIDDEN]
        behind = np.empty((len(windows), HIDDEN), np.float32)
        left = np.searchsorted(-counts[order], -np.arange(counts.max()), side="left")
        for place, active in enumerate(left.tolist()):
            rows = begins[order[:active]] + place
            h[:active], c[:active] = self._network.step(gates[rows], h[:active], c[:active])
            behind[rows] = h[:active]
        probabilities = self._network.probabilities(behind)
        after = np.empty_like(before)
        after[order, :HIDDEN], after[order, HIDDEN : 2 * HIDDEN] = h, c
        after[:, 2 * HIDDEN :] = windows[begins + counts - 1, -CONTEXT_SAMPLES:]
        for begin, count, state in zip(begins.tolist(), counts.tolist(), after, strict=True):
            yield probabilities[begin : begin + count], state.tobytes()


def _groups(streams: Sequence[Unscored]) -> Iterator[Sequence[Unscored]]:
    """The streams in groups of about a block of windows.

    More at a time gain nothing: what lies between the products would not stay in the cache, and
    such large pieces of memory are fetched from the system and given back with every call.
    """
    first = windows = 0
    for place, (more, _) in enumerate(streams):
        if windows and windows + len(more) > BLOCK_WINDOWS:
            yield streams[first:place]
            first, windows = place, 0
        windows += len(more)
    if windows:
        yield streams[first:]


def _padded(
    windows: npt.NDArray[np.float32],
    begins: npt.NDArray[np.int_],
    contexts: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Windows behind what was before them, and before their own mirror: shape (n, 640)."""
    padded = np.empty((len(windows), INPUT_SAMPLES), np.float32)
    padded[1:, :CONTEXT_SAMPLES] = windows[:-1, -CONTEXT_SAMPLES:]
    padded[begins, :CONTEXT_SAMPLES] = contexts
    padded[:, CONTEXT_SAMPLES:_WITH_CONTEXT] = windows
    padded[:, _WITH_CONTEXT:] = padded[:, _MIRRORED]
    return padded
