"""Tables and lists of facts.

Tables are as wide as the terminal, or wide enough to be cut by `awk` where there is none.
"""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

PIPED_COLUMNS = 160

REPORT_COLUMNS = 80
"""What is pasted into a report is so wide everywhere, so that it looks the same."""


def render(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    folded: str = "",
    is_right_from: int | None = None,
    columns: int | None = None,
) -> str:
    """A table without lines.

    Args:
        headings: one for each column.
        rows: their cells.
        folded: the heading of the one column that is folded when room is short.
        is_right_from: from this column on cells stand at the right, as numbers do.
        columns: how wide it may be; None: as the terminal is.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        is_right = is_right_from is not None and index >= is_right_from
        table.add_column(
            heading,
            no_wrap=heading != folded,
            overflow="fold",
            justify="right" if is_right else "left",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=columns or _columns(), highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def fold(text: str) -> str:
    """A sentence on as many indented lines as it takes."""
    return textwrap.fill(text, _columns(), initial_indent="  ", subsequent_indent="  ")


def entry(title: str, facts: Iterable[str]) -> list[str]:
    """A title and the facts about it that are not empty, on as many lines of a report as it takes.

    All lines but the first are indented by four more than the title.
    """
    text = title + ", ".join(fact for fact in facts if fact)
    indent = (len(title) - len(title.lstrip()) + 4) * " "
    return textwrap.wrap(text, REPORT_COLUMNS, subsequent_indent=indent, break_on_hyphens=False)


def _columns() -> int:
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return shutil.get_terminal_size().columns if is_terminal else PIPED_COLUMNS


def as_size(size_bytes: int) -> str:
    """An amount of bytes in decimal units, as disks are sold; "" for 0, which is `unknown`."""
    if size_bytes <= 0:
        return ""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if size_bytes >= 0.9995 * size:  # what would be rounded to a thousand of the next
            return f"{size_bytes / size:.{1 if unit == 'GB' else 0}f} {unit}"
    return f"{size_bytes / 1000:.0f} kB"


def as_span(seconds: float) -> str:
    """A time in its two greatest units, such as `1 h 2 min`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    for count, unit, smaller, name in ((days, "d", hours, "h"), (hours, "h", minutes, "min")):
        if count:
            return f"{count} {unit} {smaller} {name}"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
