"""Signals that end the process, caught for as long as something of ours stands on the terminal.

Whoever draws there has to erase it, and to give the cursor back. So a deadly signal interrupts the
block as Ctrl-C does, and when all is unwound the process dies of the signal after all: whoever sent
it sees that.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

DEADLY = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_caught: list[int] = []


def die_of(number: int) -> None:
    """End as though the signal had never been caught."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def die_if_caught() -> None:
    """End by the signal that was caught, if one was. To be called when all is unwound."""
    if _caught:
        die_of(_caught[0])


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """A deadly signal raises KeyboardInterrupt in the block; a second one kills.

    One that is ignored (`nohup`), or that somebody else sees to, is left alone. Outside the main
    thread, which alone is told of signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in DEADLY if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    if _caught:
        die_of(number)
    _caught.append(number)
    raise KeyboardInterrupt
