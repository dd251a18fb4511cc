"""Length-prefixed frames: a 4-byte unsigned big-endian length N, then N bytes.

The same framing carries clients' messages, recordings and the calls to worker processes, so it
stands in the vocabulary and knows nothing of what is inside a frame.
"""

import struct
from collections.abc import Iterator

HEADER = struct.Struct(">I")


class FrameError(Exception):
    """A header that announces no acceptable frame. The stream of bytes cannot go on behind it."""


class FrameSplitter:
    """Cuts a stream of bytes into frames, refusing a bad length at its header.

    A frame that lies whole in the bytes just fed is yielded as a view of them, without a copy; one
    that arrives in pieces is put together in a buffer that never outgrows that frame.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._partial = bytearray()

    @property
    def is_mid_frame(self) -> bool:
        """Whether the bytes so far end inside a frame."""
        return bool(self._partial)

    def feed(self, data: memoryview) -> Iterator[memoryview]:
        """Yield each payload that `data` completes; a view lives until the next one is asked for.

        Raises:
            FrameError: the length is 0 or over the limit. Nothing may be fed after that.
        """
        position = 0
        size = len(data)
        while self._partial and position < size:
            wanted = HEADER.size
            if len(self._partial) >= HEADER.size:
                wanted += self._length(self._partial, 0)
            taken = data[position : position + wanted - len(self._partial)]
            self._partial += taken
            position += len(taken)
            if len(self._partial) == wanted > HEADER.size:
                whole, self._partial = self._partial, bytearray()
                yield memoryview(whole)[HEADER.size :]
            elif len(self._partial) == HEADER.size:
                self._length(self._partial, 0)  # refuse now, before anything of the frame is kept
        while size - position >= HEADER.size:
            end = position + HEADER.size + self._length(data, position)
            if end > size:
                break
            yield data[position + HEADER.size : end]
            position = end
        if position < size:
            self._partial += data[position:]

    def _length(self, data: bytearray | memoryview, position: int) -> int:
        length: int = HEADER.unpack_from(data, position)[0]
        if not 1 <= length <= self._max_frame_bytes:
            raise FrameError(
                f"a frame of {length} bytes was announced; 1 to {self._max_frame_bytes} are allowed"
            )
        return length
