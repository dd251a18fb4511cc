"""Silero's voice-activity network at 16 kHz, computed with numpy for many streams at a time.

    640 samples ─► 4 spectra ─► 4 convolutions ─► gates ─► LSTM cell ─► probability
    └───────────── no memory: all windows of all streams ┘   └ one step of every stream at a time

onnxruntime runs the file's own graph, in which one state stands for all windows of a call: each
stream has to have a call of its own. Here all windows at hand share the multiplications, and all
streams share each step of the recurrence. That takes 13 µs a window where many streams are heard,
instead of 37 (three windows a call), and as long as before where there is one.

The network is that of https://github.com/snakers4/silero-vad (MIT), version 6. The weights are
read from its file; one of another shape is refused.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asrd.providers.onnx_file import Weights

Floats = npt.NDArray[np.float32]

HIDDEN = 128
INPUT_SAMPLES = 640
"""What one window's spectra reach over, see `VoiceActivity`."""

BLOCK_WINDOWS = 64
"""Windows that go through the convolutions at a time: what lies between them stays in the cache."""

_SPECTRA = 4
_SPECTRUM_SAMPLES = 256
_HOP_SAMPLES = 128
_BINS = 129
_NARROW = 64
_CONVOLUTIONS = ((128, _BINS), (_NARROW, 128), (_NARROW, _NARROW), (128, _NARROW))
_HALF = np.float32(0.5)

_LET_IN, _LET_OUT, _KEEP, _NEW = (slice(at, at + HIDDEN) for at in range(0, 4 * HIDDEN, HIDDEN))
"""The gates, in ONNX's order."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """The weights as the products want them: inputs by outputs."""

    basis: Floats
    first: Floats
    second: Floats
    third: Floats
    fourth: Floats
    biases: tuple[Floats, ...]
    gates: Floats
    gates_bias: Floats
    recurrence: Floats
    output: Floats
    output_bias: Floats


class Network:
    """The network. Keeps nothing from one call to the next.

    Raises:
        ValueError: the weights are not those of this network.
    """

    def __init__(self, weights: Weights) -> None:
        self._parts = _parts(weights)

    def gates(self, windows: Floats) -> Floats:
        """What each window gives the recurrence: shape (n, 640) to (n, 512)."""
        found = np.empty((len(windows), 4 * HIDDEN), np.float32)
        for begin in range(0, len(windows), BLOCK_WINDOWS):
            block = slice(begin, begin + BLOCK_WINDOWS)
            found[block] = self._gates(windows[block])
        return found

    def step(self, gates: Floats, h: Floats, c: Floats) -> tuple[Floats, Floats]:
        """One window of each of n streams: gates (n, 512), states (n, 128) before and behind it."""
        found = h @ self._parts.recurrence
        found += gates
        np.tanh(found, out=found)
        sigmoids = found[:, : 3 * HIDDEN]  # of x, as tanh of x/2: see `_parts`
        sigmoids *= _HALF
        sigmoids += _HALF
        c = c * found[:, _KEEP]
        c += found[:, _LET_IN] * found[:, _NEW]
        h = np.tanh(c)
        h *= found[:, _LET_OUT]
        return h, c

    def probabilities(self, h: Floats) -> Floats:
        """Of speech in each window, given the state behind it: shape (n, 128) to (n,)."""
        found = np.maximum(h, 0) @ self._parts.output
        found += self._parts.output_bias
        return np.asarray(1 / (1 + np.exp(-found)), np.float32)

    def _gates(self, windows: Floats) -> Floats:
        parts, count = self._parts, len(windows)
        # Behind each other in time, not in windows: so every step is one product with its weights,
        # which costs much less than one for each spectrum.
        spans = np.empty((_SPECTRA, count, _SPECTRUM_SAMPLES), np.float32)
        for place in range(_SPECTRA):
            begin = place * _HOP_SAMPLES
            spans[place] = windows[:, begin : begin + _SPECTRUM_SAMPLES]
        waves = spans.reshape(-1, _SPECTRUM_SAMPLES) @ parts.basis
        waves *= waves
        magnitudes = waves[:, :_BINS] + waves[:, _BINS:]
        np.sqrt(magnitudes, out=magnitudes)

        taps = (magnitudes @ parts.first).reshape(_SPECTRA, count, 3, 128)
        sums = taps[:, :, 1]
        sums += parts.biases[0]
        sums[1:] += taps[:-1, :, 0]
        sums[:-1] += taps[1:, :, 2]
        # A spectrum of zeros stands before the first, where the second convolution reaches.
        wide = np.zeros((count, 1 + _SPECTRA, 128), np.float32)
        np.maximum(sums.transpose(1, 0, 2), 0, out=wide[:, 1:])

        pairs = np.concatenate([wide[:, 0:3], wide[:, 2:5]]).reshape(2 * count, 3 * 128)
        narrow = _relu(pairs @ parts.second, parts.biases[1])
        both = np.concatenate([narrow[:count], narrow[count:]], axis=1)
        # Of the taps of the last two only those are left that do not lie beyond the edges.
        last = _relu(_relu(both @ parts.third, parts.biases[2]) @ parts.fourth, parts.biases[3])
        gates = last @ parts.gates
        gates += parts.gates_bias
        return np.asarray(gates)


def _relu(sums: Floats, bias: Floats) -> Floats:
    sums += bias
    return np.maximum(sums, 0, out=sums)


def _parts(weights: Weights) -> _Parts:
    waves = 2 * _BINS
    basis = _take(weights, "feature_extractor.forward_basis_buffer", (waves, 1, _SPECTRUM_SAMPLES))
    taps, biases = [], []
    for number, (outputs, inputs) in enumerate(_CONVOLUTIONS):
        name = f"conv_layers.{number}"
        weight = _take(weights, f"{name}.weight", (outputs, inputs, 3))
        taps.append(weight.transpose(2, 1, 0))  # tap, input, output
        biases.append(_take(weights, f"{name}.bias", (outputs,)))
    # The graph's own names of these are numbers that its export gave them.
    square, twice = (1, 4 * HIDDEN, HIDDEN), (1, 8 * HIDDEN)
    inner = [each for name, each in weights.items() if "LSTM" in name and each.shape == square]
    bias = [each for name, each in weights.items() if "LSTM" in name and each.shape == twice]
    if (len(inner), len(bias)) != (2, 1):
        raise ValueError("the file does not hold one LSTM of 128")
    # A sigmoid is a tanh of half its argument: so one tanh serves all gates but for a product.
    halves = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), HIDDEN)
    return _Parts(
        basis=_whole(basis[:, 0].T),
        first=_whole(np.concatenate(list(taps[0]), axis=1)),
        second=_whole(taps[1].reshape(-1, _NARROW)),
        third=_whole(taps[2][1:].reshape(-1, _NARROW)),
        fourth=_whole(taps[3][1]),
        biases=tuple(biases),
        gates=_whole(inner[0][0].T * halves),
        gates_bias=bias[0].reshape(2, -1).sum(axis=0) * halves,
        recurrence=_whole(inner[1][0].T * halves),
        output=_take(weights, "decoder.conv1d.weight", (1, HIDDEN, 1)).reshape(HIDDEN),
        output_bias=_take(weights, "decoder.conv1d.bias", (1,)),
    )


def _take(weights: Weights, name: str, shape: tuple[int, ...]) -> Floats:
    """The weight whose name ends so. Raises ValueError where there is none of that shape."""
    found = [each for known, each in weights.items() if known.endswith(name)]
    if len(found) != 1 or found[0].shape != shape:
        raise ValueError(f"the file holds no one weight {name} of shape {shape}")
    return found[0]


def _whole(weight: Floats) -> Floats:
    return np.ascontiguousarray(weight, np.float32)
