"""ggml files of Whisper models, as far as telling a whole one from a damaged one takes.

The engine reads such a file to its end and takes a last tensor that lacks its end for whole, so
what a broken download left may load and read nonsense.
"""

import struct
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

_MAGIC = 0x67676D6C
_HEAD = struct.Struct("<12i")
_TWO, _ONE, _TENSOR = struct.Struct("<2i"), struct.Struct("<i"), struct.Struct("<3i")
_MOST_DIMENSIONS = 4

# By the number of a file's type: what a weight takes. Others take no less than the default.
_BITS_PER_WEIGHT = {0: 32.0, 1: 16.0, 2: 4.5, 3: 5.0, 7: 8.5, 8: 5.5, 9: 6.0}
_FEWEST_BITS = 2.0
_MOST_KINDS = 64
_VERSIONED = 1_000  # a quantised file adds thousands to the number: the scheme's version

# By the number of a tensor's type: weights per block, and bytes per block.
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
}


class _Head(NamedTuple):
    """The first numbers of a file, in their order."""

    magic: int
    words: int
    audio_positions: int
    audio_width: int
    audio_heads: int
    audio_layers: int
    text_positions: int
    text_width: int
    text_heads: int
    text_layers: int
    mels: int
    kind: int

    @property
    def is_sound(self) -> bool:
        """Whether the engine can live with these numbers; it aborts the process over some."""
        return (
            min(self[:-1]) > 0
            and self.audio_width % self.audio_heads == 0
            and self.text_width % self.text_heads == 0
            and 0 <= self.kind % _VERSIONED < _MOST_KINDS
        )

    @property
    def least_bytes(self) -> int:
        """What the matrices of such a model take, and the positions, which are float32."""
        weights = (
            self.words * self.text_width
            + self.audio_layers * 12 * self.audio_width**2
            + self.text_layers * 16 * self.text_width**2
            + 3 * self.audio_width * (self.mels + self.audio_width)
        )
        bits = _BITS_PER_WEIGHT.get(self.kind % _VERSIONED, _FEWEST_BITS)
        positions = self.audio_positions * self.audio_width + self.text_positions * self.text_width
        return int(weights * bits / 8) + 4 * positions


def find_problem(path: Path) -> str:
    """What is wrong with the file by its first 48 bytes and its length; empty where nothing is.

    A file that lacks only a little of its end is found by `is_whole` alone, which reads more.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            first = file.read(_HEAD.size)
    except OSError as error:
        return f"The file {path} cannot be read: {error.strerror}."
    if len(first) < _HEAD.size or (head := _Head._make(_HEAD.unpack(first))).magic != _MAGIC:
        return f"The file {path} is not a ggml model."
    if not head.is_sound:
        return f"The file {path} is damaged."
    if size_bytes < head.least_bytes:
        return (
            f"The file {path} is cut off: it has {size_bytes / 1e6:.1f} MB "
            f"of at least {head.least_bytes / 1e6:.1f} MB."
        )
    return ""


def is_whole(path: Path) -> bool:
    """Whether the file reaches to the end of its last tensor.

    Reads the lengths of the tokens and the heads of the tensors: some 15 ms. What cannot be
    understood is left for the engine to judge.

    Raises:
        OSError: it cannot be read.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        try:
            file.seek(_HEAD.size)
            bins, width = _TWO.unpack(file.read(_TWO.size))
            file.seek(4 * bins * width, 1)
            (tokens,) = _ONE.unpack(file.read(_ONE.size))
            for _ in range(tokens):
                (length,) = _ONE.unpack(file.read(_ONE.size))
                file.seek(length, 1)
            while file.tell() < size_bytes:
                length_bytes = _tensor_bytes(file)
                if length_bytes is None:
                    return True
                file.seek(length_bytes, 1)
        except (struct.error, OSError, ValueError):  # too short to hold a number, or to seek by it
            return False
        return file.tell() == size_bytes


def _tensor_bytes(file: BufferedReader) -> int | None:
    """Read a tensor's head and return the length of its data; None for an unknown type."""
    dimensions, name_bytes, kind = _TENSOR.unpack(file.read(_TENSOR.size))
    if kind not in _BLOCKS or not 0 < dimensions <= _MOST_DIMENSIONS:
        return None
    weights = 1
    for _ in range(dimensions):
        weights *= _ONE.unpack(file.read(_ONE.size))[0]
    file.seek(name_bytes, 1)
    block_weights, block_bytes = _BLOCKS[kind]
    return int(weights // block_weights * block_bytes)
