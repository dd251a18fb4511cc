"""The account of a stream: commit and credit told in time, ids and counts that add up."""

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.audio import PcmFormat
from asrd.session import effects
from asrd.session.effects import Effect
from asrd.session.endpoint import Utterance
from asrd.session.ledger import TOLD_EVERY_S, Ledger
from asrd.transcript import Hypothesis

STEP = round(TOLD_EVERY_S * 16000)
HELLO = Hypothesis(text="hello")
UTTERANCE = Utterance(start=10, end=90, speech_start=20, speech_end=80, origin=5)


def ledger(
    *, window: int | None = 64000, start_offset: int = 0, start_id: int = 0, rate: int = 16000
) -> Ledger:
    return Ledger(
        3,
        PcmFormat(sample_rate=rate),
        start_offset=start_offset,
        start_id=start_id,
        window=window,
    )


def test_the_opening_names_the_credit_from_the_commit_on() -> None:
    book = ledger(start_offset=1000)
    book.move_to(1500)
    assert book.opened() == effects.OpenedStream(stream=3, credit=65500)
    assert ledger(window=None).opened() == effects.OpenedStream(stream=3, credit=None)


def test_the_commit_never_goes_back() -> None:
    book = ledger()
    book.move_to(500)
    book.move_to(400)
    assert book.committed == 500


def test_a_commit_is_told_by_itself_once_it_has_moved_far_enough() -> None:
    book = ledger(window=None)
    book.move_to(STEP - 1)
    assert list(book.due()) == []
    book.move_to(STEP)
    assert list(book.due()) == [effects.Committed(stream=3, offset=STEP)]
    assert list(book.due()) == []


def test_a_commit_that_moves_far_at_once_is_told_second_by_second() -> None:
    book = ledger(window=None)
    book.move_to(3 * 16000 + STEP)
    assert [told.offset for told in book.due() if isinstance(told, effects.Committed)] == [
        16000,
        32000,
        48000,
        48000 + STEP,
    ]
    assert [told.offset for told in book.advance(5 * 16000 + STEP, deque())] == [64000 + STEP]


def test_a_hole_without_end_is_told_in_one_go() -> None:
    book = ledger(window=None)
    book.move_to(2**63)
    assert list(book.due()) == [effects.Committed(stream=3, offset=2**63)]


def test_a_commit_that_moves_far_is_told_from_origin_to_origin() -> None:
    book = ledger(window=None)
    origins = deque([15000, 30000, 33000, 46000, 70000])
    told = list(book.advance(60000, origins))
    assert [ack.offset for ack in told] == [15000, 30000, 46000]  # 33000 is too near to be told
    assert list(origins) == [70000]
    assert book.committed == 60000
    assert list(book.due()) == [effects.Committed(stream=3, offset=60000)]


def test_origins_are_positions_and_commits_are_offsets() -> None:
    book = ledger(window=None, rate=48000)
    assert [ack.offset for ack in book.advance(96000, deque([16000, 32000]))] == [48000, 96000]


@pytest.mark.parametrize("teller", ["segment", "flushed"])
def test_a_commit_told_with_something_else_is_not_told_again(teller: str) -> None:
    book = ledger(window=None)
    book.move_to(STEP)
    told: Effect = book.flushed(STEP) if teller == "flushed" else book.segment(UTTERANCE, HELLO, 0)
    assert isinstance(told, effects.Flushed | effects.Segment)
    assert told.offset == STEP
    assert list(book.due()) == []


def test_credit_follows_the_commit_also_where_a_segment_told_it() -> None:
    book = ledger()
    book.move_to(STEP)
    book.segment(UTTERANCE, HELLO, 0)
    assert list(book.due()) == [effects.CreditRaised(stream=3, offset=64000 + STEP)]
    assert book.credit == 64000 + STEP


def test_a_sender_is_overdrawn_past_twice_the_window() -> None:
    book = ledger()
    book.move_to(100)
    assert not book.is_overdrawn(100 + 128000)
    assert book.is_overdrawn(101 + 128000)
    assert not ledger(window=None).is_overdrawn(10**12)


def test_segments_are_numbered_and_counted_and_drops_added_up() -> None:
    book = ledger(start_id=7, rate=48000)
    told = [book.segment(UTTERANCE, HELLO, 0.5) for _ in range(3)]
    assert [segment.id for segment in told] == [7, 8, 9]
    first = told[0]
    assert (first.window_start, first.start, first.end) == (10, 20, 80)
    assert book.next_id == 10
    book.dropped(0, 100, "backlog")
    book.dropped(100, 150, "provider_failed")
    book.move_to(480)
    assert book.closed("idle", 96000) == effects.StreamClosed(
        stream=3, reason="idle", offset=480, segments=3, audio=32000, dropped=150
    )


@given(st.lists(st.integers(0, 3 * STEP), max_size=40))
def test_what_is_told_grows_and_never_lags_by_a_step(moves: list[int]) -> None:
    book = ledger()
    acks, raised, offset = [0], [64000], 0
    for move in moves:
        offset += move
        book.move_to(offset)
        for told in book.due():
            assert isinstance(told, effects.Committed | effects.CreditRaised)
            (acks if isinstance(told, effects.Committed) else raised).append(told.offset)
        assert offset - acks[-1] < STEP
        assert 0 <= offset + 64000 - raised[-1] < STEP
    for told_offsets in (acks, raised):
        assert all(sooner < later for sooner, later in pairwise(told_offsets))
