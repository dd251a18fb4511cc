"""What follows from what was measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.cli.benching.advice import advise, control_of, doubts, sweet_spot
from asrd.cli.benching.measurements import LEAST_TOLERANCE, Setup, tolerance
from support.measurements import at_speed, measurement


def test_the_fewest_within_the_tolerance_are_the_sweet_spot() -> None:
    measured = [at_speed(1, 10), at_speed(2, 19.5), at_speed(4, 20), at_speed(8, 18)]
    assert sweet_spot(measured).setup.streams == 2


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=16))
def test_the_sweet_spot_is_near_the_best_and_nothing_smaller_is(speeds: list[float]) -> None:
    measured = [at_speed(count, speed) for count, speed in enumerate(speeds, start=1)]
    sweet = sweet_spot(measured)
    least = max(each.speed for each in measured) * (1 - LEAST_TOLERANCE)
    assert sweet.speed >= least
    assert all(each.speed < least for each in measured[: measured.index(sweet)])


def test_runs_that_differ_widen_the_tolerance() -> None:
    measured = [measurement(1, 6.0), measurement(2, 9.0, 10.0, 11.0, 12.0, 13.0)]
    assert tolerance(measured) == pytest.approx(2 / 11)
    assert sweet_spot(measured).setup.streams == 1
    assert "differ by 18%" in doubts(measured, cores=2)[0]


def test_one_stream_needs_no_control() -> None:
    sweet = at_speed(1, 20)
    assert control_of(sweet) is None
    advice = advise([sweet, at_speed(2, 20.5)], None, cores=2)
    assert advice.slots == 1
    assert advice.why == (
        "1 stream is the fewest within 5% of the best (20.5x with 2): keep one slot"
    )


def test_slots_that_were_not_used_are_measured_against_one_all_the_same() -> None:
    """So many streams with one slot are another setup, and nobody knows what it reaches."""
    sweet = measurement(4, 12.0, used=1.02)
    assert control_of(sweet) == Setup(streams=4, slots=1)
    control = measurement(4, 12.1, slots=1)
    assert advise([measurement(1, 6.0), sweet], control, cores=2).slots == 1


def test_slots_that_were_not_used_have_gained_nothing() -> None:
    """A model that reads one window at a time was a fifth faster by chance."""
    sweet, control = measurement(4, 10.0, used=1.02), measurement(4, 12.1, slots=1)
    advice = advise([measurement(1, 6.0), sweet], control, cores=2)
    assert (advice.sweet, advice.slots) == (sweet, 1)
    assert "one decode ran at a time" in advice.why


def test_slots_are_advised_for_what_they_gain_themselves() -> None:
    sweet = at_speed(2, 20)
    assert control_of(sweet) == Setup(streams=2, slots=1)
    advice = advise([at_speed(1, 10), sweet], at_speed(2, 11, slots=1), cores=2)
    assert (advice.sweet, advice.slots) == (sweet, 2)
    assert advice.why.endswith("with one slot they reach 11.0x instead of 20.0x")


def test_a_gain_that_comes_of_reading_together_advises_no_slots() -> None:
    """Windows of several streams are read in one call, whatever the slots."""
    sweet = at_speed(4, 20)
    advice = advise([at_speed(1, 10), sweet], at_speed(4, 19.6, slots=1), cores=2)
    assert (advice.sweet, advice.slots) == (sweet, 1)
    assert "with one slot they are as fast" in advice.why


def test_the_control_is_judged_by_its_own_spread_too() -> None:
    sweet, control = at_speed(2, 20), measurement(2, 5.0, 7.0, 9.0, slots=1)
    assert advise([at_speed(1, 10), sweet], control, cores=2).slots == 1


def test_nothing_is_advised_on_a_machine_that_does_other_things() -> None:
    measured = [at_speed(1, 10), measurement(2, 6.0, others=1.1)]
    advice = advise(measured, at_speed(2, 10, slots=1), cores=4)
    assert (advice.sweet, advice.slots) == (None, None)
    assert advise(measured, at_speed(2, 10, slots=1), cores=8).slots == 2


def test_nothing_is_doubted_without_a_reason() -> None:
    assert doubts([measurement(1, 3.0, 3.05)], cores=2) == []


def test_short_runs_and_busy_neighbours_are_told() -> None:
    short, disturbed = doubts([measurement(1, 0.5), measurement(2, 5.0, others=1.5)], cores=4)
    assert "0.5 s, which is little" in short
    assert "up to 1.5 of 4 cores" in disturbed


def test_short_measurements_accuse_nobody() -> None:
    measured = [measurement(1, 0.1, others=3.0), measurement(2, 0.1, others=3.0)]
    assert not any("other programs" in doubt for doubt in doubts(measured, cores=4))
    assert advise(measured, at_speed(2, 10, slots=1), cores=4).slots is not None


def test_a_machine_of_one_core_has_one() -> None:
    (doubt,) = doubts([measurement(1, 5.0, others=0.3)], cores=1)
    assert "up to 0.3 of 1 core busy" in doubt


def test_one_slot_that_is_faster_is_said_to_be() -> None:
    advice = advise([at_speed(1, 10), at_speed(4, 24)], at_speed(4, 40, slots=1), cores=2)
    assert advice.slots == 1
    assert advice.why.endswith("with one slot they are faster (40.0x, with 4 24.0x): keep one slot")
