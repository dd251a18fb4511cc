"""The limit that adapts to what other programs leave."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.config import Concurrency
from asrd.scheduler.adaptive import AdaptiveLimit
from support.profiles import examples

SHARES = st.floats(0.0, 1.0)
SEEN = st.tuples(st.floats(-0.5, 5.0), SHARES, SHARES, st.booleans())


class Machine:
    """A limit that is shown its machine twice a second."""

    def __init__(self, *, cores: int = 8, rule: Concurrency | None = None) -> None:
        self.limit = AdaptiveLimit(rule or Concurrency(), cores)
        self.now_s = 100.0

    def look(
        self, pause_s: float, *, cpu: float = 0.0, free: float = 1.0, is_wanted: bool = True
    ) -> int:
        self.now_s += pause_s
        return self.limit.observe(
            self.now_s,
            others_cpu=cpu,
            memory_free=free,
            memory_low=0.05,
            memory_high=0.1,
            is_wanted=is_wanted,
        )

    def see(
        self, seconds: float, *, cpu: float = 0.0, free: float = 1.0, is_wanted: bool = True
    ) -> list[int]:
        return [
            self.look(0.5, cpu=cpu, free=free, is_wanted=is_wanted)
            for _ in range(round(seconds * 2))
        ]


def grown(*, cores: int = 8) -> Machine:
    """Left to us until it was taken up."""
    machine = Machine(cores=cores)
    machine.see(2.0 * cores)
    assert machine.limit.limit == cores
    return machine


def test_the_limit_begins_at_its_least() -> None:
    assert AdaptiveLimit(Concurrency(), 8).limit == 1
    assert AdaptiveLimit(Concurrency(min_slots=3), 8).limit == 3


def test_a_machine_that_is_left_to_us_is_taken_up_a_slot_a_second() -> None:
    assert Machine(cores=4).see(5.0) == [1, 1, 2, 2, 3, 3, 4, 4, 4, 4]


def test_without_waiting_work_nothing_is_taken() -> None:
    assert set(Machine().see(20.0, is_wanted=False)) == {1}


def test_what_was_taken_is_kept_while_nobody_needs_it() -> None:
    assert set(grown().see(20.0, is_wanted=False)) == {8}


def test_other_programs_get_a_slot_a_second_back_down_to_the_least() -> None:
    machine = grown(cores=4)
    limits = machine.see(5.0, cpu=0.61)
    assert limits[0] == 3
    assert limits[-1] == 1
    assert sorted(limits, reverse=True) == limits
    assert [limits.count(limit) for limit in (3, 2)] == [2, 2]


def test_between_the_thresholds_nothing_changes() -> None:
    machine = grown()
    assert set(machine.see(20.0, cpu=0.6)) == {8}
    machine.see(3.0, cpu=0.7)
    kept = machine.limit.limit
    assert 1 < kept < 8
    assert set(machine.see(20.0, cpu=0.4)) == {kept}
    assert set(machine.see(20.0, free=0.09)) == {kept}


def test_low_memory_gives_slots_back_and_admits_no_decode_beside_another() -> None:
    machine = grown(cores=4)
    assert machine.see(5.0, free=0.04)[-1] == 1
    assert not machine.limit.has_memory


def test_memory_is_told_as_it_was_last_seen_even_when_no_change_is_due() -> None:
    machine = Machine()
    told = [machine.limit.has_memory]
    for free in (0.04, 0.05, 0.01, 0.5):
        machine.look(0.0, free=free)
        told.append(machine.limit.has_memory)
    assert told == [True, False, True, False, True]


def test_a_long_time_unseen_is_one_change() -> None:
    machine = Machine()
    machine.look(0.0)
    assert machine.look(8 * 3600.0) == 2


@pytest.mark.parametrize(
    ("rule", "cores", "least", "most"),
    [
        (Concurrency(), 1, 1, 1),
        (Concurrency(max_slots=3), 8, 1, 3),
        (Concurrency(max_slots=12), 8, 1, 12),
        (Concurrency(min_slots=4), 2, 4, 4),
        (Concurrency(min_slots=4, max_slots=2), 8, 2, 2),
    ],
)
def test_bounds_are_kept_also_where_they_contradict_each_other(
    rule: Concurrency, cores: int, least: int, most: int
) -> None:
    machine = Machine(cores=cores, rule=rule)
    assert machine.limit.limit == least
    assert machine.see(30.0)[-1] == most
    assert machine.see(30.0, cpu=1.0)[-1] == least


@given(st.lists(SEEN, max_size=60), st.integers(1, 6), st.integers(1, 6))
def test_the_limit_stays_within_its_bounds_and_moves_by_one_with_its_pause(
    seen: list[tuple[float, float, float, bool]], least: int, more: int
) -> None:
    rule = Concurrency(min_slots=least, max_slots=least + more)
    machine = Machine(rule=rule)
    limits, changed_s = [machine.limit.limit], machine.now_s - 1.0
    for pause_s, cpu, free, is_wanted in seen:
        limits.append(machine.look(pause_s, cpu=cpu, free=free, is_wanted=is_wanted))
        assert limits[-1] == machine.limit.limit
        if limits[-1] != limits[-2]:
            assert machine.now_s - changed_s >= rule.step_s
            changed_s = machine.now_s
    assert all(least <= limit <= least + more for limit in limits)
    assert all(abs(after - before) <= 1 for before, after in pairwise(limits))


@given(st.integers(1, 8), SHARES, SHARES, st.booleans())
@examples(60)
def test_a_machine_that_does_not_change_makes_the_limit_settle(
    begin: int, cpu: float, free: float, is_wanted: bool
) -> None:
    machine = Machine(cores=8)
    while machine.limit.limit < begin:
        machine.look(1.0)
    limits = machine.see(20.0, cpu=cpu, free=free, is_wanted=is_wanted)
    assert limits in (sorted(limits), sorted(limits, reverse=True))
    assert len(set(limits[-8:])) == 1
