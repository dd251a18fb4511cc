"""What is drawn for the speech that still goes on: one line, whatever is in it. Pure.

    parts of the line (label, text, how much of it is stable) ─► draw ─► Drawn ─► erase

Widths are counted so that no terminal takes more: each character of an emoji that is joined from
several counts, because some terminals show them side by side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from asrd.cli.plain import plain

ELLIPSIS = "…"
DIM = "\x1b[2m"
NOT_DIM = "\x1b[0m"
ERASE_ROW = "\r\x1b[K"

SPARE_COLUMNS = 3
"""Left free at the end: for the cursor, and for the `^C` that a terminal shows where it stands."""

BETWEEN = "  "
"""Between the parts of two sources."""

MAX_CHARACTERS_PER_COLUMN = 8
"""Marks take no width, so that width alone would not bound what is written."""

MAX_CHARACTERS = 8192
"""Of a reading's end are looked at. No terminal is so wide, and a provider may say anything."""

ZERO_WIDTH_JOINER = "\u200d"
EMOJI_SELECTOR = "\ufe0f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The reading of one source so far. `stable` characters at the head of `text` are final."""

    text: str
    stable: int
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A line. `text` is what is seen of it, `written` what is to be written."""

    text: str = ""
    written: str = ""


NOTHING = Drawn()


def draw(parts: Sequence[Part], columns: int, *, is_dim: bool) -> Drawn:
    """The line for a terminal of so many columns; what is not stable is dim where `is_dim`."""
    room = columns - SPARE_COLUMNS - cells(BETWEEN) * (len(parts) - 1)
    seen: list[str] = []
    written: list[str] = []
    for part, width in zip(parts, _shares([_needs(part) for part in parts], room), strict=True):
        stable, rest = cut(part.text, part.stable, width - cells(part.label))
        label = part.label if stable or rest else ""
        seen.append(label + stable + rest)
        written.append(label + stable + (f"{DIM}{rest}{NOT_DIM}" if rest and is_dim else rest))
    return Drawn(text=BETWEEN.join(seen).rstrip(), written=BETWEEN.join(written).rstrip())


def cut(text: str, stable: int, width: int) -> tuple[str, str]:
    """The end of a text in at most `width` columns: what of it is stable, and the rest."""
    begin = max(0, len(text) - MAX_CHARACTERS)
    line = plain(text[begin:])
    boundary = len(plain(text[begin : max(begin, stable)]))
    while 0 < boundary < len(line) and _is_joined(line, boundary):
        boundary -= 1  # what may still change belongs to the character before: so does that
    start = _start(line, width)
    if start == 0:
        return line[:boundary], line[boundary:]
    if width < cells(ELLIPSIS):
        return "", ""
    if boundary > start:
        return ELLIPSIS + line[start:boundary], line[boundary:]
    return "", ELLIPSIS + line[start:]


def erase(drawn: Drawn, columns: int) -> str:
    """What takes a line away that the cursor stands behind; nothing where there is none.

    A terminal that has become narrower since has broken the line into rows.
    """
    if not drawn.text:
        return ""
    rows = _rows(drawn.text, columns)
    return ERASE_ROW if rows == 1 else f"\r\x1b[{rows - 1}A\x1b[J"


def overwrite(drawn: Drawn) -> str:
    """The same for a terminal that knows no sequences."""
    return f"\r{' ' * cells(drawn.text)}\r" if drawn.text else ""


def cells(text: str) -> int:
    """Columns that a text takes at most."""
    return sum(map(_cells, text))


@lru_cache(4096)
def _cells(character: str) -> int:
    from rich.cells import get_character_cell_size  # not before there is something to draw

    if character == EMOJI_SELECTOR:
        return 1  # it may make the character before it wide
    return max(0, get_character_cell_size(character))


def _is_joined(line: str, index: int) -> bool:
    """Whether the character there is shown as a part of the one before."""
    character = line[index]
    return (
        _cells(character) == 0
        or character == EMOJI_SELECTOR
        or line[index - 1] == ZERO_WIDTH_JOINER
    )


def _start(line: str, width: int) -> int:
    """Where the longest end begins that fits: 0, or behind an ellipsis."""
    most = max(0, width) * MAX_CHARACTERS_PER_COLUMN
    if len(line) <= most and cells(line) <= width:
        return 0
    left = width - cells(ELLIPSIS)
    start = len(line)
    while start > 0 and len(line) - start < most and (left := left - _cells(line[start - 1])) >= 0:
        start -= 1
    while start < len(line) and _is_joined(line, start):
        start += 1  # a mark whose character is cut off
    return start


def _needs(part: Part) -> int:
    return cells(part.label) + cells(plain(part.text[-MAX_CHARACTERS:]))


def _shares(needs: Sequence[int], room: int) -> list[int]:
    """Columns for each: what the short ones do not need is for the long ones."""
    shares = [0] * len(needs)
    shortest_first = sorted(range(len(needs)), key=needs.__getitem__)
    for done, index in enumerate(shortest_first):
        shares[index] = min(needs[index], max(0, room) // (len(needs) - done))
        room -= shares[index]
    return shares


def _rows(text: str, columns: int) -> int:
    """Rows that a line takes; a wide character that has no room at the end goes to the next."""
    if columns < 2:
        return max(1, math.ceil(cells(text) / max(1, columns)))
    rows, column = 1, 0
    for width in map(_cells, text):
        if column + width > columns:
            rows, column = rows + 1, 0
        column += width
    return rows
