"""Whether a file of CTranslate2 weights is whole, and what shape they have, without reading them.

The format is a list: each entry has a name, a shape, a type, the number of its bytes, and these
bytes. Going from entry to entry finds a file that was cut off anywhere, which the engine would find
only after reading all of it, and says so in a sentence that helps.
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FORMAT = 6
_BEGIN = 4
_LONGEST_HEADER_BYTES = 1024
_MOST_ENTRIES = 100_000
_DECODER_LAYER = re.compile(r"decoder/layer_(\d+)/")
_DECODER_WORDS = "decoder/embeddings/weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    """How many layers a model's decoder has, and how wide they are."""

    layers: int
    width: int


def find_damage(path: Path) -> str:
    """Say what is wrong with the file of weights at `path`; the empty text when nothing is seen.

    Files of other versions of the format than the one known here are left to the engine.

    Raises:
        OSError: the file cannot be read.
    """
    facts = path.stat()
    return _find_damage(path, facts.st_size, facts.st_mtime_ns)


def decoder_shape(path: Path) -> DecoderShape | None:
    """The shape of the decoder whose weights are in the file at `path`; None where nobody can tell.

    Raises:
        OSError: the file cannot be read.
    """
    layers, width = 0, 0
    with path.open("rb") as file:
        try:
            for name, shape in _entries(file.fileno()):
                if layer := _DECODER_LAYER.match(name):
                    layers = max(layers, int(layer[1]) + 1)
                elif name == _DECODER_WORDS:
                    width = shape[-1]
        except (struct.error, UnicodeDecodeError):
            return None
    return DecoderShape(layers=layers, width=width) if layers and width else None


@lru_cache(maxsize=64)
def _find_damage(path: Path, size: int, _: int) -> str:
    with path.open("rb") as file:
        try:
            return _walk(file.fileno())
        except (struct.error, UnicodeDecodeError):
            return f"breaks off after {size} bytes"


def _walk(descriptor: int) -> str:
    """Raise struct.error where the file ends before it should."""
    if not _has_known_format(descriptor):
        return ""
    kind, position = _read_text(descriptor, _BEGIN)
    if kind != "WhisperSpec":
        return "holds no Whisper model"
    entries, position = _read_count(descriptor, position)
    if entries > _MOST_ENTRIES:
        return "holds no CTranslate2 model"
    for _ in range(entries):
        _, _, position = _read_entry(descriptor, position)
    (aliases,) = struct.unpack("<I", os.pread(descriptor, 4, position))
    position += 4
    for _ in range(2 * min(aliases, _MOST_ENTRIES)):
        _, position = _read_text(descriptor, position)
    return ""


def _entries(descriptor: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all weights; raises struct.error as `_walk` does."""
    if not _has_known_format(descriptor):
        return
    _, position = _read_text(descriptor, _BEGIN)
    entries, position = _read_count(descriptor, position)
    for _ in range(min(entries, _MOST_ENTRIES)):
        name, shape, position = _read_entry(descriptor, position)
        yield name, shape


def _has_known_format(descriptor: int) -> bool:
    (version,) = struct.unpack("<I", os.pread(descriptor, _BEGIN, 0))
    return bool(version == _FORMAT)


def _read_count(descriptor: int, position: int) -> tuple[int, int]:
    """The number of entries behind the model's kind, and the position of the first."""
    _, entries = struct.unpack("<II", os.pread(descriptor, 8, position))
    return entries, position + 8


def _read_entry(descriptor: int, position: int) -> tuple[str, tuple[int, ...], int]:
    """Name and shape of the entry that begins at `position`, and the position behind it."""
    header = os.pread(descriptor, _LONGEST_HEADER_BYTES, position)
    (name_bytes,) = struct.unpack_from("<H", header)
    at = 2 + name_bytes
    (dimensions,) = struct.unpack_from("<B", header, at)
    shape = struct.unpack_from(f"<{dimensions}I", header, at + 1)
    at += 1 + 4 * dimensions + 1
    (content_bytes,) = struct.unpack_from("<I", header, at)
    name = header[2 : 2 + name_bytes].rstrip(b"\0").decode()
    return name, shape, position + at + 4 + content_bytes


def _read_text(descriptor: int, position: int) -> tuple[str, int]:
    """The text at `position`, and the position behind it."""
    (count,) = struct.unpack("<H", os.pread(descriptor, 2, position))
    text = os.pread(descriptor, count, position + 2)
    if len(text) < count:
        raise struct.error("the text is cut off")
    return text.rstrip(b"\0").decode(), position + 2 + count
