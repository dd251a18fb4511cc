"""The circuit breaker, against a reference that keeps the whole history."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asrd.breaker import Breaker, BreakerState
from support.profiles import examples

FAILURES = 3
OPEN_S = 30.0


def opened(now_s: float = 100.0) -> Breaker:
    breaker = Breaker(failures=FAILURES, open_s=OPEN_S)
    assert [breaker.fail(now_s) for _ in range(FAILURES)] == [False, False, True]
    assert breaker.state is BreakerState.OPEN
    return breaker


def half_open(now_s: float = 100.0) -> Breaker:
    breaker = opened(now_s - OPEN_S)
    assert breaker.is_probe_due(now_s)
    breaker.begin_probe()
    return breaker


def test_only_failures_in_a_row_open_it() -> None:
    breaker = Breaker(failures=FAILURES, open_s=OPEN_S)
    for _ in range(10):
        for _ in range(FAILURES - 1):
            assert not breaker.fail(0.0)
        breaker.succeed()
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_is_due_only_when_its_time_is_over() -> None:
    breaker = opened(100.0)
    assert not breaker.is_probe_due(100.0)
    assert not breaker.is_probe_due(100.0 + OPEN_S - 0.001)
    assert breaker.is_probe_due(100.0 + OPEN_S)


def test_no_probe_is_due_while_it_is_closed_or_one_is_under_way() -> None:
    assert not Breaker(failures=1, open_s=1.0).is_probe_due(1e9)
    assert not half_open().is_probe_due(1e9)


def test_late_success_of_work_from_before_does_not_close_it() -> None:
    for breaker in (opened(), half_open()):
        state = breaker.state
        assert not breaker.succeed()
        assert breaker.state is state


def test_a_probe_that_succeeds_closes_it_and_the_count_begins_anew() -> None:
    breaker = half_open()
    breaker.end_probe(101.0, has_succeeded=True)
    assert breaker.state is BreakerState.CLOSED
    assert not breaker.has_failed_probe
    assert [breaker.fail(102.0) for _ in range(FAILURES)] == [False, False, True]


def test_a_probe_that_fails_opens_it_for_a_full_time_from_then() -> None:
    breaker = half_open(100.0)
    breaker.end_probe(107.0, has_succeeded=False)
    assert breaker.state is BreakerState.OPEN
    assert breaker.has_failed_probe
    assert not breaker.is_probe_due(107.0 + OPEN_S - 0.001)
    assert breaker.is_probe_due(107.0 + OPEN_S)
    breaker.begin_probe()
    assert breaker.has_failed_probe  # until one succeeds
    breaker.end_probe(140.0, has_succeeded=True)
    assert not breaker.has_failed_probe


def test_failures_while_it_is_open_do_not_lengthen_it() -> None:
    breaker = opened(100.0)
    assert not breaker.fail(120.0)
    assert breaker.is_probe_due(100.0 + OPEN_S)


@pytest.mark.parametrize("has_succeeded", [False, True])
def test_the_end_of_a_probe_that_is_not_under_way_means_nothing(has_succeeded: bool) -> None:
    for breaker in (opened(), Breaker(failures=FAILURES, open_s=OPEN_S)):
        state = breaker.state
        breaker.end_probe(1e9, has_succeeded=has_succeeded)
        assert breaker.state is state
        assert not breaker.has_failed_probe


class AgainstReference(RuleBasedStateMachine):
    """The reference reads its state off the history of all that happened, each time anew."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(failures=FAILURES, open_s=OPEN_S)
        self.now_s = 0.0
        self.history: list[tuple[str, float]] = []

    def expected(self) -> tuple[BreakerState, bool, float]:
        """State, whether a probe has failed, and when it opened last."""
        state, failed_probe, opened_s, row = BreakerState.CLOSED, False, 0.0, 0
        for what, at_s in self.history:
            match what, state:
                case "success", _:
                    row = 0
                case "failure", BreakerState.CLOSED if row + 1 >= FAILURES:
                    state, opened_s, row = BreakerState.OPEN, at_s, row + 1
                case "failure", _:
                    row += 1
                case "probe", _:
                    state = BreakerState.HALF_OPEN
                case "probe succeeded", BreakerState.HALF_OPEN:
                    state, failed_probe, row = BreakerState.CLOSED, False, 0
                case "probe failed", BreakerState.HALF_OPEN:
                    state, failed_probe, opened_s = BreakerState.OPEN, True, at_s
                case _:  # the end of a probe that nobody began
                    pass
        return state, failed_probe, opened_s

    def note(self, what: str) -> None:
        self.history.append((what, self.now_s))

    @rule(seconds=st.sampled_from([0.0, 0.5, OPEN_S / 2, OPEN_S]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def fail(self) -> None:
        before = self.breaker.state
        has_opened = self.breaker.fail(self.now_s)
        self.note("failure")
        assert has_opened == (before is BreakerState.CLOSED and self.expected()[0] != before)

    @rule()
    def succeed(self) -> None:
        assert not self.breaker.succeed()
        self.note("success")

    @precondition(lambda self: self.breaker.is_probe_due(self.now_s))
    @rule()
    def begin_probe(self) -> None:
        self.breaker.begin_probe()
        self.note("probe")

    @rule(has_succeeded=st.booleans())
    def end_probe(self, has_succeeded: bool) -> None:
        self.breaker.end_probe(self.now_s, has_succeeded=has_succeeded)
        self.note("probe succeeded" if has_succeeded else "probe failed")

    @invariant()
    def agrees(self) -> None:
        state, failed_probe, opened_s = self.expected()
        assert self.breaker.state is state
        assert self.breaker.has_failed_probe is failed_probe
        is_due = state is BreakerState.OPEN and self.now_s >= opened_s + OPEN_S
        assert self.breaker.is_probe_due(self.now_s) == is_due


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = examples(60)
