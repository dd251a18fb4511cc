"""Bars and cells of an exact width."""

import pytest
from rich.cells import cell_len

from asrd.cli.screens.glyphs import ASCII, LINES, Glyphs, bar, fit, glyphs_for, shown


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0.0, "──────"),
        (0.001, "╸─────"),
        (0.5, "━━━───"),
        (0.58, "━━━╸──"),
        (1.0, "━━━━━━"),
        (7.5, "━━━━━━"),
        (-1.0, "──────"),
    ],
)
def test_a_bar_is_as_full_as_its_share(share: float, drawn: str) -> None:
    assert bar(share, 6, LINES).plain == drawn
    assert len(bar(share, 6, ASCII).plain) == 6


@pytest.mark.parametrize("glyphs", [LINES, ASCII])
@pytest.mark.parametrize("width", range(8))
@pytest.mark.parametrize("text", ["", "abc", "大きさ大", "abcdefgh"])
def test_a_cell_has_exactly_its_width(text: str, width: int, glyphs: Glyphs) -> None:
    assert cell_len(fit(text, width, glyphs)) == width
    assert cell_len(fit(text, width, glyphs, is_right=True)) == width


def test_what_is_cut_shows_it() -> None:
    assert fit("abcdef", 4, LINES) == "abc…"
    assert fit("abcdef", 4, ASCII) == "abc~"
    assert fit("ab", 4, LINES, is_right=True) == "  ab"


def test_a_name_has_no_characters_without_a_width() -> None:
    assert shown("e\u0301\u200d\ufe0f\x1b\n大", LINES) == "é\N{REPLACEMENT CHARACTER} 大"
    assert shown("größe", ASCII) == "gr??e"
    family = "\N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL}"
    assert shown(family, LINES) == "\N{WOMAN}\N{WOMAN}\N{GIRL}"  # two columns each, everywhere


@pytest.mark.parametrize(
    ("encodings", "chosen"),
    [
        (["utf-8", "UTF-8"], LINES),
        (["utf-8", "ANSI_X3.4-1968"], ASCII),
        (["latin-1"], ASCII),
        ([None], ASCII),
        (["no such encoding"], ASCII),
    ],
)
def test_bars_are_of_what_the_terminal_can_show(
    encodings: list[str | None], chosen: Glyphs
) -> None:
    assert glyphs_for(encodings) is chosen
