"""Voice activity: the Silero model that faster-whisper ships, for many streams in one worker.

The model reads windows of 512 samples at 16 kHz, each behind the last 64 samples of the one
before, and carries a recurrent state from window to window. All windows of one stream that are at
hand go through it in one call, which costs half as much per window as one by one. Its state has
a batch size of one, so different streams cannot share a call.

Silero VAD: https://github.com/snakers4/silero-vad (MIT).
"""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asrd.errors import ModelUnavailable

WINDOW_SAMPLES = 512
CONTEXT_SAMPLES = 64
_STATE_SHAPE = (1, 1, 128)


@dataclass(slots=True)
class _State:
    h: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(_STATE_SHAPE, np.float32))
    c: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(_STATE_SHAPE, np.float32))
    context: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(CONTEXT_SAMPLES, np.float32)
    )


def model_path() -> Path:
    """Where the model's file is. Raises ModelUnavailable when faster-whisper is not whole."""
    package = importlib.util.find_spec("faster_whisper")
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "assets" / "silero_vad_v6.onnx"
        if path.is_file():
            return path
    raise ModelUnavailable(
        "the voice-activity model is missing from faster-whisper: pip install --force-reinstall "
        "'faster-whisper>=1.2.1'"
    )


class VoiceActivity:
    """Scores windows; keeps one state for each stream."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = 1
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        self._session: Any = onnxruntime.InferenceSession(
            str(model_path()), providers=["CPUExecutionProvider"], sess_options=options
        )
        self._states: dict[int, _State] = {}

    def forget(self, stream: int) -> None:
        """The stream has ended."""
        self._states.pop(stream, None)

    def score(
        self, stream: int, windows: npt.NDArray[np.float32], *, is_fresh: bool
    ) -> npt.NDArray[np.float32]:
        """The speech probability of each window, shape (n,), for windows of shape (n, 512).

        `is_fresh`: these windows do not follow the last ones.
        """
        if is_fresh or stream not in self._states:
            self._states[stream] = _State()
        state = self._states[stream]
        padded = np.empty((len(windows), CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
        padded[0, :CONTEXT_SAMPLES] = state.context
        padded[1:, :CONTEXT_SAMPLES] = windows[:-1, -CONTEXT_SAMPLES:]
        padded[:, CONTEXT_SAMPLES:] = windows
        probabilities, state.h, state.c = self._session.run(
            None, {"input": padded, "h": state.h, "c": state.c}
        )
        state.context = windows[-1, -CONTEXT_SAMPLES:].copy()
        return np.asarray(probabilities, np.float32).reshape(-1)
