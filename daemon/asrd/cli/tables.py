"""Tables, as wide as the terminal, or wide enough to be cut by `awk` where there is none."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

PIPED_COLUMNS = 160


def render(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without lines. Only the column with the empty heading is folded when room is short.

    Args:
        headings: one for each column.
        rows: their cells.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=bool(heading), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=_columns(), highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def fold(text: str) -> str:
    """A sentence on as many indented lines as it takes."""
    return textwrap.fill(text, _columns(), initial_indent="  ", subsequent_indent="  ")


def _columns() -> int:
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else PIPED_COLUMNS


def as_size(size_bytes: int) -> str:
    """An amount of bytes in decimal units, as disks are sold; "" for 0, which is `unknown`."""
    if size_bytes <= 0:
        return ""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if size_bytes >= size:
            return f"{size_bytes / size:.{1 if unit == 'GB' else 0}f} {unit}"
    return f"{size_bytes / 1000:.0f} kB"
