"""What follows from measured figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.cli.bench_figures import (
    LEAST_TOLERANCE,
    Figures,
    Setup,
    as_times,
    control_of,
    doubts,
    judge,
    sweep,
    sweet_spot,
    tolerance,
)


def figures(
    streams: int,
    *runs_s: float,
    slots: int | None = None,
    others: float = 0,
    used: float | None = None,
) -> Figures:
    """Of a recording of 60 s; as many slots are used as there are."""
    return Figures(
        setup=Setup(streams=streams, slots=slots or streams),
        audio_s=60.0,
        runs_s=runs_s,
        decode_p50_ms=100.0,
        decode_p95_ms=200.0,
        memory_bytes=300_000_000,
        cores=1.0,
        other_cores=others,
        slots_used=used or slots or streams,
    )


def at_speed(streams: int, speed: float, *, slots: int | None = None) -> Figures:
    return figures(streams, streams * 60 / speed, slots=slots)


def test_speed_counts_the_audio_of_all_streams() -> None:
    assert figures(4, 12.0).speed == 20.0


def test_the_median_run_counts() -> None:
    found = figures(1, 3.0, 2.0, 30.0)
    assert found.seconds == 3.0
    assert found.speed == 20.0


def test_as_many_slots_as_streams_are_measured() -> None:
    assert sweep([1, 4]) == [Setup(streams=1, slots=1), Setup(streams=4, slots=4)]


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
    measured = [figures(1, 6.0), figures(2, 9.0, 10.0, 11.0, 12.0, 13.0)]
    assert tolerance(measured) == pytest.approx(2 / 11)
    assert sweet_spot(measured).setup.streams == 1
    assert "differ by 18%" in doubts(measured, cores=2)[0]


def test_a_single_odd_run_does_not_widen_it() -> None:
    assert tolerance([figures(1, 6.0, 6.0, 6.0, 6.0, 60.0)]) == LEAST_TOLERANCE


def test_one_stream_needs_no_control() -> None:
    sweet = at_speed(1, 20)
    assert control_of(sweet) is None
    verdict = judge([sweet, at_speed(2, 20.5)], None, cores=2)
    assert verdict.slots == 1
    assert verdict.why == (
        "1 stream is the fewest within 5% of the best (20.5x with 2); no two decodes ran side by "
        "side there: keep one slot"
    )


def test_slots_that_were_not_used_are_not_advised() -> None:
    """A model that reads one at a time: what it gains is noise, or other work beside it."""
    sweet = figures(4, 12.0, used=1.02)
    assert control_of(sweet) is None
    assert judge([figures(1, 6.0), sweet], None, cores=2).slots == 1


def test_slots_are_advised_for_what_they_gain_themselves() -> None:
    sweet = at_speed(2, 20)
    assert control_of(sweet) == Setup(streams=2, slots=1)
    verdict = judge([at_speed(1, 10), sweet], at_speed(2, 11, slots=1), cores=2)
    assert (verdict.sweet, verdict.slots) == (sweet, 2)
    assert verdict.why.endswith("with one slot they reach 11.0x instead of 20.0x")


def test_a_gain_that_comes_of_reading_together_advises_no_slots() -> None:
    """Windows of several streams are read in one call, whatever the slots."""
    sweet = at_speed(4, 20)
    verdict = judge([at_speed(1, 10), sweet], at_speed(4, 19.6, slots=1), cores=2)
    assert (verdict.sweet, verdict.slots) == (sweet, 1)
    assert "with one slot they are as fast" in verdict.why


def test_the_control_is_judged_by_its_own_spread_too() -> None:
    sweet, control = at_speed(2, 20), figures(2, 5.0, 7.0, 9.0, slots=1)
    assert judge([at_speed(1, 10), sweet], control, cores=2).slots == 1


def test_nothing_is_advised_on_a_machine_that_does_other_things() -> None:
    measured = [at_speed(1, 10), figures(2, 6.0, others=1.1)]
    verdict = judge(measured, at_speed(2, 10, slots=1), cores=4)
    assert (verdict.sweet, verdict.slots) == (None, None)
    assert judge(measured, at_speed(2, 10, slots=1), cores=8).slots == 2


def test_nothing_is_doubted_without_a_reason() -> None:
    assert doubts([figures(1, 3.0, 3.05)], cores=2) == []


def test_short_runs_and_busy_neighbours_are_told() -> None:
    short, disturbed = doubts([figures(1, 0.5), figures(2, 5.0, others=1.5)], cores=4)
    assert "0.5 s, which is little" in short
    assert "up to 1.5 of 4 cores" in disturbed


def test_speeds_in_words() -> None:
    assert [as_times(speed) for speed in (0.84, 36.04, 512.4)] == ["0.8x", "36.0x", "512x"]
