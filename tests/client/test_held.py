"""The audio that is held, against plain bytes."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asrd.client.held import JOINED_BYTES, Held
from support.profiles import examples

FRAME_BYTES = 4
START = 7


class AgainstBytes(RuleBasedStateMachine):
    """The reference keeps every sample for ever, and None for each that is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.held = Held(FRAME_BYTES, START)
        self.all: list[bytes | None] = []
        self.skipped = 0
        self.start = START

    @property
    def end(self) -> int:
        return START + len(self.all)

    @property
    def needed(self) -> list[bytes | None]:
        return self.all[self.start - START :]

    @rule(samples=st.one_of(st.integers(0, 40), st.integers(1000, 1100)), value=st.integers(0, 255))
    def append(self, samples: int, value: int) -> None:
        data = bytes((value + index) % 256 for index in range(samples * FRAME_BYTES))
        self.held.append(data)
        if samples:
            self.all += [None] * self.skipped
            self.skipped = 0
        self.all += [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)]

    @rule(samples=st.integers(0, 50))
    def skip(self, samples: int) -> None:
        self.held.skip(samples)
        self.skipped += samples

    @rule(ahead=st.integers(-5, 3000))
    def forget(self, ahead: int) -> None:
        self.held.forget_before(self.start + ahead)
        self.start = max(self.start, min(self.start + ahead, self.end))

    @precondition(lambda self: self.start < self.end)
    @rule(place=st.floats(0, 1, exclude_max=True), most=st.integers(1, 2000))
    def read(self, place: float, most: int) -> None:
        offset = self.start + int(place * (self.end - self.start))
        if self.all[offset - START] is None:
            with pytest.raises(IndexError, match="lies in a hole"):
                self.held.chunk(offset, most)
            offset = self.held.first_from(offset)
        data = self.held.chunk(offset, most)
        samples = len(data) // FRAME_BYTES
        assert 0 < samples <= most
        expected = self.all[offset - START :][:samples]
        assert None not in expected
        assert data == b"".join(filter(None, expected))

    @invariant()
    def agrees(self) -> None:
        assert (self.held.start, self.held.end) == (self.start, self.end)
        needed = FRAME_BYTES * (len(self.needed) - self.needed.count(None))
        assert needed <= self.held.held_bytes < needed + 1100 * FRAME_BYTES + 1

    @invariant()
    def can_be_read_whole(self) -> None:
        whole: list[bytes | None] = []
        offset = self.start
        while offset < self.end:
            begin = self.held.first_from(offset)
            whole += [None] * (begin - offset)
            data = self.held.chunk(begin, 500)
            whole += [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)]
            offset = begin + len(data) // FRAME_BYTES
        assert whole == self.needed


TestAgainstBytes = AgainstBytes.TestCase
TestAgainstBytes.settings = examples(60, steps=30)


def test_large_chunks_are_kept_as_they_are_and_small_ones_joined() -> None:
    held = Held(2, 0)
    large = bytes(JOINED_BYTES)
    held.append(large)
    assert held.chunk(0, 10**6) is large
    for _ in range(1000):
        held.append(b"\1\2")
    assert len(held._pieces) == 2


def test_what_is_not_held_cannot_be_read() -> None:
    held = Held(2, 0)
    held.append(bytes(20))
    held.forget_before(4)
    for offset in (3, 10):
        with pytest.raises(IndexError, match="is not held: 4 to 10 is"):
            held.chunk(offset, 1)
