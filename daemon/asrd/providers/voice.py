"""Voice activity: the Silero model that faster-whisper ships, for many streams in one worker.

The model reads windows of 512 samples at 16 kHz, each behind the last 64 samples of the one
before, and carries a recurrent state from window to window. All windows of one stream that are at
hand go through it in one call, which costs half as much per window as one by one. Its state has
a batch size of one, so different streams cannot share a call. The state is the caller's, who
hands it in and keeps what comes back: 1.3 kB, and a worker that dies takes no stream's past along.

Silero VAD: https://github.com/snakers4/silero-vad (MIT).
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from asrd.errors import ModelUnavailable

WINDOW_SAMPLES = 512
CONTEXT_SAMPLES = 64
HIDDEN = 128
STATE_BYTES = 4 * (2 * HIDDEN + CONTEXT_SAMPLES)
_FRESH = bytes(STATE_BYTES)


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
    """Scores windows. Keeps nothing from one call to the next."""

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

    def score(
        self, windows: npt.NDArray[np.float32], state: bytes
    ) -> tuple[npt.NDArray[np.float32], bytes]:
        """The speech probability of each window, and the state behind them.

        Args:
            windows: shape (n, 512), n at least 1.
            state: what the call for the windows before these gave; empty where nothing was before.

        Returns:
            Probabilities of shape (n,), and `STATE_BYTES` for the next call.
        """
        before = np.frombuffer(state or _FRESH, np.float32)
        h, c, context = np.split(before, (HIDDEN, 2 * HIDDEN))
        padded = np.empty((len(windows), CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
        padded[0, :CONTEXT_SAMPLES] = context
        padded[1:, :CONTEXT_SAMPLES] = windows[:-1, -CONTEXT_SAMPLES:]
        padded[:, CONTEXT_SAMPLES:] = windows
        probabilities, h, c = self._session.run(
            None, {"input": padded, "h": h.reshape(1, 1, -1), "c": c.reshape(1, 1, -1)}
        )
        after = b"".join(part.tobytes() for part in (h, c, windows[-1, -CONTEXT_SAMPLES:]))
        return np.asarray(probabilities, np.float32).reshape(-1), after
