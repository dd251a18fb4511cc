"""Figures as people read them."""

import pytest

from asrd.cli.figures import all_troubles, as_amount, as_count, as_factor, as_level, as_milliseconds
from asrd.cli.figures import as_state as told_state


@pytest.mark.parametrize(
    ("factor", "shown"),
    [
        (0, "0"),
        (0.00001, "<0.001"),
        (0.00096, "<0.001"),
        (0.001, "0.001"),
        (0.0123, "0.0123"),
        (0.1234, "0.123"),
        (1.0, "1"),
        (99.96, "100"),
        (999.4, "999"),
        (999.7, "1000"),
        (1234.5678, "1235"),
    ],
)
def test_a_factor_has_three_digits_and_no_exponent(factor: float, shown: str) -> None:
    assert as_factor(factor) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (99_999, "99999"), (100_000, "100k"), (100_000_000, "100M"), (10**11, "100G")],
)
def test_a_count_has_six_characters(number: int, shown: str) -> None:
    assert as_count(number) == shown


def test_one_is_singular() -> None:
    assert [as_amount(number, "stream") for number in (0, 1, 2)] == [
        "0 streams",
        "1 stream",
        "2 streams",
    ]
    assert as_amount(2, "decode failed", "decodes failed") == "2 decodes failed"


@pytest.mark.parametrize(
    ("value_ms", "shown"),
    [
        (0.0, "0.0 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (99_949, "99.9 s"),
        (99_960, "100 s"),
    ],
)
def test_a_time_is_in_milliseconds_or_seconds(value_ms: float, shown: str) -> None:
    assert as_milliseconds(value_ms) == shown


def test_states_and_rungs_are_in_words() -> None:
    assert told_state("warming_up", is_ready=False) == "warming up"
    assert told_state("degraded", is_ready=True) == "degraded, ready"
    assert told_state("degraded", is_ready=False) == "degraded, not ready"
    assert as_level(9) == "level 9"


def test_what_went_wrong_is_told_as_far_as_anything_did() -> None:
    assert all_troubles({"dropped_s": 0.0, "decodes_failed": 0}, {}) == []
    assert all_troubles({"dropped_s": 1.5, "decodes_failed": 2}, {"busy": 3, "\x1b": 1}) == [
        "1.5 s of audio dropped",
        "2 decodes failed",
        "errors told: 1 \N{REPLACEMENT CHARACTER}, 3 busy",
    ]
