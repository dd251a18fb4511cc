"""The audio of a stream that is not finished, by its offsets: the log that nothing is lost from."""

from bisect import bisect_right
from dataclasses import dataclass

JOINED_BYTES = 4096
"""Small chunks are joined up to this size, so that one of a single sample costs no object."""


@dataclass(slots=True)
class _Piece:
    start: int
    data: bytes | bytearray


class Held:
    """Audio from `start` to `end`. Offsets are samples per channel.

    It grows at the end by what is sent and is forgotten at the start by what is finished. Whole
    pieces are let go of, so at most one piece more is in memory than `start` says. It has holes
    where its sender has skipped what he never had.
    """

    def __init__(self, frame_bytes: int, start: int) -> None:
        self._frame_bytes = frame_bytes
        self._pieces: list[_Piece] = []
        self._skipped_samples = 0
        self.start = start
        self.end = start

    def skip(self, samples: int) -> None:
        """Leave a hole before what is appended next. Without that there is none."""
        self._skipped_samples += samples

    def append(self, data: bytes) -> None:
        """Add whole frames behind `end`. Large ones are kept as they are, without a copy."""
        if not data:
            return
        last = self._pieces[-1].data if self._pieces and not self._skipped_samples else None
        self.end += self._skipped_samples
        self._skipped_samples = 0
        is_small = len(data) < JOINED_BYTES
        if isinstance(last, bytearray) and len(last) + len(data) <= JOINED_BYTES:
            last += data
        else:
            self._pieces.append(_Piece(self.end, bytearray(data) if is_small else data))
        self.end += len(data) // self._frame_bytes

    def forget_before(self, offset: int) -> None:
        """What lies before `offset` will not be needed again."""
        if offset <= self.start:
            return
        self.start = min(offset, self.end)
        is_all = self.start == self.end
        del self._pieces[: len(self._pieces) if is_all else self._index(self.start)]

    def first_from(self, offset: int) -> int:
        """The first sample from `offset` on that is held; `end` where none is."""
        if not self.start <= offset < self.end:
            return min(max(offset, self.start), self.end)
        index = self._index(offset)
        piece = self._pieces[index]
        if offset < self._end_of(piece):
            return max(offset, piece.start)  # there may be a hole before the first
        return self._pieces[index + 1].start

    def chunk(self, offset: int, max_samples: int) -> bytes:
        """Audio from `offset` on: at least a sample and at most `max_samples`.

        `offset` lies from `start` to before `end`, and in no hole.
        """
        if not self.start <= offset < self.end:
            raise IndexError(f"offset {offset} is not held: {self.start} to {self.end} is")
        piece = self._pieces[self._index(offset)]
        if not piece.start <= offset < self._end_of(piece):
            raise IndexError(f"offset {offset} lies in a hole")
        begin = (offset - piece.start) * self._frame_bytes
        if begin == 0 and len(piece.data) <= max_samples * self._frame_bytes:
            return bytes(piece.data)  # of bytes that is no copy
        return bytes(memoryview(piece.data)[begin : begin + max_samples * self._frame_bytes])

    @property
    def held_bytes(self) -> int:
        """What it has in memory."""
        return sum(len(piece.data) for piece in self._pieces)

    def _end_of(self, piece: _Piece) -> int:
        return piece.start + len(piece.data) // self._frame_bytes

    def _index(self, offset: int) -> int:
        """The piece that holds `offset`."""
        return max(0, bisect_right(self._pieces, offset, key=lambda piece: piece.start) - 1)
