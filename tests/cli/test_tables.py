"""Tables, lists of facts, sizes and spans."""

import pytest

from asrd.cli.tables import REPORT_COLUMNS, as_size, as_span, entry, render


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, ""),
        (999, "1 kB"),
        (999_499, "999 kB"),
        (999_999, "1 MB"),
        (1_000_000, "1 MB"),
        (999_499_999, "999 MB"),
        (999_999_999, "1.0 GB"),
        (1_550_000_000, "1.6 GB"),
    ],
)
def test_a_size_has_at_most_three_digits_before_its_unit(size_bytes: int, shown: str) -> None:
    assert as_size(size_bytes) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(59.9, "59 s"), (61, "1 min 1 s"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_a_span_has_its_two_greatest_units(seconds: float, shown: str) -> None:
    assert as_span(seconds) == shown


def test_numbers_stand_at_the_right_and_only_one_column_is_folded() -> None:
    rows = [("a name of some length", "1"), ("b", "1000")]
    assert render(("NAME", "COUNT"), rows, folded="NAME", is_right_from=1, columns=18) == (
        "NAME         COUNT\na name of        1\nsome length\nb             1000"
    )


def test_facts_are_wrapped_and_indented_below_their_title() -> None:
    lines = entry("  title: ", ["one", "", "two " * 20, "three"])
    assert lines[0].startswith("  title: one, two ")
    assert all(line.startswith("      ") for line in lines[1:])
    assert all(len(line) <= REPORT_COLUMNS for line in lines)
