"""Whether one more window joins a batch, alone and as a whole that learns."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import Batches
from asrd.scheduler.batching import DEARER, may_join
from asrd.scheduler.costs import FORGOTTEN_AFTER, Costs
from support.profiles import examples

RULE = Batches(max_batch=16, max_s=1.0, max_slowdown=1.5)
POINTS = st.dictionaries(st.integers(1, 20), st.floats(0.001, 3.0), max_size=8)


def known(points: dict[int, float]) -> Costs:
    costs = Costs()
    for count, took_s in points.items():
        costs.note("lane", count, 4.0 * count, took_s)
    return costs


def joins(
    points: dict[int, float],
    count: int,
    *,
    rule: Batches = RULE,
    max_batch: int = 64,
    is_less_urgent: bool = False,
) -> bool:
    costs = known(points)
    return may_join(rule, costs, "lane", count, max_batch=max_batch, is_less_urgent=is_less_urgent)


def batch(costs: Costs, waiting: int, *, rule: Batches = RULE, is_less_urgent: bool = False) -> int:
    """The batch that comes of so many that wait."""
    count = 1
    while count < waiting and may_join(
        rule, costs, "lane", count, max_batch=64, is_less_urgent=is_less_urgent
    ):
        count += 1
    return count


def test_the_rule_and_the_engine_both_bound_a_batch() -> None:
    points = {1: 0.01, 64: 0.1}
    assert joins(points, 15)
    assert not joins(points, 16)
    assert joins(points, 7, max_batch=8)
    assert not joins(points, 8, max_batch=8)
    assert not joins(points, 1, max_batch=1)
    assert not joins({}, 1, max_batch=1)


def test_while_nothing_is_known_two_are_read_together() -> None:
    assert joins({}, 1)
    assert not joins({}, 2)


def test_batches_grow_to_double_of_what_is_known() -> None:
    assert batch(known({1: 0.01}), 16) == 2
    assert batch(known({1: 0.01, 2: 0.02}), 16) == 4
    assert batch(known({1: 0.01, 5: 0.03}), 16) == 10


def test_a_call_of_several_lasts_no_longer_than_the_rule_says() -> None:
    points = {1: 0.2, 16: 2.0}
    assert joins(points, 6)  # 7: 0.92 s
    assert not joins(points, 7)  # 8: 1.04 s
    assert joins(points, 7, rule=Batches(max_s=1.1))


def test_a_long_window_is_read_alone() -> None:
    assert not joins({1: 0.7}, 1)


def test_a_batch_stops_where_windows_get_dearer() -> None:
    points = {1: 0.1, 2: 0.15, 4: 0.24, 6: 0.45, 8: 0.7}
    assert joins(points, 3)
    assert not joins(points, 4)  # 5: 0.069 s a window, against 0.06


def test_dearer_is_measured_by_the_best_count_and_not_by_the_last() -> None:
    saving = {1: 0.02}
    creeping = {count: 0.01 * count * 1.04 ** (count - 2) for count in range(2, 17)}
    assert batch(known(saving | creeping), 16) == 4


def test_a_pair_that_costs_more_than_one_by_one_is_not_made() -> None:
    assert not joins({1: 0.1, 2: 0.208}, 1)
    assert joins({1: 0.1, 2: 0.204}, 1)


def test_a_batch_that_saves_next_to_nothing_only_keeps_the_slot_for_longer() -> None:
    even = {count: 0.1 * count * 0.95 for count in (2, 4)}
    assert batch(known({1: 0.1} | even), 16) == 1
    assert batch(known({1: 0.1, 2: 0.19}), 4) == 4  # too early to tell
    assert batch(known({1: 0.1} | {count: 0.1 * count * 0.8 for count in (2, 4)}), 4) == 4


def test_counts_that_were_never_seen_are_no_obstacle() -> None:
    assert batch(known({1: 0.1, 16: 0.5}), 16) == 16
    assert batch(known({1: 0.1, 4: 0.2, 16: 0.5}), 16) == 16
    assert all(joins({4: 0.2, 16: 0.5}, count) for count in range(2, 16))


def test_a_window_is_read_alone_while_it_is_unknown_what_that_takes() -> None:
    assert not joins({4: 0.2, 16: 0.5}, 1)
    batches = learn(lambda count: 0.05 + 0.01 * count, waiting=16, calls=500)
    assert batches[100:].count(1) == 8
    assert batches[100:].count(16) == 392


def test_a_count_that_a_disturbance_made_look_bad_is_passed() -> None:
    assert batch(known({1: 0.1, 2: 0.19, 3: 0.33, 4: 0.3}), 4) == 4
    assert batch(known({1: 0.1, 2: 5.0, 8: 0.4}), 8) == 8


def test_the_largest_count_that_looks_bad_is_not_tried_until_it_is_forgotten() -> None:
    costs = known({1: 0.1, 2: 0.9})
    assert batch(costs, 16) == 1
    for _ in range(FORGOTTEN_AFTER):
        costs.note("lane", 1, 4.0, 0.1)
    assert batch(costs, 16) == 2


def test_the_less_urgent_may_slow_the_head_by_so_much_only() -> None:
    points = {1: 0.1, 2: 0.12, 4: 0.16, 8: 0.24}
    assert joins(points, 2, is_less_urgent=True)  # 3: 0.14 s
    assert not joins(points, 3, is_less_urgent=True)  # 4: 0.16 s
    assert joins(points, 3, is_less_urgent=True, rule=Batches(max_slowdown=2.0))
    assert joins(points, 3)


def test_the_urgent_are_not_what_is_experimented_with() -> None:
    assert not joins({}, 1, is_less_urgent=True)
    assert not joins({1: 0.1}, 1, is_less_urgent=True)
    assert joins({1: 0.1}, 1, is_less_urgent=True, rule=Batches(max_slowdown=2.0))


@given(POINTS, st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_whoever_may_join_breaks_no_bound(
    points: dict[int, float], count: int, max_batch: int, is_less_urgent: bool
) -> None:
    if not joins(points, count, max_batch=max_batch, is_less_urgent=is_less_urgent):
        return
    joined = count + 1
    curve = known(points).curve("lane")
    assert joined <= min(max_batch, RULE.max_batch)
    if curve is None:
        assert joined == 2
        return
    assert joined <= 2 * max(points)
    assert curve.at_most_s(joined) <= RULE.max_s
    best_s = min(curve.window_s(each) for each in range(1, joined))
    assert curve.window_s(joined) <= DEARER * best_s * (1 + 1e-9)
    if is_less_urgent:
        assert curve.at_most_s(joined) <= RULE.max_slowdown * curve.at_most_s(1)


@given(POINTS, st.integers(1, 20))
def test_the_less_urgent_join_only_where_equals_would(points: dict[int, float], count: int) -> None:
    assert not joins(points, count, is_less_urgent=True) or joins(points, count)


def learn(took_s: Callable[[int], float], *, waiting: int, calls: int) -> list[int]:
    """The batches of an engine at which so many always wait."""
    costs, batches = Costs(), []
    for _ in range(calls):
        count = batch(costs, waiting)
        costs.note("lane", count, 4.0 * count, took_s(count))
        batches.append(count)
    return batches


@given(st.floats(0.0, 0.05), st.floats(0.001, 0.02), st.floats(0.0, 0.3), st.integers(2, 16))
@examples(60)
def test_what_is_learned_comes_near_the_best_batch(
    fixed_s: float, each_s: float, thrash: float, waiting: int
) -> None:
    def took_s(count: int) -> float:
        return fixed_s + each_s * count * (1 + thrash * (count - 1))

    batches = learn(took_s, waiting=waiting, calls=300)[100:]
    best_s = min(took_s(count) / count for count in range(1, waiting + 1))
    learned_s = sum(map(took_s, batches)) / sum(batches)
    assert learned_s <= 1.15 * best_s
    assert learned_s <= 1.06 * took_s(1)  # with what trying costs, hardly worse than one by one


@given(st.floats(1.0, 3.0))
@examples(20)
def test_an_engine_that_gains_nothing_loses_next_to_nothing(thrash: float) -> None:
    def took_s(count: int) -> float:
        return 0.04 * count * (thrash if count > 1 else 1.0)

    batches = learn(took_s, waiting=16, calls=500)
    serial_s = 0.04 * sum(batches)
    assert serial_s / sum(map(took_s, batches)) >= 0.97 - 2 * thrash / FORGOTTEN_AFTER


def test_a_cheap_engine_is_given_full_batches_after_a_few_calls() -> None:
    batches = learn(lambda count: 0.05 + 0.01 * count, waiting=16, calls=10)
    assert batches == [2, 1, 4, 8, 16, 16, 16, 16, 16, 16]


@pytest.mark.parametrize("bumped", [2, 3, 5, 9, 15])
def test_a_bump_at_any_count_below_the_largest_does_not_stop_the_rest(bumped: int) -> None:
    points = {count: 0.05 + 0.01 * count for count in range(1, 17)}
    points[bumped] = 0.9
    assert batch(known(points), 16) == 16
