"""Counters and percentiles of the latest values."""

from fractions import Fraction
from itertools import pairwise
from math import ceil, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.scheduler import measures
from asrd.scheduler.measures import KEPT_VALUES, Histogram, Latencies, OfKinds, Outcome, Tally


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


def test_a_tally_has_no_real_time_factor_before_the_first_decode() -> None:
    assert Tally().real_time_factor is None
    assert Tally(audio_s=4.0, decode_s=1.0).real_time_factor == 0.25


@pytest.mark.parametrize(
    ("outcome", "is_partial", "is_aborted", "counted"),
    [
        (Outcome.READ, False, False, {"finals": 1}),
        (Outcome.READ, True, True, {"partials": 1}),
        (Outcome.FAILED, False, False, {"failed": 1}),
        (Outcome.PUT_BACK, False, True, {"aborted": 1}),
        (Outcome.PUT_BACK, False, False, {"failed": 1}),
        (Outcome.NOTHING, False, True, {}),
    ],
)
def test_what_became_of_a_job_is_counted_once(
    outcome: Outcome, is_partial: bool, is_aborted: bool, counted: dict[str, int]
) -> None:
    tally = Tally()
    tally.count(outcome, is_partial=is_partial, is_aborted=is_aborted)
    kinds = ("finals", "partials", "failed", "aborted")
    assert {kind: getattr(tally, kind) for kind in kinds if getattr(tally, kind)} == counted


# ── histograms ────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.floats(0, 100)), st.sets(st.floats(0.001, 90), min_size=1))
def test_a_histogram_tells_how_many_values_were_at_most_each_bound(
    values: list[float], bounds: set[float]
) -> None:
    histogram = Histogram(tuple(sorted(bounds)))
    for value in values:
        histogram.add(value)
    told = dict(histogram.cumulated())
    assert told == {
        bound: sum(value <= bound for value in values) for bound in (*sorted(bounds), inf)
    }
    assert histogram.count == len(values) == told[inf]
    assert histogram.sum == pytest.approx(sum(values))


def test_a_value_may_count_several_times() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.add(2.0, 3)
    assert (histogram.count, histogram.sum) == (3, 6.0)


def test_finals_and_partials_are_counted_apart() -> None:
    both = OfKinds((1.0,))
    both.add(0.5, is_partial=True)
    both.add(2.0, is_partial=True)
    both.add(0.25, is_partial=False)
    assert (both.finals.sum, both.partials.sum) == (0.25, 2.5)


def test_every_histogram_has_bounds_that_ascend() -> None:
    bounds = {name: value for name, value in vars(measures).items() if "_BOUNDS" in name}
    assert len(bounds) == 6
    for name, ascending in bounds.items():
        assert all(lower < upper for lower, upper in pairwise(ascending)), name
