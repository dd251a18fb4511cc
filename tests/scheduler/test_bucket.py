"""How much may pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.scheduler.bucket import EARLY_S, TokenBucket

RATES = st.floats(0.1, 1e6)
AMOUNTS = st.floats(0.001, 1e6)
TAKES = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.1, 30.0)), min_size=1, max_size=60)


def test_the_burst_passes_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(10.0, 50.0, 100.0)
    assert bucket.take(50.0, 100.0) == 0.0
    assert bucket.take(10.0, 100.0) == pytest.approx(1.0)
    assert bucket.take(10.0, 100.5) == pytest.approx(0.5)
    assert bucket.take(10.0, 101.0) == 0.0
    assert bucket.take(10.0, 101.0) == pytest.approx(1.0)


def test_what_does_not_pass_takes_nothing() -> None:
    bucket = TokenBucket(10.0, 50.0, 0.0)
    bucket.take(45.0, 0.0)
    for _ in range(100):
        assert bucket.take(20.0, 0.0) == pytest.approx(1.5)
    assert bucket.take(5.0, 0.0) == 0.0


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket(10.0, 50.0, 0.0)
    assert bucket.take(50.0, 1e6) == 0.0
    assert bucket.take(10.0, 1e6) == pytest.approx(1.0)


def test_an_amount_above_the_burst_passes_when_the_bucket_is_full_and_is_paid_off() -> None:
    bucket = TokenBucket(10.0, 50.0, 0.0)
    assert bucket.take(80.0, 0.0) == 0.0
    assert bucket.take(10.0, 0.0) == pytest.approx(4.0)
    assert bucket.take(80.0, 0.0) == pytest.approx(8.0)
    assert bucket.take(80.0, 8.0) == 0.0


def test_a_time_before_the_latest_is_no_time() -> None:
    bucket = TokenBucket(10.0, 50.0, 100.0)
    bucket.take(50.0, 100.0)
    for now_s in (99.0, 100.0) * 50:
        assert bucket.take(10.0, now_s) == pytest.approx(1.0)
    assert bucket.take(10.0, 101.0) == 0.0


@given(RATES, AMOUNTS, st.lists(AMOUNTS, min_size=1, max_size=20), st.floats(0.0, 1e9))
def test_whoever_waits_as_long_as_he_was_told_passes(
    rate_per_s: float, burst: float, amounts: list[float], now_s: float
) -> None:
    bucket = TokenBucket(rate_per_s, burst, now_s)
    for amount in amounts:
        wait_s = bucket.take(amount, now_s)
        now_s += wait_s
        if wait_s > 0:
            assert bucket.take(amount, now_s) == 0.0


@given(RATES, AMOUNTS, AMOUNTS, AMOUNTS)
def test_nobody_is_made_to_wait_too_long(
    rate_per_s: float, burst: float, first: float, second: float
) -> None:
    bucket = TokenBucket(rate_per_s, burst, 0.0)
    bucket.take(first, 0.0)
    wait_s = bucket.take(second, 0.0)
    if wait_s > 1e-3:
        assert bucket.take(second, wait_s * 0.999 - EARLY_S) > 0.0


@given(st.floats(0.1, 20.0), st.floats(1.0, 40.0), TAKES)
def test_between_any_two_moments_no_more_passes_than_burst_and_rate_allow(
    rate_per_s: float, burst: float, takes: list[tuple[float, float]]
) -> None:
    bucket, now_s, passed = TokenBucket(rate_per_s, burst, 0.0), 0.0, []
    for pause_s, amount in takes:
        now_s += pause_s
        if bucket.take(amount, now_s) == 0.0:
            passed.append((now_s, amount))
    for begin, (begin_s, _) in enumerate(passed):
        for end in range(begin + 1, len(passed) + 1):
            *earlier, (end_s, last) = passed[begin:end]
            allowed = burst + rate_per_s * (end_s - begin_s + 2 * EARLY_S)
            # one that is larger than the burst is weighed as the burst when it passes
            assert sum(amount for _, amount in earlier) + min(last, burst) <= allowed + 1e-6


@given(st.floats(0.5, 20.0), st.floats(1.0, 40.0), st.floats(0.1, 80.0))
def test_in_the_long_run_the_whole_rate_passes(
    rate_per_s: float, burst: float, amount: float
) -> None:
    bucket, now_s, passed = TokenBucket(rate_per_s, burst, 0.0), 0.0, 0.0
    for _ in range(400):
        wait_s = bucket.take(amount, now_s)
        now_s += wait_s
        passed += amount if wait_s == 0.0 else 0.0
    assert abs(passed - rate_per_s * now_s) <= burst + 2 * amount


def test_a_bucket_that_ran_dry_lets_nothing_pass_before_it_is_refilled() -> None:
    bucket = TokenBucket(1.0, 10.0, 0.0, refill=4.0)
    assert [bucket.take(1.0, 0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(1.0, 0.0) == 4.0
    assert bucket.take(1.0, 3.0) == 1.0
    assert [bucket.take(1.0, 4.0) for _ in range(5)] == [0.0] * 4 + [4.0]
