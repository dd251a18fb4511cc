"""The live line: never wider than the terminal, and its parts told apart rightly."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from asrd.cli.live_line import (
    DIM,
    ELLIPSIS,
    MAX_CHARACTERS_PER_COLUMN,
    NOT_DIM,
    NOTHING,
    SPARE_COLUMNS,
    Drawn,
    Part,
    cells,
    cut,
    draw,
    erase,
    overwrite,
)
from asrd.cli.plain import plain

FAMILY = "👩\u200d👩\u200d👧"
HEART = "❤\ufe0f"
ACCENT = "e\u0301"

pieces = st.sampled_from(["a", "b", " ", "語", "é", ACCENT, FAMILY, HEART, "\u0301", "\x1b", "\n"])
texts = st.one_of(st.text(max_size=60), st.lists(pieces, max_size=40).map("".join))


def drawn(text: str, stable: int = 0, columns: int = 80, *, is_dim: bool = True) -> str:
    return draw([Part(text=text, stable=stable)], columns, is_dim=is_dim).written


def test_the_stable_part_is_plain_and_the_rest_dim() -> None:
    assert drawn("it was the", 6) == f"it was{DIM} the{NOT_DIM}"
    assert drawn("it was", 6) == "it was"
    assert drawn("it was", 0) == f"{DIM}it was{NOT_DIM}"
    assert drawn("", 0) == ""


def test_without_dim_nothing_is_marked() -> None:
    assert drawn("it was the", 6, is_dim=False) == "it was the"


def test_a_line_that_fits_is_whole_and_a_longer_one_is_cut_at_its_beginning() -> None:
    columns = 10 + SPARE_COLUMNS
    assert drawn("0123456789", 10, columns) == "0123456789"
    assert drawn("0123456789a", 11, columns) == "…23456789a"


def test_the_boundary_stays_where_it_is_when_the_beginning_is_cut() -> None:
    assert cut("0123456789", 8, 6) == ("…567", "89")
    assert cut("0123456789", 5, 6) == ("", "…56789")  # all that is stable is cut off
    assert cut("0123456789", 6, 6) == ("…5", "6789")
    assert cut("0123456789", 99, 6) == ("…56789", "")


def test_white_space_that_is_taken_out_does_not_move_the_boundary() -> None:
    assert cut("  it \n was  the", 10, 80) == ("it was", " the")
    assert cut("it was the", 7, 80) == ("it was", " the")


def test_wide_characters_count_twice() -> None:
    assert cut("語語語語", 0, 8) == ("", "語語語語")
    assert cut("語語語語", 0, 7) == ("", "…語語語")
    assert cut("語語語語", 0, 6) == ("", "…語語")


def test_what_belongs_together_is_not_cut() -> None:
    assert cut(f"ab{ACCENT}", 0, 2) == ("", f"…{ACCENT}")
    assert cut(f"ab{FAMILY}", 0, 5) == ("", "…")  # a part of the family is no family
    assert cut("語\u0301x", 0, 2) == ("", "…x")


def test_a_mark_that_may_change_takes_its_character_along() -> None:
    assert cut(f"ab{ACCENT}", 3, 80) == ("ab", ACCENT)
    assert cut(f"ab{FAMILY}", 3, 80) == ("ab", FAMILY)


def test_escape_sequences_do_not_get_through() -> None:
    assert drawn("a\x1b]0;title\x07b", 3) == f"a�]{DIM}0;title�b{NOT_DIM}"


@pytest.mark.parametrize("columns", [0, 1, SPARE_COLUMNS])
def test_a_terminal_without_room_shows_nothing(columns: int) -> None:
    assert drawn("hello", 2, columns) == ""


def test_one_column_has_room_for_the_ellipsis() -> None:
    assert cut("hello", 2, 1) == ("", ELLIPSIS)


def test_a_pile_of_marks_is_bounded() -> None:
    _, rest = cut("a" + "\u0301" * 10_000, 0, 10)
    assert len(rest) <= 10 * MAX_CHARACTERS_PER_COLUMN


def test_of_an_endless_reading_only_the_end_is_looked_at() -> None:
    text = "word " * 200_000
    assert cut(text, len(text) - 10, 20) == ("…word word", " word word")
    assert cut(text, 10, 20) == ("", "…word word word word")
    assert cut(" " * 10**6, 5, 20) == ("", "")


def test_two_sources_share_the_line() -> None:
    mic = Part(text="short", stable=5, label="mic: ")
    system = Part(text="long " * 20, stable=0, label="system: ")
    columns = 60
    line = draw([mic, system], columns, is_dim=True)
    assert line.text.startswith("mic: short  system: …")
    assert cells(line.text) == columns - SPARE_COLUMNS
    assert line.written.startswith(f"mic: short  system: {DIM}…")
    both = draw([system, system], columns, is_dim=False).text
    assert both.count("system: …") == 2


@given(texts, st.integers(-1, 70), st.integers(0, 50))
def test_it_never_wraps_and_shows_the_end(text: str, stable: int, columns: int) -> None:
    line = draw([Part(text=text, stable=stable)], columns, is_dim=True)
    width = max(0, columns - SPARE_COLUMNS)
    assert cells(line.text) <= width
    assert cell_len(line.text) <= width
    assert re.sub(r"\x1b\[[02]m", "", line.written) == line.text
    assert plain(line.text) == line.text.strip()  # nothing in it is obeyed
    assert plain(text).endswith(line.text.removeprefix(ELLIPSIS).strip()) or ELLIPSIS in text


@given(texts, st.integers(0, 70), st.integers(0, 50))
def test_no_more_is_shown_as_stable_than_is(text: str, stable: int, width: int) -> None:
    shown, _ = cut(text, stable, width)
    head = plain(text[:stable])
    if shown.startswith(ELLIPSIS) and ELLIPSIS not in text:
        assert shown.removeprefix(ELLIPSIS) in head
    else:
        assert head.startswith(shown)


def test_erasing() -> None:
    line = Drawn(text="x" * 75, written="x" * 75)
    assert erase(NOTHING, 80) == ""
    assert erase(line, 80) == "\r\x1b[K"
    assert erase(line, 40) == "\r\x1b[1A\x1b[J"  # the terminal has become narrower
    assert erase(line, 25) == "\r\x1b[2A\x1b[J"
    assert erase(line, 1) == "\r\x1b[74A\x1b[J"


def test_a_wide_character_that_has_no_room_begins_the_next_row() -> None:
    line = Drawn(text="語" * 6, written="")
    assert erase(line, 12) == "\r\x1b[K"
    assert erase(line, 5) == "\r\x1b[2A\x1b[J"  # two a row, and a column stays empty


def test_a_terminal_that_knows_no_sequences_has_the_line_overwritten() -> None:
    assert overwrite(Drawn(text="語x", written="")) == "\r   \r"
    assert overwrite(NOTHING) == ""
