"""What a stream has yet to say: in order, once for each connection, and nothing cut elsewhere."""

from collections.abc import Iterator

import pytest

from asrd.client.outgoing import Outgoing
from asrd.wire.messages import Audio, Cancel, ClientMessage, Close, Flush, Open


def outgoing(*, credit: int | None = 10**6, limit_samples: int | None = None) -> Outgoing:
    made = Outgoing(Open(stream=1))
    made.credit = credit
    made.limit_samples = limit_samples
    made.go_on_here(0)
    return made


def said(by: Outgoing) -> list[ClientMessage]:
    def until_nothing() -> Iterator[ClientMessage]:
        while (message := by.next()) is not None:
            yield message

    return list(until_nothing())


def spans(messages: list[ClientMessage]) -> list[tuple[int | None, int]]:
    """Offset and samples of each chunk."""
    return [(each.offset, len(each.data) // 2) for each in messages if isinstance(each, Audio)]


def samples(count: int) -> bytes:
    return bytes(2 * count)


def test_audio_goes_with_its_offsets_up_to_the_credit() -> None:
    stream = outgoing(credit=150)
    stream.append(samples(100))
    assert stream.room_samples == 50
    stream.append(samples(100))
    assert spans(said(stream)) == [(0, 150)]  # small chunks are joined
    stream.credit = 180
    assert spans(said(stream)) == [(150, 30)]


def test_what_is_held_is_said_again_on_the_next_connection_from_the_commit() -> None:
    stream = outgoing()
    stream.append(samples(100))
    stream.append(samples(100))
    said(stream)
    stream.committed(120)
    stream.leave()
    assert said(stream) == []
    stream.go_on_here(120)
    assert spans(said(stream)) == [(120, 80)]


def test_a_stream_that_has_to_be_opened_is_opened_before_its_audio() -> None:
    stream = outgoing()
    stream.append(samples(100))
    stream.committed(40)
    opening = Open(stream=1, start_offset=40, start_id=3)
    stream.open_here(opening)
    assert stream.next() == opening
    assert stream.credit == 40  # none until the daemon has given some
    assert said(stream) == []
    stream.credit = 1000
    assert spans(said(stream)) == [(40, 60)]


def test_audio_behind_a_flush_waits_for_its_answer() -> None:
    stream = outgoing()
    stream.append(samples(100))
    due = stream.flush()
    stream.append(samples(100))
    assert [type(message) for message in said(stream)] == [Audio, Flush]
    assert stream.room_samples == 0
    stream.leave()
    stream.go_on_here(0)
    again = said(stream)
    assert spans(again) == [(0, 100)]
    assert [type(message) for message in again] == [Audio, Flush]
    assert stream.flushed(100) is due
    assert spans(said(stream)) == [(100, 100)]


def test_a_flush_answered_twice_answers_no_later_one() -> None:
    """It was asked for before a break and again behind it."""
    stream = outgoing()
    stream.append(samples(100))
    first = stream.flush()
    said(stream)
    assert stream.flushed(100) is first
    stream.append(samples(100))
    second = stream.flush()
    said(stream)
    assert stream.flushed(100) is None
    assert stream.flushed(200) is second


def test_live_audio_that_would_be_forgotten_goes_in_spite_of_a_flush() -> None:
    stream = outgoing(credit=None, limit_samples=150)
    stream.append(samples(100))
    stream.flush()
    assert [type(message) for message in said(stream)] == [Audio, Flush]
    stream.append(samples(100))
    assert said(stream) == []
    stream.append(samples(100))
    assert spans(said(stream)) == [(100, 200)]


def test_what_was_forgotten_leaves_a_hole_in_the_offsets() -> None:
    stream = outgoing(credit=None, limit_samples=150)
    stream.leave()
    for _ in range(4):
        stream.append(samples(100))
        stream.trim()
    stream.go_on_here(0)
    assert spans(said(stream)) == [(250, 150)]


@pytest.mark.parametrize("is_flushing", [False, True])
def test_close_comes_behind_everything_and_again_on_the_next_connection(is_flushing: bool) -> None:
    stream = outgoing()
    stream.append(samples(100))
    if is_flushing:
        stream.flush()
    stream.is_closing = True
    before = [Audio, Flush, Close] if is_flushing else [Audio, Close]
    assert [type(message) for message in said(stream)] == before
    assert not stream.has_next
    stream.leave()
    stream.go_on_here(100)
    assert [type(message) for message in said(stream)] == before[1:]


def test_cancel_overtakes_everything_but_the_opening() -> None:
    stream = outgoing()
    stream.append(samples(100))
    stream.open_here(Open(stream=1))
    stream.is_cancelling = True
    assert [type(message) for message in said(stream)] == [Open, Cancel]
    assert said(stream) == []


def test_a_hole_is_told_by_the_offset_behind_it_and_again_on_the_next_connection() -> None:
    stream = outgoing(credit=None, limit_samples=10**6)
    stream.append(samples(100))
    stream.skip(30)
    assert spans(said(stream)) == [(0, 100)]
    stream.append(samples(50))
    assert spans(said(stream)) == [(130, 50)]
    stream.leave()
    stream.go_on_here(40)
    assert spans(said(stream)) == [(40, 60), (130, 50)]
    stream.leave()
    stream.go_on_here(110)  # a commit in the hole
    assert spans(said(stream)) == [(130, 50)]


def test_a_hole_behind_the_last_audio_keeps_nobody_waiting() -> None:
    stream = outgoing(credit=None, limit_samples=10**6)
    stream.append(samples(100))
    stream.skip(30)
    due = stream.flush()
    stream.is_closing = True
    assert [type(message) for message in said(stream)] == [Audio, Flush, Close]
    assert stream.flushed(100) is due


def test_a_hole_at_the_very_beginning() -> None:
    stream = outgoing(credit=None, limit_samples=10**6)
    stream.skip(30)
    stream.append(samples(50))
    assert spans(said(stream)) == [(30, 50)]
