"""How far something is that takes its time, on a terminal."""

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator

from asrd.cli.signals import unwinding

QUIET_S = 1.0
"""Until waiting is worth a sign of life."""

_LAST_LINE = threading.Lock()
"""The terminal's last line has one owner; who finds it taken waits in silence."""


class Progress:
    """Where there is no terminal: says nothing, and the text goes where it always goes."""

    owns_screen = False
    """Whether lines for standard output must go through `line`, above the bar."""

    def begin(self, name: str) -> None:
        """Another file; its length is not known yet."""

    def advance(self, position_s: float, duration_s: float | None) -> None:
        """So much of it is finished."""

    def portion(self, name: str, share: float, rest: str) -> None:
        """Of all that is to be done so large a share is; `rest` says how long the rest takes."""

    def line(self, text: str) -> None:
        """Print above the bar."""


@contextlib.contextmanager
def shown(*, is_stdout_used: bool) -> Iterator[Progress]:
    """A progress bar on stderr if that is a terminal; it is gone when the block ends.

    There is none where standard output is used and a pipe: what reads it (`less`, `tee`) writes
    to the same terminal and knows nothing of the bar.
    """
    if not _is_terminal_ours(is_stdout_used=is_stdout_used):
        yield Progress()
        return
    with _LAST_LINE, unwinding(), _bar() as bar:
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
            rich.reset(task, total=None, description=_short(name), clock="starting")

        def advance(self, position_s: float, duration_s: float | None) -> None:
            shown_s = position_s if duration_s is None else min(position_s, duration_s)
            clock = _clock(shown_s) + (f" / {_clock(duration_s)}" if duration_s else "")
            rich.update(task, completed=shown_s, total=duration_s, clock=clock)

        def portion(self, name: str, share: float, rest: str) -> None:
            rich.update(task, completed=share, total=1.0, description=_short(name), clock=rest)

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


@contextlib.contextmanager
def waiting(text: str, *, is_stdout_used: bool = False) -> Iterator[None]:
    """A sign of life on stderr, if that is a terminal, while the block takes longer than a second.

    It is gone when the block ends. As with the bar there is none where standard output is used
    meanwhile and a pipe. A thread draws it, so the block may be of any kind.
    """
    if not _is_terminal_ours(is_stdout_used=is_stdout_used) or not _LAST_LINE.acquire(False):
        yield
        return
    is_over = threading.Event()
    thread = threading.Thread(target=_show_waiting, args=(text, is_over), name="asrd-waiting")
    thread.start()
    try:
        with unwinding():
            yield
    finally:
        is_over.set()
        thread.join()
        _LAST_LINE.release()


@contextlib.contextmanager
def whole_screen() -> Iterator[None]:
    """The block draws on all of the terminal: no bar and no sign of life beside it."""
    with _LAST_LINE:
        yield


def _show_waiting(text: str, is_over: threading.Event) -> None:
    if is_over.wait(QUIET_S):
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        is_over.wait()


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"…{name[-23:]}"


def _is_terminal_ours(*, is_stdout_used: bool) -> bool:
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return is_terminal and not (is_stdout_used and _is_pipe(1))


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
