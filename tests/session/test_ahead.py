"""The queue between hearing and decoding: utterances and marks, in order."""

import pytest

from asrd.session.ahead import Ahead, Queued
from asrd.session.endpoint import Utterance
from asrd.session.intake import Mark, MarkKind

FLUSH = Mark(kind=MarkKind.FLUSH, offset=100, resume=100)


def spoken(start: int, end: int) -> Queued:
    utterance = Utterance(start=start, end=end, speech_start=start, speech_end=end, origin=start)
    return Queued(utterance=utterance, queued_at_s=0.0)


def ahead(*items: Queued | Mark) -> Ahead:
    queue = Ahead()
    for item in items:
        queue.put(item)
    return queue


def test_utterances_and_marks_come_out_in_the_order_they_went_in() -> None:
    first, second = spoken(0, 100), spoken(100, 200)
    queue = ahead(first, FLUSH, second)
    assert queue.head is queue.first is first
    assert queue.last_end == 200
    assert queue.pop_mark() is None
    assert queue.pop() is first
    assert queue.pop_mark() is FLUSH
    assert queue.pop() is second
    assert len(queue) == 0
    assert queue.pop_mark() is None
    assert queue.last_end is None


@pytest.mark.parametrize("queue", [ahead(), ahead(FLUSH)])
def test_to_ask_for_an_utterance_where_none_stands_is_a_bug(queue: Ahead) -> None:
    with pytest.raises(AssertionError, match="expected"):
        queue.pop()


def test_what_is_being_read_does_not_wait_and_is_not_dropped() -> None:
    queue = ahead(spoken(0, 100), FLUSH, spoken(100, 150), spoken(200, 230))
    assert queue.waiting(has_begun=False) == [100, 50, 30]
    assert queue.waiting(has_begun=True) == [50, 30]
    dropped = [queue.drop_oldest(has_begun=True) for _ in range(3)]
    assert [each and (each.start, each.end) for each in dropped] == [(100, 150), (200, 230), None]
    assert queue.pop().utterance.start == 0
    assert queue.head is FLUSH


def test_the_oldest_is_dropped_first_and_marks_stay() -> None:
    queue = ahead(spoken(0, 100), FLUSH, spoken(100, 150))
    dropped = queue.drop_oldest(has_begun=False)
    assert dropped is not None
    assert dropped.start == 0
    assert queue.head is FLUSH


def test_utterances_that_look_alike_are_told_apart() -> None:
    """The second goes, although the first is equal to it in every number."""
    first, second = spoken(0, 100), spoken(0, 100)
    queue = ahead(first, second)
    queue.drop_oldest(has_begun=True)
    assert queue.pop() is first
    assert len(queue) == 0


def test_nothing_stays_when_the_stream_ends() -> None:
    queue = ahead(spoken(0, 100), FLUSH)
    queue.clear()
    assert len(queue) == 0
