"""Whisper models of the real shapes, made in seconds, for measuring speed without a download.

The weights are random but for one thing: each position of the decoder says which token comes
next, so that every window yields the same 28 words and ends, as speech does, and a run measures
the same work each time. What the models write means nothing.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

TINY_WHISPER = Path(__file__).parent.parent / "tiny_whisper"
sys.path.insert(0, str(TINY_WHISPER))

import expand  # noqa: E402 - the scripts beside the tests' own model import each other by name
import layout  # noqa: E402

WORDS = 28

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The geometry of one size of Whisper."""

    width: int
    heads: int
    layers: int


SHAPES = {
    "tiny": Shape(width=384, heads=6, layers=4),
    "base": Shape(width=512, heads=8, layers=6),
}


def make_model(size: str, folder: Path) -> Path:
    """Write a CTranslate2 folder with a model of that size; returns the folder."""
    target = folder / size
    if not (target / "model.bin").is_file():
        expand.ALIGNMENT_HEADS = [[SHAPES[size].layers - 1, 0]]
        expand.write_ctranslate2(_weights(SHAPES[size]), target)
    return target


def make_ggml(size: str, folder: Path) -> Path:
    """Write a whisper.cpp file with the same model; returns the file."""
    target = folder / f"ggml-{size}.bin"
    if not target.is_file():
        expand.write_ggml(_with_biases(_weights(SHAPES[size])), target)
    return target


def _with_biases(weights: dict[str, Array]) -> dict[str, Array]:
    """The same model with the biases, all zero, that whisper.cpp expects to find written out."""
    biased = (".query.weight", ".value.weight", ".out.weight", ".mlp.0.weight", ".mlp.2.weight")
    biases = {
        name.removesuffix("weight") + "bias": np.zeros(weight.shape[0], np.float32)
        for name, weight in weights.items()
        if name.endswith(biased)
    }
    return weights | biases


def _weights(shape: Shape) -> dict[str, Array]:
    random = np.random.default_rng(0)
    width = shape.width

    def matrix(*size: int, scale: float = 0.02) -> Array:
        return (random.standard_normal(size) * scale).astype(np.float32)

    def norm() -> dict[str, Array]:
        return {"weight": np.ones(width, np.float32), "bias": np.zeros(width, np.float32)}

    weights: dict[str, Array] = {"n_head": np.asarray(shape.heads)}

    def put(name: str, **parts: Array) -> None:
        weights.update({f"{name}.{part}": value for part, value in parts.items()})

    def attention(name: str) -> None:
        for part in ("query", "key", "value"):
            put(f"{name}.{part}", weight=matrix(width, width))
        # What a block adds is kept small, so that the position decides.
        put(f"{name}.out", weight=matrix(width, width, scale=1e-4))
        put(f"{name}_ln", **norm())

    def block(name: str, *, has_cross_attention: bool) -> None:
        attention(f"{name}.attn")
        if has_cross_attention:
            attention(f"{name}.cross_attn")
        put(f"{name}.mlp.0", weight=matrix(4 * width, width))
        put(f"{name}.mlp.2", weight=matrix(width, 4 * width, scale=1e-4))
        put(f"{name}.mlp_ln", **norm())

    for layer in range(shape.layers):
        block(f"encoder.blocks.{layer}", has_cross_attention=False)
        block(f"decoder.blocks.{layer}", has_cross_attention=True)
    zeros = np.zeros(width, np.float32)
    put("encoder.conv1", weight=matrix(width, layout.N_MELS, 3), bias=zeros)
    put("encoder.conv2", weight=matrix(width, width, 3), bias=zeros)
    put("encoder.ln_post", **norm())
    put("decoder.ln", **norm())
    weights["encoder.positional_embedding"] = layout.sinusoids(layout.N_AUDIO_CTX, width)

    places = matrix(layout.N_TEXT_CTX, width, scale=1.0)
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    embedding = np.zeros((layout.N_VOCAB, width), np.float32)
    words = list(layout.WORD_IDS.values())
    first, last = layout.TIMESTAMP_BEGIN, layout.TIMESTAMP_BEGIN + 100
    said = [first, *(words[(7 * index) % len(words)] for index in range(WORDS)), last]
    for place, token in enumerate(said):
        embedding[token] += places[place]
    # Of a few places, since the sum of all would be as loud as any word at the places before.
    embedding[layout.EOT] = places[len(said) : len(said) + 4].sum(axis=0)
    weights["decoder.positional_embedding"] = 10 * places
    weights["decoder.token_embedding.weight"] = embedding
    return weights
