"""What is reckoned from a measurement alone."""

from asrd.cli.benching.measurements import (
    LEAST_TOLERANCE,
    Setup,
    as_cores,
    as_times,
    sweep,
    tolerance,
)
from support.measurements import measurement


def test_speed_counts_the_audio_of_all_streams() -> None:
    assert measurement(4, 12.0).speed == 20.0


def test_the_median_run_counts() -> None:
    found = measurement(1, 3.0, 2.0, 30.0)
    assert found.seconds == 3.0
    assert found.speed == 20.0


def test_as_many_slots_as_streams_are_measured() -> None:
    assert sweep([1, 4]) == [Setup(streams=1, slots=1), Setup(streams=4, slots=4)]


def test_a_single_odd_run_does_not_widen_it() -> None:
    assert tolerance([measurement(1, 6.0, 6.0, 6.0, 6.0, 60.0)]) == LEAST_TOLERANCE


def test_speeds_in_words() -> None:
    assert [as_times(speed) for speed in (0.84, 36.04, 512.4)] == ["0.8x", "36.0x", "512x"]


def test_cores_in_words() -> None:
    assert [as_cores(count) for count in (1, 2)] == ["1 core", "2 cores"]


def test_too_short_a_time_accuses_nobody() -> None:
    """Times of processors come in hundredths of a second."""
    assert measurement(1, 0.1, 0.1, others=1.5).busy_others == 0
    assert measurement(1, 0.5, 0.5, others=1.5).busy_others == 1.5
