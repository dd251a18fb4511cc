"""The steps of overload: when they are taken, and when taken back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import LadderRule
from asrd.scheduler.ladder import LONGEST_TICK_S, Ladder, Step, level_of
from support.profiles import examples

LOADS = st.floats(0.0, 3.0)
AGES_S = st.floats(0.0, 20.0)


RULE = LadderRule(up_after_s=2.0, down_after_s=10.0)


class Climb:
    """A ladder that is shown something at regular times."""

    def __init__(self, rule: LadderRule | None = None) -> None:
        self.ladder = Ladder(rule or RULE)
        self.now_s = 100.0

    def see(
        self, seconds: float, load: float, *, undone: float | None = None, age_s: float = 0.0
    ) -> list[Step]:
        """Show the same for so long, twice a second; returns the step after each look."""
        return [self.look(0.5, load, undone=undone, age_s=age_s) for _ in range(round(seconds * 2))]

    def look(
        self, pause_s: float, load: float, *, undone: float | None = None, age_s: float = 0.0
    ) -> Step:
        self.now_s += pause_s
        return self.ladder.observe(
            now_s=self.now_s,
            load=load,
            load_undone=load if undone is None else undone,
            oldest_age_s=age_s,
        )


def climbed(step: Step) -> Climb:
    """On this step, by way of those before it."""
    climb = Climb()
    while climb.ladder.step < step:
        climb.look(0.5, 2.0)
    return climb


def test_steps_have_the_levels_that_clients_are_told() -> None:
    assert [level_of(step) for step in Step] == [0, 1, 2, 2, 3, 3]


def test_a_bearable_load_is_normal() -> None:
    assert set(Climb().see(60, 0.8, age_s=2.0)) == {Step.NORMAL}


def test_a_step_is_taken_after_two_seconds_above_its_threshold() -> None:
    climb = Climb()
    assert climb.see(2.0, 0.81) == [Step.NORMAL] * 4  # the first look begins the count
    assert climb.look(0.5, 0.81) is Step.LONGER_CHUNKS


def test_the_age_of_what_waits_counts_like_load() -> None:
    climb = Climb()
    assert climb.see(3.0, 0.0, age_s=2.1)[-1] is Step.LONGER_CHUNKS


def test_under_a_heavy_load_the_count_begins_anew_for_each_step() -> None:
    steps = Climb().see(13.0, 5.0)
    assert [steps.index(step) for step in Step] == [0, 4, 9, 14, 19, 24]


@pytest.mark.parametrize(
    ("load", "last"),
    [
        (0.7, Step.NORMAL),
        (0.9, Step.LONGER_CHUNKS),
        (1.1, Step.SMALLER_MODEL),
        (1.3, Step.SHED),
    ],
)
def test_a_constant_load_leads_to_its_step(load: float, last: Step) -> None:
    assert Climb().see(60.0, load)[-1] is last


@pytest.mark.parametrize(
    ("age_s", "last"),
    [
        (1.0, Step.NORMAL),
        (3.0, Step.LONGER_CHUNKS),
        (5.0, Step.SMALLER_MODEL),
        (9.0, Step.SHED),
    ],
)
def test_a_constant_age_leads_to_its_step(age_s: float, last: Step) -> None:
    assert Climb().see(60.0, 0.0, age_s=age_s)[-1] is last


def test_a_moment_of_relief_begins_the_count_anew() -> None:
    climb = Climb()
    for _ in range(20):
        climb.see(2.0, 1.0)
        assert climb.look(0.5, 0.7) is Step.NORMAL


def test_a_step_is_taken_back_after_ten_seconds_well_below() -> None:
    climb = climbed(Step.LONGER_CHUNKS)
    assert set(climb.see(10.0, 0.63)) == {Step.LONGER_CHUNKS}
    assert climb.look(0.5, 0.63) is Step.NORMAL


def test_a_little_below_is_not_below() -> None:
    climb = climbed(Step.LONGER_CHUNKS)
    assert set(climb.see(60.0, 0.65)) == {Step.LONGER_CHUNKS}
    assert set(climb.see(60.0, 0.0, age_s=1.7)) == {Step.LONGER_CHUNKS}


def test_what_a_step_saves_does_not_take_it_back() -> None:
    climb = climbed(Step.LONGER_CHUNKS)
    assert set(climb.see(60.0, 0.4, undone=0.7)) == {Step.LONGER_CHUNKS}
    assert climb.see(11.0, 0.4, undone=0.6)[-1] is Step.NORMAL


def test_a_load_undone_below_the_load_itself_is_not_believed() -> None:
    climb = climbed(Step.LONGER_CHUNKS)
    assert set(climb.see(60.0, 0.75, undone=0.0)) == {Step.LONGER_CHUNKS}


def test_all_steps_are_taken_back_one_by_one() -> None:
    steps = climbed(Step.SHED).see(60.0, 0.0)
    assert steps[-1] is Step.NORMAL
    assert sorted(steps, reverse=True) == steps
    assert [steps.count(step) for step in (Step.FINALS_ONLY, Step.LONGER_CHUNKS)] == [21, 21]


def test_a_machine_that_slept_proves_nothing() -> None:
    climb = Climb()
    climb.look(0.5, 2.0)
    assert climb.look(8 * 3600.0, 2.0) is Step.NORMAL
    climb = climbed(Step.LONGER_CHUNKS)
    climb.look(0.5, 0.0)
    for _ in range(9):
        assert climb.look(8 * 3600.0, 0.0) is Step.LONGER_CHUNKS
    assert climb.look(8 * 3600.0, 0.0) is Step.NORMAL  # ten gaps, of a second each
    assert LONGEST_TICK_S == 1.0


def test_a_time_before_the_latest_is_no_time() -> None:
    climb = Climb()
    climb.see(1.5, 2.0)
    for pause_s in [-5.0, 5.0] * 40:
        assert climb.look(pause_s, 2.0) is Step.NORMAL
    assert climb.see(1.0, 2.0) == [Step.NORMAL, Step.LONGER_CHUNKS]


@given(st.lists(st.tuples(st.floats(-1.0, 30.0), LOADS, LOADS, AGES_S), max_size=80))
def test_a_ladder_that_is_turned_off_stays_normal(
    seen: list[tuple[float, float, float, float]],
) -> None:
    climb = Climb(LadderRule(enabled=False))
    for pause_s, load, undone, age_s in seen:
        assert climb.look(pause_s, load, undone=undone, age_s=age_s) is Step.NORMAL


@given(st.lists(st.tuples(st.floats(-1.0, 30.0), LOADS, LOADS, AGES_S), max_size=80))
def test_no_observation_moves_the_ladder_by_more_than_a_step_or_too_soon(
    seen: list[tuple[float, float, float, float]],
) -> None:
    climb, since_s, last = Climb(), 0.0, Step.NORMAL
    for pause_s, load, undone, age_s in seen:
        since_s += min(max(pause_s, 0.0), LONGEST_TICK_S)
        step = climb.look(pause_s, load, undone=undone, age_s=age_s)
        assert step is climb.ladder.step
        if step != last:
            assert abs(step - last) == 1
            assert since_s >= (2.0 if step > last else 10.0)
            since_s, last = 0.0, step


RULES = st.builds(
    LadderRule,
    longer_chunks_load=st.floats(0.1, 2.0),
    longer_chunks_age_s=st.floats(0.1, 10.0),
    fewer_partials_load=st.floats(0.1, 2.0),
    fewer_partials_age_s=st.floats(0.1, 10.0),
    shed_load=st.floats(0.1, 2.0),
    shed_age_s=st.floats(0.1, 10.0),
    up_after_s=st.floats(0.1, 4.0),
    down_after_s=st.floats(0.1, 12.0),
    down_ratio=st.floats(0.05, 0.99),
)
"""Thresholds in any order: whatever a user writes must not make the ladder swing."""


def is_settled(steps: list[Step]) -> bool:
    """Whether they moved in one direction only, and no more in the end."""
    ways = {after > before for before, after in pairwise(steps) if after != before}
    return len(ways) <= 1 and len(set(steps[-30:])) == 1


@given(RULES, LOADS, AGES_S, st.sampled_from(Step))
@examples(60)
def test_a_constant_load_settles(rule: LadderRule, load: float, age_s: float, begin: Step) -> None:
    climb = Climb(rule)
    for _ in range(200):
        if climb.ladder.step < begin:
            climb.look(0.5, 5.0)
    assert climb.ladder.step == begin
    assert is_settled(climb.see(90.0, load, age_s=age_s))


@given(RULES, st.lists(LOADS, min_size=6, max_size=6), st.sampled_from(Step))
@examples(60)
def test_a_constant_demand_settles_though_each_step_lowers_the_load(
    rule: LadderRule, loads: list[float], begin: Step
) -> None:
    loads.sort(reverse=True)  # the load of each step
    climb = Climb(rule)
    for _ in range(200):
        if climb.ladder.step < begin:
            climb.look(0.5, 5.0)
    steps = []
    for _ in range(200):
        step = climb.ladder.step
        steps.append(climb.look(0.5, loads[step], undone=loads[max(step - 1, 0)]))
    assert is_settled(steps)


def test_another_rule_counts_at_the_next_look() -> None:
    climb = Climb()
    climb.see(1.5, 0.7)
    climb.ladder.apply(LadderRule(longer_chunks_load=0.5, up_after_s=2.0))
    assert climb.see(2.5, 0.7)[-1] is Step.LONGER_CHUNKS


def test_a_rule_that_is_not_enabled_takes_every_step_back() -> None:
    climb = Climb()
    assert climb.see(60, 3.0)[-1] is Step.SHED
    climb.ladder.apply(LadderRule(enabled=False))
    assert climb.ladder.step is Step.NORMAL
    assert climb.see(60, 3.0)[-1] is Step.NORMAL
