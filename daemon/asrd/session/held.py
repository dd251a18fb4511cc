"""The audio that a stream still needs, by its position on the 16 kHz clock."""

from collections import deque

import numpy as np

from asrd.audio import NO_SAMPLES, Samples


class HeldAudio:
    """Pieces of audio in order of position; holes between them are allowed.

    Pieces are kept as they came and joined when a window is cut, once per decode.
    """

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, Samples]] = deque()
        self._samples = 0

    def __len__(self) -> int:
        return self._samples

    def append(self, position: int, samples: Samples) -> None:
        """Hold `samples`, which begin at `position` and not before the end of what is held."""
        if len(samples):
            self._pieces.append((position, samples))
            self._samples += len(samples)

    def cut(self, start: int, end: int) -> Samples:
        """The samples in [start, end) that are held, joined."""
        parts = [
            samples[max(0, start - position) : end - position]
            for position, samples in self._pieces
            if position < end and position + len(samples) > start
        ]
        if not parts:
            return NO_SAMPLES
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def forget_before(self, position: int) -> None:
        """Let go of every piece that ends at or before `position`."""
        while self._pieces:
            begin, samples = self._pieces[0]
            if begin + len(samples) > position:
                return
            self._pieces.popleft()
            self._samples -= len(samples)

    def forget_between(self, start: int, end: int) -> None:
        """Let go of every piece that lies within [start, end).

        Pieces are looked at from the latest on, so the cost is that of what came since `start`.
        """
        kept: list[tuple[int, Samples]] = []
        while self._pieces and self._pieces[-1][0] >= start:
            begin, samples = self._pieces.pop()
            if begin + len(samples) > end:
                kept.append((begin, samples))
            else:
                self._samples -= len(samples)
        self._pieces.extend(reversed(kept))
