"""The network in numpy against the file's own graph, which onnxruntime runs."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from asrd.providers.onnx_file import Weights, read_weights
from asrd.providers.silero import BLOCK_WINDOWS, HIDDEN, INPUT_SAMPLES, Network
from asrd.providers.voice import VoiceActivity, model_path
from conftest import TINY_WHISPER
from support.audio import read_wav

onnxruntime = pytest.importorskip("onnxruntime")

Floats = npt.NDArray[np.float32]

CLOSE = 1e-4
"""Products that add up in another order; thresholds are no finer than hundredths."""


@pytest.fixture(scope="module")
def weights() -> Weights:
    return read_weights(model_path().read_bytes())


@pytest.fixture(scope="module")
def graph() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(model_path()), providers=["CPUExecutionProvider"], sess_options=options
    )


def recordings() -> list[Floats]:
    """Speech, noise as loud as it gets, and silence."""
    noise = np.random.default_rng(3).normal(0, 0.3, 40 * 512).astype(np.float32)
    speech = [read_wav(path) for path in sorted((TINY_WHISPER / "samples").glob("*.wav"))]
    assert speech
    return [*speech, np.clip(noise, -1, 1), np.zeros(20 * 512, np.float32)]


def test_it_gives_what_the_graph_gives(graph: Any) -> None:
    voice = VoiceActivity()
    for samples in recordings():
        count = len(samples) // 512
        windows = samples[: count * 512].reshape(count, 512)
        padded = np.zeros((count, 576), np.float32)
        padded[:, 64:], padded[1:, :64] = windows, windows[:-1, -64:]
        zeros = np.zeros((1, 1, HIDDEN), np.float32)
        expected, h, c = graph.run(None, {"input": padded, "h": zeros, "c": zeros})
        probabilities, after = voice.score(windows, b"")
        assert np.abs(probabilities - expected.reshape(-1)).max() < CLOSE
        state = np.frombuffer(after, np.float32)
        assert np.abs(state[:HIDDEN] - h.reshape(-1)).max() < 10 * CLOSE
        assert np.abs(state[HIDDEN : 2 * HIDDEN] - c.reshape(-1)).max() < 10 * CLOSE


def test_blocks_change_nothing(weights: Weights) -> None:
    network = Network(weights)
    count = 2 * BLOCK_WINDOWS + 5
    windows = np.random.default_rng(4).normal(0, 0.1, (count, INPUT_SAMPLES)).astype(np.float32)
    whole = network.gates(windows)
    one_by_one = np.concatenate([network.gates(each[np.newaxis]) for each in windows])
    assert whole.shape == (count, 4 * HIDDEN)
    assert np.abs(whole - one_by_one).max() < CLOSE


def changed(weights: Weights, name: str, value: Floats | None) -> Weights:
    kept = {known: each for known, each in weights.items() if name not in known}
    assert len(kept) < len(weights)
    return kept if value is None else kept | {name: value}


@pytest.mark.parametrize(
    "name", ["forward_basis_buffer", "conv_layers.0.weight", "LSTM", "decoder.conv1d.bias"]
)
def test_other_weights_are_refused(weights: Weights, name: str) -> None:
    for value in (None, np.zeros((3, 3), np.float32)):
        with pytest.raises(ValueError, match="the file"):
            Network(changed(weights, name, value))
