"""When to try again, and when to give up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.client.errors import ClientError, ConnectionLost, Refused, Unreachable
from asrd.client.recovery import SETTLED_S, Pacer, Recovery, asked_wait_s, is_final

PLAIN = Recovery(breaker_failures=100)


def waits(pacer: Pacer, now_s: float = 0.0) -> list[float]:
    """The waits of a daemon that never comes back."""
    waited = []
    while (wait_s := pacer.next_wait_s(now_s)) is not None:
        waited.append(wait_s)
        now_s += wait_s
        pacer.begin()
        pacer.missed(now_s)
    return waited


def test_waits_double_up_to_the_longest_and_attempts_end() -> None:
    assert waits(Pacer(PLAIN, lambda: 0.5)) == [1, 2, 4, 8, 16, 32] + [60] * 9


@given(chance=st.floats(0, 1), failures=st.integers(0, 10**6))
def test_a_wait_is_within_its_jitter(chance: float, failures: int) -> None:
    middle_s = min(60.0, 2.0 ** min(failures, 10))
    assert 0.8 * middle_s <= PLAIN.wait_s(failures, chance) <= 1.2 * middle_s


def test_jitter_spreads_to_both_sides() -> None:
    assert [PLAIN.wait_s(0, chance) for chance in (0.0, 0.5, 1.0)] == [0.8, 1.0, 1.2]


def test_the_breaker_leaves_the_daemon_alone_and_then_probes_it_once_at_a_time() -> None:
    quick = Recovery(longest_wait_s=2.0, max_attempts=9)
    assert waits(Pacer(quick, lambda: 0.5)) == [1, 2, 2, 2, 2, 60, 60, 60, 60]


def test_the_daemon_may_ask_for_a_longer_wait_and_not_for_a_shorter() -> None:
    pacer = Pacer(PLAIN, lambda: 0.5)
    assert pacer.next_wait_s(0.0, 7.5) == 7.5
    assert pacer.next_wait_s(0.0, 0.1) == 1.0


def test_a_connection_that_lasted_begins_the_row_anew_and_a_short_one_goes_on_with_it() -> None:
    pacer = Pacer(PLAIN, lambda: 0.5)
    for _ in range(3):
        pacer.begin()
    pacer.reached(100.0)
    pacer.broke(100.0 + SETTLED_S - 1)
    assert pacer.next_wait_s(0.0) == 8.0
    pacer.reached(200.0)
    pacer.broke(200.0 + SETTLED_S)
    assert (pacer.attempts, pacer.next_wait_s(0.0)) == (0, 1.0)


def test_a_daemon_that_flaps_opens_the_breaker_and_is_given_up() -> None:
    pacer = Pacer(Recovery(first_wait_s=0.1, longest_wait_s=0.1), lambda: 0.5)
    now_s, waited = 0.0, []
    pacer.reached(now_s)
    pacer.broke(now_s)
    while (wait_s := pacer.next_wait_s(now_s)) is not None:
        waited.append(wait_s)
        now_s += wait_s
        pacer.begin()
        pacer.reached(now_s)
        now_s += 1.0
        pacer.broke(now_s)
    assert waited == pytest.approx([0.1] * 4 + [60.0] * 11)


def test_a_connection_on_which_something_was_finished_begins_the_row_anew() -> None:
    """However short: a link that breaks every second is still worth coming back to at once."""
    pacer = Pacer(PLAIN, lambda: 0.5)
    for now_s in range(50):
        pacer.begin()
        pacer.reached(now_s)
        pacer.worked()
        pacer.broke(now_s + 0.1)
        assert pacer.next_wait_s(now_s + 0.1) == PLAIN.first_wait_s
    pacer.begin()
    pacer.reached(60.0)  # and now one on which nothing is
    pacer.broke(60.1)
    assert pacer.next_wait_s(60.1) == 2 * PLAIN.first_wait_s


def test_whoever_asks_for_it_begins_anew() -> None:
    pacer = Pacer(PLAIN, lambda: 0.5)
    waits(pacer)
    pacer.start_anew()
    assert len(waits(pacer)) == 15


def test_no_recovery_makes_no_attempt() -> None:
    assert not Recovery.none().is_on
    assert Pacer(Recovery.none(), lambda: 0.5).next_wait_s(0.0) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionLost("broke"), False),
        (ConnectionLost("slow", "slow_consumer"), False),
        (ConnectionLost("ours", "invalid_frame"), True),
        (Refused("full", "busy"), False),
        (Refused("ending", "draining"), False),
        (Refused("who", "unauthorized"), True),
        (Refused("old", "unsupported_version"), True),
        (Unreachable("nobody"), False),
        (Unreachable("ended", 70), False),
        (Unreachable("configured", 78), True),
        (Unreachable("usage", 64), True),
        (RuntimeError("a bug"), True),
    ],
)
def test_what_is_worth_another_attempt(error: BaseException, expected: bool) -> None:
    assert is_final(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Refused("full", "busy", 1500), 1.5),
        (ConnectionLost("full", "busy", 250), 0.25),
        (Refused("full", "busy"), 0.0),
        (ClientError("x"), 0.0),
    ],
)
def test_how_long_the_daemon_asks_to_wait(error: ClientError, expected: float) -> None:
    assert asked_wait_s(error) == expected
