"""Frames out of a stream of bytes, wherever the stream is cut."""

import struct
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrd.framing import FrameError, FrameSplitter

FIXED = settings(derandomize=True, deadline=None, max_examples=200)
LIMIT = 1000


def framed(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def payloads(splitter: FrameSplitter, reads: Iterable[bytes]) -> list[bytes]:
    """What the splitter yields, copied out because a view lives only until the next."""
    return [bytes(view) for data in reads for view in splitter.feed(memoryview(data))]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def test_a_whole_frame_yields_its_payload() -> None:
    splitter = FrameSplitter(LIMIT)
    assert payloads(splitter, [framed(b"hello")]) == [b"hello"]
    assert not splitter.is_mid_frame


def test_a_whole_frame_is_yielded_without_a_copy() -> None:
    """The view that comes out shares the memory that was fed."""
    data = bytearray(framed(b"hello"))
    (view,) = FrameSplitter(LIMIT).feed(memoryview(data))
    data[4:5] = b"j"
    assert bytes(view) == b"jello"


def test_nothing_fed_yields_nothing() -> None:
    splitter = FrameSplitter(LIMIT)
    assert payloads(splitter, [b""]) == []
    assert not splitter.is_mid_frame


def test_several_frames_in_one_read_come_in_order() -> None:
    data = framed(b"one") + framed(b"two") + framed(b"three")
    assert payloads(FrameSplitter(LIMIT), [data]) == [b"one", b"two", b"three"]


def test_frames_fed_byte_by_byte_are_the_same() -> None:
    data = framed(b"one") + framed(b"\x00") + framed(bytes(LIMIT))
    assert payloads(FrameSplitter(LIMIT), single_bytes(data)) == [b"one", b"\x00", bytes(LIMIT)]


def test_frames_cut_in_two_at_every_byte_are_the_same() -> None:
    data = framed(b"one") + framed(b"two")
    for cut in range(len(data) + 1):
        assert payloads(FrameSplitter(LIMIT), [data[:cut], data[cut:]]) == [b"one", b"two"]


def test_the_splitter_knows_whether_it_stands_inside_a_frame() -> None:
    data = framed(b"one")
    for cut in range(len(data) + 1):
        splitter = FrameSplitter(LIMIT)
        payloads(splitter, [data[:cut]])
        assert splitter.is_mid_frame == (0 < cut < len(data))


@pytest.mark.parametrize("length", [1, LIMIT])
def test_a_length_at_a_bound_is_accepted(length: int) -> None:
    assert payloads(FrameSplitter(LIMIT), [framed(bytes(length))]) == [bytes(length)]


@pytest.mark.parametrize("length", [0, LIMIT + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("cut", range(5))
def test_a_length_past_a_bound_is_refused_at_the_header(length: int, cut: int) -> None:
    """Nothing of the frame need arrive: the fourth byte of the header is enough."""
    header = struct.pack(">I", length)
    splitter = FrameSplitter(LIMIT)
    with pytest.raises(FrameError, match=rf"of {length} bytes .* 1 to {LIMIT}"):
        payloads(splitter, [header[:cut], header[cut:]])


@pytest.mark.parametrize("cut", range(len(framed(b"good")) + 1))
def test_a_good_frame_before_a_bad_length_is_still_yielded(cut: int) -> None:
    data = framed(b"good") + bytes(4)
    seen: list[bytes] = []
    splitter = FrameSplitter(LIMIT)
    views = (view for part in (data[:cut], data[cut:]) for view in splitter.feed(memoryview(part)))
    with pytest.raises(FrameError):
        seen.extend(map(bytes, views))
    assert seen == [b"good"]


def test_a_header_that_announces_the_most_allocates_nothing_until_bytes_arrive() -> None:
    """A peer pays for every byte of memory with a byte that it sent."""
    limit = 2**30
    splitters = [FrameSplitter(limit) for _ in range(100)]
    header = memoryview(struct.pack(">I", limit))
    tracemalloc.start()
    try:
        for splitter in splitters:
            assert list(splitter.feed(header)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 300


def test_a_frame_in_many_reads_costs_its_own_size_in_memory() -> None:
    """The buffer and what is read from it: no second copy of what has come so far."""
    size = 2**20
    splitter = FrameSplitter(size)
    read = memoryview(bytes(2**12))
    header = memoryview(struct.pack(">I", size))
    tracemalloc.start()
    try:
        assert list(splitter.feed(header)) == []
        views = [view for _ in range(size // len(read)) for view in splitter.feed(read)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [len(view) for view in views] == [size]
    assert peak < 1.5 * size


def test_the_buffer_is_let_go_with_its_frame() -> None:
    splitter = FrameSplitter(2**20)
    data = framed(bytes(2**20))
    payloads(splitter, [data[:-1], data[-1:]])
    assert len(splitter._partial) == 0


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(min_value=0, max_value=300), max_size=8),
)
@FIXED
def test_any_cut_of_a_stream_of_frames_yields_the_same_payloads(
    contents: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(framed(content) for content in contents)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    reads = [data[a:b] for a, b in pairwise(edges)]
    assert payloads(FrameSplitter(LIMIT), reads) == contents


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(min_value=1, max_value=80))
@FIXED
def test_arbitrary_bytes_never_outgrow_the_frame_that_they_announce(
    reads: list[bytes], limit: int
) -> None:
    """What waits in the buffer is the header and less than the frame; only FrameError is raised."""
    splitter = FrameSplitter(limit)
    for data in reads:
        try:
            for view in splitter.feed(memoryview(data)):
                assert 1 <= len(view) <= limit
        except FrameError:
            return
        held = bytes(splitter._partial)
        if len(held) < 4:
            continue
        (announced,) = struct.unpack_from(">I", held)
        assert 1 <= announced <= limit
        assert len(held) < 4 + announced
