"""Whether a file of CTranslate2 weights is whole, seen without reading the weights.

The format is a list: each entry has a name, a shape, a type, the number of its bytes, and these
bytes. Going from entry to entry finds a file that was cut off anywhere, which the engine would find
only after reading all of it, and says so in a sentence that helps.
"""

import os
import struct
from functools import lru_cache
from pathlib import Path

_FORMAT = 6
_LONGEST_HEADER_BYTES = 1024
_MOST_ENTRIES = 100_000


def find_damage(path: Path) -> str:
    """Say what is wrong with the file of weights at `path`; the empty text when nothing is seen.

    Files of other versions of the format than the one known here are left to the engine.

    Raises:
        OSError: the file cannot be read.
    """
    facts = path.stat()
    return _find_damage(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=64)
def _find_damage(path: Path, size: int, _: int) -> str:
    with path.open("rb") as file:
        try:
            return _walk(file.fileno())
        except (struct.error, UnicodeDecodeError):
            return f"breaks off after {size} bytes"


def _walk(descriptor: int) -> str:
    """Raise struct.error where the file ends before it should."""
    (version,) = struct.unpack("<I", os.pread(descriptor, 4, 0))
    if version != _FORMAT:
        return ""
    position = 4
    kind, position = _read_text(descriptor, position)
    if kind != "WhisperSpec":
        return "holds no Whisper model"
    _, entries = struct.unpack("<II", os.pread(descriptor, 8, position))
    position += 8
    if entries > _MOST_ENTRIES:
        return "holds no CTranslate2 model"
    for _ in range(entries):
        position = _skip_entry(descriptor, position)
    (aliases,) = struct.unpack("<I", os.pread(descriptor, 4, position))
    position += 4
    for _ in range(2 * min(aliases, _MOST_ENTRIES)):
        _, position = _read_text(descriptor, position)
    return ""


def _skip_entry(descriptor: int, position: int) -> int:
    """The position behind the entry that begins at `position`."""
    header = os.pread(descriptor, _LONGEST_HEADER_BYTES, position)
    (name_bytes,) = struct.unpack_from("<H", header)
    at = 2 + name_bytes
    (dimensions,) = struct.unpack_from("<B", header, at)
    at += 1 + 4 * int(dimensions) + 1
    (content_bytes,) = struct.unpack_from("<I", header, at)
    end: int = position + at + 4 + content_bytes
    return end


def _read_text(descriptor: int, position: int) -> tuple[str, int]:
    """The text at `position`, and the position behind it."""
    (count,) = struct.unpack("<H", os.pread(descriptor, 2, position))
    text = os.pread(descriptor, count, position + 2)
    if len(text) < count:
        raise struct.error("the text is cut off")
    return text.rstrip(b"\0").decode(), position + 2 + count
