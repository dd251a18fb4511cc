"""What calls of a lane take, learned from those that were made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.scheduler.costs import FORGOTTEN_AFTER, SMOOTHING, Costs, Curve

TIMES_S = st.floats(0.001, 100.0)
CURVES = st.dictionaries(st.integers(1, 40), TIMES_S, min_size=1, max_size=12)
NOTES = st.lists(st.tuples(st.integers(1, 70), TIMES_S), min_size=1, max_size=200)


def known(points: dict[int, float], lane: str = "lane") -> Costs:
    """Costs that were told of one call for each of these counts."""
    costs = Costs()
    for count, took_s in points.items():
        costs.note(lane, count, 4.0 * count, took_s)
    return costs


def curve_of(points: dict[int, float]) -> Curve:
    return Curve(sorted(points.items()))


def test_of_an_unknown_lane_nothing_is_predicted() -> None:
    costs = known({1: 0.1})
    assert costs.predict_s("another", 1) is None
    assert costs.real_time_factor("another") is None
    assert costs.curve("another") is None


def test_a_count_that_was_seen_takes_what_it_took() -> None:
    costs = known({1: 0.1, 2: 0.5, 3: 0.3})
    assert [costs.predict_s("lane", count) for count in (1, 2, 3)] == [0.1, 0.5, 0.3]


def test_lanes_know_nothing_of_each_other() -> None:
    costs = known({1: 0.1})
    costs.note("another", 1, 4.0, 7.0)
    assert costs.predict_s("lane", 1) == 0.1
    assert costs.predict_s("another", 1) == 7.0


def test_the_first_calls_of_a_count_are_their_plain_mean() -> None:
    costs = Costs()
    for took_s in (1.0, 2.0, 6.0):
        costs.note("lane", 1, 4.0, took_s)
    assert costs.predict_s("lane", 1) == pytest.approx(3.0)


def test_later_calls_count_for_an_eighth_each() -> None:
    costs = Costs()
    for _ in range(100):
        costs.note("lane", 1, 4.0, 1.0)
    costs.note("lane", 1, 4.0, 9.0)
    assert costs.predict_s("lane", 1) == pytest.approx(1.0 + 8.0 / SMOOTHING)
    for _ in range(50):
        costs.note("lane", 1, 4.0, 9.0)
    assert costs.predict_s("lane", 1) == pytest.approx(9.0, rel=0.01)


def test_between_known_counts_the_cost_runs_straight() -> None:
    costs = known({2: 0.2, 6: 0.4})
    assert costs.predict_s("lane", 3) == pytest.approx(0.25)
    assert costs.predict_s("lane", 5) == pytest.approx(0.35)


def test_outside_of_known_counts_a_window_costs_what_it_does_at_the_nearest() -> None:
    costs = known({2: 0.2, 6: 0.3})
    assert costs.predict_s("lane", 1) == pytest.approx(0.1)
    assert costs.predict_s("lane", 12) == pytest.approx(0.6)


def test_a_count_that_does_not_come_again_is_forgotten() -> None:
    costs = known({2: 9.0})
    for _ in range(FORGOTTEN_AFTER - 1):
        costs.note("lane", 1, 4.0, 0.1)
    assert costs.predict_s("lane", 2) == 9.0
    costs.note("lane", 1, 4.0, 0.1)
    assert costs.predict_s("lane", 2) == pytest.approx(0.2)


def test_calls_of_other_lanes_make_nothing_forgotten() -> None:
    costs = known({2: 9.0})
    for _ in range(FORGOTTEN_AFTER * 2):
        costs.note("another", 1, 4.0, 0.1)
    assert costs.predict_s("lane", 2) == 9.0


def test_the_real_time_factor_weighs_calls_by_their_audio() -> None:
    costs = Costs()
    costs.note("lane", 1, 1.0, 1.0)
    costs.note("lane", 9, 9.0, 0.9)
    assert costs.real_time_factor("lane") == pytest.approx(0.19)


def test_the_real_time_factor_follows_what_is_now() -> None:
    costs = Costs()
    for took_s in [0.1] * 50 + [0.4] * 200:
        costs.note("lane", 1, 1.0, took_s)
    assert costs.real_time_factor("lane") == pytest.approx(0.4, rel=0.01)


def test_calls_without_audio_have_no_real_time_factor() -> None:
    costs = Costs()
    costs.note("lane", 1, 0.0, 0.1)
    assert costs.real_time_factor("lane") is None


def test_of_too_many_lanes_the_least_recently_noted_is_forgotten() -> None:
    costs = Costs(max_lanes=2)
    for lane in ("a", "b", "a", "c"):
        costs.note(lane, 1, 4.0, 0.1)
    assert len(costs) == 2
    assert [costs.predict_s(lane, 1) for lane in ("a", "b", "c")] == [0.1, None, 0.1]


def test_a_call_takes_no_more_than_a_known_one_of_more_windows() -> None:
    curve = curve_of({1: 0.1, 2: 3.0, 4: 0.3})
    assert curve.predict_s(2) == 3.0
    assert curve.at_most_s(2) == 0.3
    assert curve.at_most_s(4) == 0.3
    assert curve.at_most_s(8) == pytest.approx(0.6)


def test_the_smooth_curve_runs_below_a_bump() -> None:
    curve = curve_of({1: 100.0, 2: 160.0, 3: 330.0, 4: 300.0})
    assert curve.window_s(2) == pytest.approx(80.0)
    assert curve.window_s(3) == pytest.approx(230.0 / 3)
    assert curve.window_s(4) == pytest.approx(75.0)


@given(NOTES)
def test_a_prediction_lies_within_what_calls_of_that_count_took(
    notes: list[tuple[int, float]],
) -> None:
    costs = Costs()
    for count, took_s in notes:
        costs.note("lane", count, 4.0, took_s)
    count = notes[-1][0]
    seen_s = [took_s for each, took_s in notes if each == count]
    predicted_s = costs.predict_s("lane", count)
    assert predicted_s is not None
    assert min(seen_s) * (1 - 1e-9) <= predicted_s <= max(seen_s) * (1 + 1e-9)


@given(NOTES)
def test_what_is_known_is_what_the_latest_calls_were_of(notes: list[tuple[int, float]]) -> None:
    costs = Costs()
    for count, took_s in notes:
        costs.note("lane", count, 4.0, took_s)
    curve = costs.curve("lane")
    assert curve is not None
    latest = [count for count, _ in notes[-FORGOTTEN_AFTER:]]
    assert (curve.smallest, curve.largest) == (min(latest), max(latest))


@given(CURVES, st.integers(1, 90))
def test_between_two_known_counts_a_prediction_lies_between_theirs(
    points: dict[int, float], count: int
) -> None:
    predicted_s = curve_of(points).predict_s(count)
    below = max((each for each in points if each <= count), default=None)
    above = min((each for each in points if each >= count), default=None)
    ends_s = [
        points[each] * (1 if below and above else count / each) for each in (below, above) if each
    ]
    assert min(ends_s) * (1 - 1e-9) <= predicted_s <= max(ends_s) * (1 + 1e-9)


@given(CURVES, st.integers(1, 90))
def test_the_smooth_curve_is_never_above_the_means(points: dict[int, float], count: int) -> None:
    curve = curve_of(points)
    assert curve.window_s(count) * count <= curve.predict_s(count) * (1 + 1e-9)
    assert curve.at_most_s(count) <= curve.predict_s(count)


@given(CURVES)
def test_the_smooth_curve_is_convex_and_keeps_both_ends(points: dict[int, float]) -> None:
    curve = curve_of(points)
    first, last = min(points), max(points)
    assert curve.window_s(first) * first == pytest.approx(points[first])
    assert curve.window_s(last) * last == pytest.approx(points[last])
    heights_s = [curve.window_s(count) * count for count in range(first, last + 1)]
    for left_s, middle_s, right_s in zip(heights_s, heights_s[1:], heights_s[2:], strict=False):
        assert middle_s <= (left_s + right_s) / 2 + 1e-6


@given(CURVES, st.integers(1, 90))
def test_the_best_window_is_the_least_of_all_counts_up_to_that(
    points: dict[int, float], count: int
) -> None:
    curve = curve_of(points)
    slowly_s = min(curve.window_s(each) for each in range(1, count + 1))
    assert curve.best_window_s(count) == pytest.approx(slowly_s)


@given(st.dictionaries(st.integers(1, 40), st.just(0.0), min_size=1, max_size=9))
def test_a_convex_curve_is_smooth_as_it_is(points: dict[int, float]) -> None:
    points = {count: 1.0 + count + count**2 / 10 for count in points}
    curve = curve_of(points)
    for count, took_s in points.items():
        assert curve.window_s(count) * count == pytest.approx(took_s)
        assert curve.at_most_s(count) == took_s
