"""Audio as it arrives: offsets checked, holes found, bytes kept until they are scored.

Receiving a chunk costs an offset check and an append. Conversion to 16 kHz happens once per tick
for all that came, not once per chunk.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np

from asrd.audio import NO_SAMPLES, Converter, PcmFormat, Samples
from asrd.errors import ErrorCode, ProtocolError

JOINED_BYTES = 4096
"""Small chunks are joined up to this size: one of a single sample costs no object of its own."""


class MarkKind(Enum):
    """Why the audio is cut at a mark."""

    FLUSH = auto()
    CLOSE = auto()
    HOLE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place between two chunks. `offset` is where audio stops, `resume` where it goes on."""

    kind: MarkKind
    offset: int
    resume: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Converted audio that begins at `position`; `mark` stands right behind it, if any."""

    position: int
    samples: Samples
    mark: Mark | None


class Intake:
    """The unconverted audio of one stream. Offsets are samples per channel at its own rate.

    `expected` is the offset of the next chunk, `taken` where the unconverted audio begins;
    `waiting` samples are unconverted, `received` is all that ever came. The last `refused` samples
    before `expected` came and were not kept, and no hole stands for them yet. All from `resumed` on
    has come without a hole.
    """

    def __init__(self, pcm_format: PcmFormat, start_offset: int) -> None:
        self._format = pcm_format
        self._queue: deque[bytes | Mark] = deque()
        self._converter = Converter(pcm_format, start_offset)
        self.expected = self.resumed = start_offset
        self.taken = start_offset
        self.received = 0
        self.waiting = 0
        self.refused = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._queue

    @property
    def pieces(self) -> int:
        """Pieces of audio, and marks between them, that wait: what they cost beside samples."""
        return len(self._queue)

    def receive(self, data: bytes, offset: int | None) -> tuple[int, int] | None:
        """Take a chunk in; whatever came before is trimmed off it.

        Returns:
            The hole [start, end) that lies before the chunk, or None.

        Raises:
            ProtocolError: the chunk does not hold whole samples.
        """
        data, hole = self._arrive(data, offset)
        if data:
            self._append(data)
            self.waiting += len(data) // self._format.frame_bytes
        return hole

    def refuse(self, data: bytes, offset: int | None) -> tuple[int, int] | None:
        """Have a chunk count on the clock and as received, and keep nothing of it.

        The hole that it leaves grows with each chunk refused, and is there once `leave_refused` is
        called: which has to be before anything else comes, a hole before the chunk included.

        Returns and raises what `receive` does.
        """
        data, hole = self._arrive(data, offset)
        self.refused += len(data) // self._format.frame_bytes
        return hole

    def leave_refused(self) -> tuple[int, int] | None:
        """Leave a hole where audio was refused: the span [start, end), or None if none was."""
        if not self.refused:
            return None
        start, end = self.expected - self.refused, self.expected
        self.expected, self.refused = start, 0
        self.skip_to(end)
        return start, end

    def _arrive(self, data: bytes, offset: int | None) -> tuple[bytes, tuple[int, int] | None]:
        """Move the clock behind a chunk: the part of it that is new, and the hole before it."""
        frame_bytes = self._format.frame_bytes
        if len(data) % frame_bytes:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                f"audio of {len(data)} bytes does not hold whole samples of {frame_bytes} bytes",
            )
        hole = None
        if offset is not None and offset != self.expected:
            if offset > self.expected:
                hole = (self.expected, offset)
                self.skip_to(offset)
            else:
                data = data[(self.expected - offset) * frame_bytes :]
        frames = len(data) // frame_bytes
        self.expected += frames
        self.received += frames
        return data, hole

    def _append(self, data: bytes) -> None:
        last = self._queue[-1] if self._queue else None
        if isinstance(last, bytes) and len(last) + len(data) <= JOINED_BYTES:
            self._queue[-1] = last + data
        else:
            self._queue.append(data)

    def skip_to(self, offset: int) -> None:
        """Leave a hole up to `offset`."""
        last = self._queue[-1] if self._queue else None
        if isinstance(last, Mark) and last.kind is MarkKind.HOLE:  # nothing came between them
            self._queue[-1] = replace(last, resume=offset)
        else:
            self._queue.append(Mark(kind=MarkKind.HOLE, offset=self.expected, resume=offset))
        self.expected = self.resumed = offset

    def mark(self, kind: MarkKind) -> None:
        """Ask for a cut behind all that came so far."""
        self._queue.append(Mark(kind=kind, offset=self.expected, resume=self.expected))

    def clear(self) -> None:
        """Forget all that waits."""
        self._queue.clear()
        self.waiting = 0

    def drop_oldest(self, frames: int) -> tuple[int, int]:
        """Forget at least `frames` of the oldest audio that waits, or all before the next hole.

        Flushes inside it stay and are answered in their places, so no answer is ever behind
        what was told before it. Returns the span dropped, empty where no audio waits.
        """
        target = max(0, self.waiting - frames)
        start = position = self.taken
        kept: list[Mark] = []
        while self.waiting > target:
            item = self._queue[0]
            if isinstance(item, bytes):
                count = len(item) // self._format.frame_bytes
                position += count
                self.waiting -= count
            else:
                if item.resume > position > start:  # a hole, which was told as such
                    break
                if start == position:
                    start = item.resume
                position = item.resume
                if item.kind is not MarkKind.HOLE:
                    kept.append(item)
            self._queue.popleft()
        if position == start:
            return start, start
        # Each mark resumes where the next one stands, and the last where the audio goes on.
        marks = [Mark(kind=MarkKind.HOLE, offset=self.taken, resume=position), *kept]
        resumes = [*(mark.offset for mark in kept), position]
        self._queue.extendleft(
            replace(mark, resume=resume)
            for mark, resume in zip(reversed(marks), reversed(resumes), strict=True)
        )
        return start, position

    def take(self, max_samples: int) -> Batch:
        """Convert what waits, up to the next mark and about `max_samples` of its own rate."""
        limit = max_samples * self._format.frame_bytes
        chunks: list[bytes] = []
        mark = None
        while self._queue and limit > 0 and mark is None:
            item = self._queue.popleft()
            if isinstance(item, Mark):
                mark = item
            elif len(item) > limit:
                self._queue.appendleft(item[limit:])
                chunks.append(item[:limit])
                limit = 0
            else:
                chunks.append(item)
                limit -= len(item)
        return self._convert(chunks[0] if len(chunks) == 1 else b"".join(chunks), mark)

    def _convert(self, pcm: bytes, mark: Mark | None) -> Batch:
        position = self._converter.position
        samples = self._converter.convert(pcm) if pcm else NO_SAMPLES
        frames = len(pcm) // self._format.frame_bytes
        self.taken += frames
        self.waiting -= frames
        if mark is not None:
            rest = self._converter.finish()
            samples = np.concatenate([samples, rest]) if len(rest) else samples
            self._converter.start_at(mark.resume)
            self.taken = mark.resume
        return Batch(position=position, samples=samples, mark=mark)
