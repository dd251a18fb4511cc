"""The load benchmark's own arithmetic: what is due when, which frame counts, what is counted."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.audio import SAMPLE_RATE
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.wire import messages as wire
from asrd.wire.codec import encode
from benchmarks.common import percentile
from benchmarks.loading.generator import Played
from benchmarks.loading.material import messages, pause
from benchmarks.loading.pacing import (
    FRAME_S,
    FRAME_SAMPLES,
    SLOTS,
    completing_frame,
    due_after_s,
    slot_of,
    turn,
)
from benchmarks.loading.replies import Replies, is_counted

SEGMENT = wire.Segment(
    stream=1,
    id=0,
    start=0.5,
    end=2.0,
    text="echo",
    offset=4096,
    provider="echo",
    model="echo",
    latency_ms=1.0,
)
ACK = wire.Ack(stream=1, offset=8192)
PARTIAL = wire.Partial(stream=1, id=0, start=0.5, end=1.0, text="ec", stable=0)
EVENT = wire.Event(stream=1, event="speech_start", at=0.5)


def test_turns_come_in_the_order_of_their_times_and_each_slot_once_a_frame() -> None:
    turns = [turn(count) for count in range(3 * SLOTS)]
    times = [each.after_s for each in turns]
    assert times == sorted(times)
    assert [each.slot for each in turns[:SLOTS]] == list(range(SLOTS))
    assert turns[SLOTS].slot == 0
    assert turns[SLOTS].after_s - turns[0].after_s == pytest.approx(FRAME_S)
    assert all(each.after_s == due_after_s(each.slot, each.number) for each in turns)


def test_a_frame_is_due_when_a_microphone_has_the_whole_of_it() -> None:
    assert due_after_s(0, 0) == FRAME_S
    assert due_after_s(0, 9) == pytest.approx(1.0)


def test_streams_are_spread_evenly_over_the_slots() -> None:
    counts = np.bincount([slot_of(stream) for stream in range(500)])
    assert counts.tolist() == [500 // SLOTS] * SLOTS


@given(speech_end=st.integers(512, 10_000_000), silence_ms=st.integers(100, 5000))
def test_the_frame_that_completes_the_silence_holds_the_window_that_does(
    speech_end: int, silence_ms: int
) -> None:
    """Told by walking through the stream as the daemon does, whose windows may begin anywhere."""
    heard = speech_end
    while heard - speech_end < silence_ms * SAMPLE_RATE // 1000:
        heard += WINDOW_SAMPLES
    sent, number = FRAME_SAMPLES, 0
    while sent < heard:
        sent, number = sent + FRAME_SAMPLES, number + 1
    assert completing_frame(speech_end / SAMPLE_RATE, silence_ms / 1000) == number


@pytest.mark.parametrize("message", [SEGMENT, ACK, PARTIAL, EVENT, wire.Pong(id=1)])
def test_what_is_counted_is_found_by_its_first_bytes(message: wire.ServerMessage) -> None:
    assert is_counted(encode(message)[4:]) == isinstance(message, wire.Segment | wire.Ack)


@given(cuts=st.lists(st.integers(0, 400), max_size=6))
def test_replies_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    told = (EVENT, ACK, PARTIAL, SEGMENT, EVENT, ACK)
    data = b"".join(encode(each) for each in told)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    replies = Replies()
    pieces = (data[begin:end] for begin, end in pairwise(edges))
    found = [message for piece in pieces for message in replies.take(piece)]
    assert found == [ACK, SEGMENT, ACK]


def test_material_becomes_whole_frames_that_a_daemon_takes() -> None:
    (first, second) = messages(pause(0.25))
    assert first != second
    assert len(first) == len(second) > 2 * FRAME_SAMPLES


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(each) for each in range(101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99)] == [50.0, 95.0, 99.0]
    assert Played(lags_s=values).lag_p99_s == 99.0
