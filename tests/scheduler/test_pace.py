"""The interval between partials."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import Pace
from asrd.scheduler.ladder import Step
from asrd.scheduler.pace import KEPT_DOWN_TO, Pacer

RULE = Pace(idle_s=2.0, busy_s=4.0, critical_s=8.0, busy_load=0.5, critical_load=0.8)
LOADS = st.floats(0.0, 2.0)


def intervals_s(*loads: float, step: Step = Step.NORMAL) -> list[float]:
    pacer = Pacer(RULE)
    return [pacer.observe(load, step) for load in loads]


def test_the_pace_begins_idle() -> None:
    assert Pacer(RULE).interval_s == 2.0


def test_each_threshold_has_its_pace() -> None:
    assert intervals_s(0.5, 0.51, 0.8, 0.81) == [2.0, 4.0, 4.0, 8.0]


def test_the_pace_may_skip_one_both_ways() -> None:
    assert intervals_s(1.5, 0.0) == [8.0, 2.0]


def test_a_pace_is_kept_down_to_four_fifths_of_its_threshold() -> None:
    assert intervals_s(0.6, 0.41, 0.39, 0.41) == [4.0, 4.0, 2.0, 2.0]
    assert intervals_s(0.9, 0.65, 0.63, 0.65, 0.41, 0.39) == [8.0, 8.0, 4.0, 4.0, 4.0, 2.0]


@pytest.mark.parametrize(
    ("step", "least_s"), list(zip(Step, [2.0, 4.0, 8.0, 8.0, 8.0, 8.0], strict=True))
)
def test_steps_of_the_ladder_set_the_least_pace(step: Step, least_s: float) -> None:
    assert intervals_s(0.0, step=step) == [least_s]
    assert intervals_s(0.9, step=step) == [8.0]


def test_a_step_taken_back_leaves_the_pace_to_the_load() -> None:
    pacer = Pacer(RULE)
    assert pacer.observe(0.45, Step.FEWER_PARTIALS) == 8.0
    assert pacer.observe(0.45, Step.NORMAL) == 2.0


@given(st.lists(st.tuples(LOADS, st.sampled_from(Step)), min_size=1, max_size=50))
def test_the_interval_is_no_shorter_than_load_and_step_ask(seen: list[tuple[float, Step]]) -> None:
    pacer = Pacer(RULE)
    for load, step in seen:
        told_s = pacer.observe(load, step)
        assert told_s == pacer.interval_s
        by_load_s = 8.0 if load > 0.8 else 4.0 if load > 0.5 else 2.0
        by_step_s = (2.0, 4.0, 8.0)[min(step, 2)]
        assert told_s >= max(by_load_s, by_step_s)
        kept_s = 8.0 if load >= 0.8 * KEPT_DOWN_TO else 4.0 if load >= 0.5 * KEPT_DOWN_TO else 2.0
        assert told_s <= max(kept_s, by_step_s)


@given(st.floats(0.1, 2.0), st.floats(0.0, 1.0), st.lists(st.floats(0.9, 1.1), max_size=60))
def test_a_load_that_wavers_a_little_changes_the_pace_in_one_direction_only(
    load: float, start: float, wavers: list[float]
) -> None:
    pacer = Pacer(RULE)
    pacer.observe(start, Step.NORMAL)
    told_s = [pacer.observe(load * waver, Step.NORMAL) for waver in wavers]
    assert told_s in (sorted(told_s), sorted(told_s, reverse=True))
