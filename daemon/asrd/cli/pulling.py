"""Fetching a model while a bar shows how far it is, so that Ctrl-C ends it at any moment."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from asrd.cli.exits import CommandError, Exit
from asrd.cli.known_models import Entry
from asrd.errors import ProviderError

if TYPE_CHECKING:
    from asrd.providers.registry import Registered
    from asrd.providers.spec import ModelStatus, ReportPull


GRACE_S = 2.0
"""After Ctrl-C, for a download to take away what it has begun."""


def pull(entry: Entry, registered: "Registered") -> "ModelStatus":
    """Fetch a model; returns what it is afterwards.

    Raises:
        CommandError: it cannot be fetched, or is not usable when it is.
        KeyboardInterrupt: Ctrl-C; should the process not have ended soon after, it is ended.
    """
    model = entry.status.model
    with _progress(entry.name) as (report, end_bar), _interruptible(end_bar):
        try:
            registered.provider.pull(model, report)
        except Exception as error:
            raise _failed(entry.name, error) from error
    status = registered.status(model)
    if not status.is_present:
        problem = f"{entry.name} was fetched and still is not usable ({status.problem})"
        raise CommandError(problem, Exit.UNAVAILABLE, status.remedy)
    return status


def _failed(name: str, error: Exception) -> CommandError:
    if isinstance(error, ProviderError):
        return CommandError(f"{name} was not fetched: {error}", Exit.UNAVAILABLE)
    text = f"{name} was not fetched: {type(error).__name__}: {error}"
    return CommandError(text, Exit.UNAVAILABLE)


@contextlib.contextmanager
def _interruptible(end_bar: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C end the block as usual, and the process if that takes too long.

    Libraries download in threads of their own, which an exception here does not reach and which
    Python waits for, in the block and at its own end.
    """

    def leave() -> NoReturn:
        end_bar()
        os._exit(Exit.INTERRUPTED)

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        guard = threading.Timer(GRACE_S, leave)
        guard.daemon = True  # it outlasts the block: it is there for what follows, too
        guard.start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as in the background of a script
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _progress(name: str) -> "Iterator[tuple[ReportPull, Callable[[], None]]]":
    """What to call with the bytes so far, and at an early end.

    Draws a bar on stderr if that is a terminal.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield (lambda _here, _total: None), (lambda: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    short = name if len(name) <= 34 else f"…{name[-33:]}"
    # Less than a terminal is wide: the ^C that it echoes must not wrap, or the bar stays behind.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(short, total=None)
        yield (lambda here, total: bar.update(task, completed=here, total=total)), bar.stop
