"""What the daemon is told by signals: to end, to end at once, to read its configuration again."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """SIGTERM or SIGINT: the first asks for the end, the second for it at once. SIGHUP: a reload.

    SIGHUP is also what the kernel sends when a terminal goes away. A daemon that was started on
    one then ends as by SIGTERM, unless it was told to ignore the signal (`nohup`).
    """

    def __init__(self) -> None:
        self.asked_to_end = asyncio.Event()
        self.must_end_now = asyncio.Event()
        self.on_end: Callable[[], None] = lambda: None
        self.on_reload: Callable[[], None] = lambda: None
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._may_lose_terminal = not is_ignored and _has_terminal()

    def end(self) -> None:
        """The end is asked for."""
        if self.asked_to_end.is_set():
            self.must_end_now.set()
        else:
            self.on_end()
        self.asked_to_end.set()

    def end_now(self) -> None:
        """There is nothing that the end could wait for."""
        self.end()
        self.must_end_now.set()

    def hung_up(self) -> None:
        """SIGHUP came."""
        if self._may_lose_terminal and not _has_terminal():
            self._may_lose_terminal = False
            self.end()
        else:
            self.on_reload()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Hear the signals for as long as this lasts.

        One that comes while the process goes does nothing more: the end has been asked for, and
        its exit code stands.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.end)
        loop.add_signal_handler(signal.SIGINT, self.end)
        loop.add_signal_handler(signal.SIGHUP, self.hung_up)
        has_ended = False
        try:
            yield
            has_ended = True
        finally:
            for number in HANDLED:
                loop.remove_signal_handler(number)
                if has_ended:
                    signal.signal(number, lambda *_: None)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
