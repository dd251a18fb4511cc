"""Fetching a model while a bar shows how far it is, so that Ctrl-C ends it at any moment."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from asrd.cli.catalogue import Entry
from asrd.cli.exits import CommandError, Exit
from asrd.errors import ProviderError

if TYPE_CHECKING:
    from asrd.providers.registry import Registered
    from asrd.providers.spec import ModelStatus, ReportPull


def pull(entry: Entry, registered: "Registered") -> "ModelStatus":
    """Fetch a model; returns what it is afterwards.

    Ctrl-C ends the process with exit code 130, without another word.

    Raises:
        CommandError: it cannot be fetched, or is not usable when it is.
    """
    model = entry.status.model
    failure: list[BaseException] = []

    def run(report: "ReportPull") -> None:
        try:
            registered.provider.pull(model, report)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failure.append(error)

    # Libraries download in threads of their own, which an exception here does not reach and which
    # Python waits for at its end. So this thread only waits, and an interrupt ends the process.
    try:
        with _progress(entry.name) as report:
            thread = threading.Thread(target=run, args=(report,), name="asrd-pull", daemon=True)
            thread.start()
            thread.join()
    except KeyboardInterrupt:
        _leave()
    if failure:
        raise _failed(entry.name, failure[0]) from failure[0]
    status = registered.status(model)
    if not status.is_present:
        problem = f"{entry.name} was fetched and still is not usable ({status.problem})"
        raise CommandError(problem, Exit.UNAVAILABLE, status.remedy)
    return status


def _failed(name: str, error: BaseException) -> CommandError:
    if isinstance(error, ProviderError):
        return CommandError(f"{name} was not fetched: {error}", Exit.UNAVAILABLE)
    text = f"{name} was not fetched: {type(error).__name__}: {error}"
    return CommandError(text, Exit.UNAVAILABLE)


def _leave() -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(Exit.INTERRUPTED)


@contextlib.contextmanager
def _progress(name: str) -> "Iterator[ReportPull]":
    """What to call with the bytes so far: draws a bar on stderr if that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _here, _total: None
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
        yield lambda here, total: bar.update(task, completed=here, total=total)
