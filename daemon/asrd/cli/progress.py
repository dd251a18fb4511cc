"""How far a transcription is, on a terminal."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator


class Progress:
    """Where there is no terminal: says nothing, and the text goes where it always goes."""

    owns_screen = False
    """Whether lines for standard output must go through `line`, above the bar."""

    def begin(self, name: str) -> None:
        """Another file; its length is not known yet."""

    def advance(self, position_s: float, duration_s: float | None) -> None:
        """So much of it is finished."""

    def line(self, text: str) -> None:
        """Print above the bar."""


@contextlib.contextmanager
def shown(*, is_stdout_used: bool) -> Iterator[Progress]:
    """A progress bar on stderr if that is a terminal; it is gone when the block ends.

    There is none where standard output is used and a pipe: what reads it (`less`, `tee`) writes
    to the same terminal and knows nothing of the bar.
    """
    if not sys.stderr.isatty() or (is_stdout_used and _is_pipe(1)):
        yield Progress()
        return
    with _bar() as bar:
        yield bar


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    console = Console(stderr=True)

    class Bar(Progress):
        owns_screen = _is_one_screen()

        def begin(self, name: str) -> None:
            short = name if len(name) <= 24 else f"…{name[-23:]}"
            rich.reset(task, total=None, description=short, clock="starting")

        def advance(self, position_s: float, duration_s: float | None) -> None:
            shown_s = position_s if duration_s is None else min(position_s, duration_s)
            clock = _clock(shown_s) + (f" / {_clock(duration_s)}" if duration_s else "")
            rich.update(task, completed=shown_s, total=duration_s, clock=clock)

        def line(self, text: str) -> None:
            console.print(Text(text), soft_wrap=True)

    # Less than a terminal is wide: the ^C that it echoes must not wrap, or the bar stays behind.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[clock]}"),
    )
    with RichProgress(*columns, console=console, transient=True) as rich:
        task = rich.add_task("", total=None, clock="")
        yield Bar()


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


def _is_one_screen() -> bool:
    """Whether standard output and stderr are the same terminal."""
    with contextlib.suppress(OSError):
        return os.ttyname(1) == os.ttyname(2)
    return False


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
