"""The daemon's clock: what it slept through does not count."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from asrd.server.monotonic import LONGEST_TICK_S, LoopWatch, MonotonicClock
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


class Watched:
    """A watch on a loop whose time and work are told to it."""

    def __init__(self) -> None:
        self.machine, self.work = VirtualClock(50.0), VirtualClock(3.0)
        self.watch = LoopWatch(self.machine.now_s, self.work.now_s)

    def pass_time(self, seconds: float, *, worked_s: float) -> list[float]:
        """What is told of at the next look."""
        self.machine.advance(seconds)
        self.work.advance(worked_s)
        with capture_logs() as lines:
            self.watch.look()
        assert {line["event"] for line in lines} <= {"loop_blocked"}
        return [line["seconds"] for line in lines]


def test_a_loop_that_its_own_work_held_up_is_told() -> None:
    watched = Watched()
    assert watched.pass_time(0.5, worked_s=0.5) == []
    assert watched.pass_time(3.456, worked_s=3.0) == [3.46]
    assert watched.pass_time(0.5, worked_s=0.0) == []


def test_a_sleep_is_not_told() -> None:
    watched = Watched()
    assert watched.pass_time(3600.0, worked_s=0.4) == []
    assert watched.pass_time(LONGEST_TICK_S, worked_s=LONGEST_TICK_S) == []


def test_how_late_looks_come_is_counted_whatever_the_reason() -> None:
    watched = Watched()
    for passed_s in (0.5, 0.504, 0.45, 0.8):
        watched.pass_time(passed_s, worked_s=0.0)
    lag = watched.watch.lag
    assert lag.count == 4
    assert lag.sum == pytest.approx(0.304)
    assert dict(lag.cumulated())[0.001] == 2


def test_what_this_thread_computes_counts_and_its_waiting_does_not() -> None:
    machine = VirtualClock(0.0)
    watch = LoopWatch(machine.now_s)
    end_s = time.thread_time() + 0.6
    while time.thread_time() < end_s:
        pass
    machine.advance(1.1)
    with capture_logs() as lines:
        watch.look()
        time.sleep(0.6)
        machine.advance(1.1)
        watch.look()
    assert [(line["event"], line["seconds"]) for line in lines] == [("loop_blocked", 1.1)]
