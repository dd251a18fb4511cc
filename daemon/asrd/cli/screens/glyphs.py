"""Bars and cells of an exact width, in whatever characters the terminal can show."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, get_character_cell_size, set_cell_size
from rich.text import Text

from asrd.cli.plain import REPLACEMENT, plain

HEADING = "bold"
QUIET = "dim"
GOOD = "green"
WARNING = "yellow"
ALARM = "bold red"
"""Styles. Each stands beside a word or a figure that says the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """What bars and cuts are drawn with. `half` ends a bar that is not full to a whole column."""

    full: str
    half: str
    rest: str
    cut: str
    is_ascii: bool = False


LINES = Glyphs(full="━", half="╸", rest="─", cut="…")
ASCII = Glyphs(full="=", half="", rest="-", cut="~", is_ascii=True)


def glyphs_for(encodings: Iterable[str | None]) -> Glyphs:
    """Those that all the encodings on the way to the screen have."""
    try:
        for encoding in encodings:
            "".join((LINES.full, LINES.half, LINES.rest, LINES.cut)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return LINES


def shown(name: str, glyphs: Glyphs) -> str:
    """A name from outside in characters that take one or two columns each.

    Marks that take none are left out where they do not melt into their letter: terminals do not
    agree on their width, and a column must not be moved by a name.
    """
    composed = unicodedata.normalize("NFC", plain(name))
    seen = "".join(
        each if each.isprintable() else REPLACEMENT
        for each in composed
        if get_character_cell_size(each) > 0
    )
    return seen.encode("ascii", "replace").decode() if glyphs.is_ascii else seen


def fit(text: str, width: int, glyphs: Glyphs, *, is_right: bool = False) -> str:
    """A text in exactly `width` columns: cut with a sign of it, or filled up."""
    missing = width - cell_len(text)
    if missing >= 0:
        return " " * missing + text if is_right else text + " " * missing
    if width <= len(glyphs.cut):
        return set_cell_size(text, max(0, width))
    return set_cell_size(text, width - len(glyphs.cut)) + glyphs.cut


def bar(share: float, width: int, glyphs: Glyphs, style: str = "") -> Text:
    """A bar of `width` columns that is full at 1. What is more than nothing can be seen."""
    halves = round(min(1.0, max(0.0, share)) * width * 2)
    if share > 0 and not halves:
        halves = 1
    full, has_half = divmod(halves, 2)
    if has_half and not glyphs.half:
        full, has_half = full + 1, 0
    drawn = glyphs.full * full + glyphs.half * has_half
    return Text.assemble((drawn, style), (glyphs.rest * (width - full - has_half), QUIET))


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table; `key` names its cells. Screens narrower than `from_columns` leave it
    out; one that `grows` takes the room that is left, up to `most`."""

    key: str
    heading: str
    width: int
    is_right: bool = False
    from_columns: int = 0
    grows: bool = False
    most: int = 0


def laid_out(columns: Iterable[Column], width: int) -> dict[str, Column]:
    """The columns that a screen has room for, at their final widths, by key.

    On a screen narrower than those that every screen has, the last of them are left out.
    """
    chosen = [column for column in columns if width >= column.from_columns]
    while len(chosen) > 1 and _width_of(chosen) > width:
        chosen.pop()
    left = width - _width_of(chosen)
    placed: dict[str, Column] = {}
    for column in chosen:
        more = min(max(0, left), column.most - column.width) if column.grows else 0
        left -= more
        placed[column.key] = replace(column, width=column.width + more)
    return placed


def _width_of(columns: Sequence[Column]) -> int:
    """With the blanks between them."""
    return sum(column.width for column in columns) + len(columns) - 1


def heading_row(columns: dict[str, Column], width: int, glyphs: Glyphs) -> Text:
    """The headings of a table."""
    cells = {key: Text(column.heading) for key, column in columns.items()}
    return row(cells, columns, width, glyphs, style=HEADING)


def row(
    cells: dict[str, Text], columns: dict[str, Column], width: int, glyphs: Glyphs, style: str = ""
) -> Text:
    """One row; a column without a cell is empty."""
    line = Text(style=style, no_wrap=True, end="")
    for index, (name, column) in enumerate(columns.items()):
        cell = cells.get(name)
        if index:
            line.append(" ")
        if cell is None:
            line.append(" " * column.width)
        elif cell.cell_len == column.width:
            line.append_text(cell)
        else:
            fitted = fit(cell.plain, column.width, glyphs, is_right=column.is_right)
            line.append(fitted, cell.style or None)
    return cropped(line, width, glyphs)


def cropped(line: Text, width: int, glyphs: Glyphs) -> Text:
    """A line that is no longer than the screen is wide."""
    if line.cell_len <= width:
        return line
    line.truncate(max(0, width - len(glyphs.cut)), overflow="crop")
    line.append(glyphs.cut[:width])
    return line
