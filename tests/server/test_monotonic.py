"""The daemon's clock: what it slept through does not count."""

import time

from hypothesis import given
from hypothesis import strategies as st

from asrd.server.monotonic import LONGEST_TICK_S, MonotonicClock
from support.clock import VirtualClock


def test_time_that_is_looked_at_regularly_counts_in_full() -> None:
    machine = VirtualClock(50.0)
    clock = MonotonicClock(machine.now_s)
    began_s = clock.now_s()
    for _ in range(600):
        machine.advance(0.5)
        now_s = clock.now_s()
    assert now_s - began_s == 300.0


def test_what_it_slept_through_counts_for_one_tick() -> None:
    machine = VirtualClock(50.0)
    clock = MonotonicClock(machine.now_s)
    began_s = clock.now_s()
    machine.advance(3600.0)
    assert clock.now_s() - began_s == LONGEST_TICK_S
    machine.advance(0.25)
    assert clock.now_s() - began_s == LONGEST_TICK_S + 0.25


@given(st.lists(st.floats(0, 1e6)))
def test_it_never_goes_back_and_never_runs_ahead(steps_s: list[float]) -> None:
    machine = VirtualClock(0.0)
    clock = MonotonicClock(machine.now_s)
    before_s = clock.now_s()
    for step_s in steps_s:
        machine.advance(step_s)
        now_s = clock.now_s()
        assert -1e-6 <= now_s - before_s <= min(step_s, LONGEST_TICK_S) + 1e-6
        before_s = now_s


def test_it_is_the_machines_unless_told_otherwise() -> None:
    clock = MonotonicClock()
    assert abs(clock.now_s() - time.monotonic()) < LONGEST_TICK_S
