"""Counters and percentiles of the latest values."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.scheduler.measures import KEPT_VALUES, Latencies, Tally


def latencies(*seconds: float) -> Latencies:
    kept = Latencies()
    for value in seconds:
        kept.add(value)
    return kept


def test_before_the_first_value_there_is_nothing_to_tell() -> None:
    assert Latencies().percentiles_ms() == {}


def test_one_value_is_every_percentile() -> None:
    assert latencies(0.25).percentiles_ms() == {"p50": 250.0, "p95": 250.0, "p99": 250.0}


def test_percentiles_of_a_hundred_values_are_their_ranks() -> None:
    kept = latencies(*(value / 1000 for value in range(100, 0, -1)))
    assert kept.percentiles_ms() == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


@pytest.mark.parametrize(("count", "p50"), [(2, 1.0), (3, 2.0), (4, 2.0), (5, 3.0), (6, 3.0)])
def test_the_median_is_the_nearest_rank(count: int, p50: float) -> None:
    kept = latencies(*(value / 1000 for value in range(1, count + 1)))
    assert kept.percentiles_ms()["p50"] == p50


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(values: list[int]) -> None:
    told = latencies(*(value / 1000 for value in values)).percentiles_ms()
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
        rank = ceil(Fraction(percent, 100) * len(values))
        assert told[name] == pytest.approx(sorted(values)[rank - 1])
    assert told["p50"] <= told["p95"] <= told["p99"]


def test_only_the_latest_values_count() -> None:
    kept = latencies(*[100.0] * KEPT_VALUES, *[0.001] * KEPT_VALUES)
    assert kept.percentiles_ms() == {"p50": 1.0, "p95": 1.0, "p99": 1.0}


def test_a_tally_begins_at_nothing() -> None:
    assert Tally() == Tally(
        waiting=0,
        decoding=0,
        finals=0,
        partials=0,
        failed=0,
        audio_s=0.0,
        decode_s=0.0,
        dropped_s=0.0,
    )
