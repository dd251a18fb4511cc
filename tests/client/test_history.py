"""Each thing is told once, and the counts are those of the whole stream."""

from asrd.client.history import History
from asrd.client.inbox import StreamEvent
from asrd.wire.messages import Ack, Event, Open, Partial
from support.fake_daemon import closed, segment


def lost(kind: str, start_s: float, end_s: float) -> Event:
    return Event(stream=1, event=kind, at=end_s, start=start_s, end=end_s, reason="backlog")


def spoke(kind: str, at_s: float) -> Event:
    return Event(stream=1, event=kind, at=at_s)


def partial(number: int) -> Partial:
    return Partial(stream=1, id=number, start=0.0, end=1.0, text="a", stable=0)


def test_a_segment_is_told_once_and_no_partial_behind_it() -> None:
    history = History(Open(stream=1))
    told: list[StreamEvent] = []
    for message in (partial(0), segment(number=0), segment(number=0), partial(0), partial(1)):
        told += history.accept(message)
    assert told == [partial(0), segment(number=0), partial(1)]


def test_an_ack_that_lies_behind_is_not_told() -> None:
    history = History(Open(stream=1))
    assert history.accept(Ack(stream=1, offset=100)) == [Ack(stream=1, offset=100)]
    assert history.accept(Ack(stream=1, offset=50)) == []
    assert history.committed == 100


def test_each_part_of_what_was_dropped_is_told_once_and_apart_from_gaps() -> None:
    history = History(Open(stream=1))
    assert history.accept(lost("dropped", 1.0, 2.0)) == [lost("dropped", 1.0, 2.0)]
    assert history.accept(lost("dropped", 1.0, 2.0)) == []
    assert history.accept(lost("dropped", 0.5, 3.0)) == [
        lost("dropped", 0.5, 1.0),
        lost("dropped", 2.0, 3.0),
    ]
    assert history.accept(lost("gap", 1.0, 2.0)) == [lost("gap", 1.0, 2.0)]


def test_speech_begins_and_ends_once() -> None:
    history = History(Open(stream=1))
    for kind in ("speech_start", "speech_end"):
        assert history.accept(spoke(kind, 1.5)) == [spoke(kind, 1.5)]
        assert history.accept(spoke(kind, 1.5)) == []
        assert history.accept(spoke(kind, 1.6)) == [spoke(kind, 1.6)]


def test_the_counts_of_all_daemons_are_added() -> None:
    """The first had 4 s, of which 1 s never came and 0.5 s were dropped; the second had 2 s."""
    history = History(Open(stream=1))
    history.accept(lost("gap", 1.0, 2.0))
    history.accept(lost("dropped", 3.0, 3.5))
    history.accept(lost("dropped", 3.9, 4.4))  # behind the commit: the second will see
    history.accept(segment(number=0, offset=64000))
    opening = history.reopen()
    assert (opening.start_offset, opening.start_id) == (64000, 1)
    history.accept(segment(number=1, offset=90000))
    end = closed(offset=96000, segments=1, audio_seconds=2.0, dropped_seconds=0.4)
    (whole,) = history.accept(end)
    assert whole == closed(offset=96000, segments=2, audio_seconds=5.0, dropped_seconds=1.0)


def test_what_one_daemon_had_alone_is_told_as_it_told_it() -> None:
    history = History(Open(stream=1))
    end = closed(offset=5, segments=9, audio_seconds=1.23, dropped_seconds=0.7)
    assert history.accept(end) == [end]
