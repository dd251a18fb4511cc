"""How long ticks keep apart: not at all for few streams, some milliseconds for many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.server.gathering import LONGEST_S, PERIOD_S, SHORTEST_S, Gathering


def heard(streams: int, now_s: float = 100.0) -> Gathering:
    """After a tick in which so many streams were scored."""
    gathering = Gathering()
    gathering.begin(now_s)
    for stream in range(streams):
        gathering.count(stream)
    return gathering


@pytest.mark.parametrize("streams", [0, 1, 24])
def test_few_streams_wait_for_nobody(streams: int) -> None:
    assert heard(streams).wait_s(100.0) == 0.0


def test_the_more_streams_the_longer_up_to_a_bound() -> None:
    waits_s = [heard(streams).wait_s(100.0) for streams in (50, 100, 200, 250, 1000)]
    assert waits_s == pytest.approx([0.002, 0.004, 0.008, 0.01, 0.01])


@pytest.mark.parametrize(("streams", "calls"), [(1, 1), (24, 1), (25, 2), (1000, 2)])
def test_of_many_streams_two_calls_may_be_under_way(streams: int, calls: int) -> None:
    assert heard(streams).max_calls == calls


def test_what_has_passed_since_the_last_tick_counts() -> None:
    gathering = heard(1000)
    assert gathering.wait_s(100.004) == pytest.approx(LONGEST_S - 0.004)
    assert gathering.wait_s(100.0 + LONGEST_S - SHORTEST_S / 2) == 0.0
    assert gathering.wait_s(100.1) == 0.0  # who comes alone never waits


def test_a_stream_that_is_scored_again_and_again_counts_once() -> None:
    gathering = heard(1)
    for number in range(200):
        gathering.begin(100.0 + number * 0.001)
        gathering.count(0)
        assert gathering.wait_s(100.0 + number * 0.001) == 0.0


def test_streams_count_over_several_ticks_and_are_forgotten() -> None:
    gathering = heard(100)
    later_s = 100.0 + PERIOD_S
    gathering.begin(later_s)
    gathering.count(0)
    assert gathering.wait_s(later_s) == pytest.approx(0.004)  # those of the period before
    gathering.begin(later_s + PERIOD_S)
    assert gathering.wait_s(later_s + PERIOD_S) == 0.0


@given(
    ticks=st.lists(
        st.tuples(st.floats(0, 1), st.sets(st.integers(0, 500), max_size=500)), max_size=20
    )
)
def test_nobody_waits_longer_than_the_bound(ticks: list[tuple[float, set[int]]]) -> None:
    gathering, now_s = Gathering(), 0.0
    for passed_s, streams in ticks:
        now_s += passed_s
        gathering.begin(now_s)
        for stream in streams:
            gathering.count(stream)
        assert 0.0 <= gathering.wait_s(now_s) <= LONGEST_S
