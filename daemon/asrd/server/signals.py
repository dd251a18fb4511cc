"""What the daemon is told by signals: to end, to end at once, to read its configuration again."""

import asyncio
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

log = structlog.get_logger()

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

NO_TERMINAL = frozenset((errno.ENXIO, errno.EIO, errno.ENODEV))
"""What opening the controlling terminal says when there is none, or none any more. Any other
error, such as a lack of descriptors, tells nothing about it."""


class Signals:
    """SIGTERM or SIGINT: the first asks for the end, the second for it at once. SIGHUP: a reload.

    SIGHUP is also what the kernel sends when a terminal goes away. A daemon that was started on
    one then ends as by SIGTERM, unless it was told to ignore the signal (`nohup`).

    `on_end` and `on_end_now` are called as soon as the signal is heard, by a thread that listens
    to nothing else: also while the loop hangs. Everything else happens in the loop.
    """

    def __init__(self) -> None:
        self.asked_to_end = asyncio.Event()
        self.must_end_now = asyncio.Event()
        self.on_end: Callable[[], None] = lambda: None
        self.on_end_now: Callable[[], None] = lambda: None
        self.on_reload: Callable[[], None] = lambda: None
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._may_lose_terminal = not is_ignored and _has_terminal()

    def end_now(self) -> None:
        """There is nothing that the end could wait for."""
        self.asked_to_end.set()
        self.must_end_now.set()
        self.on_end_now()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Hear the signals for as long as this lasts; then they are ignored.

        One that comes while the process goes does nothing more: the end has been asked for, and
        its exit code stands. To be ignored is what a signal remains to the very last, where
        Python has taken back every handler of its own.
        """
        loop = asyncio.get_running_loop()
        heard, told = os.pipe()
        os.set_blocking(told, False)
        # The C handler writes there, whatever the main thread is doing; the one in Python could
        # only be called by the main thread, and has nothing to do.
        before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        listener = threading.Thread(
            target=self._listen, args=(loop, heard), name="signals", daemon=True
        )
        listener.start()
        for number in HANDLED:
            signal.signal(number, lambda *_: None)
            signal.siginterrupt(number, False)
        try:
            yield
        finally:
            for number in HANDLED:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(before)
            os.close(told)
            listener.join()
            os.close(heard)

    def _end(self) -> None:
        if self.asked_to_end.is_set():
            self.must_end_now.set()
        self.asked_to_end.set()

    # ── in its thread ─────────────────────────────────────────────────────────────────────────

    def _listen(self, loop: asyncio.AbstractEventLoop, heard: int) -> None:
        has_heard_end = False
        while numbers := os.read(heard, 64):
            for number in numbers:
                if number == signal.SIGHUP and not self._lost_terminal():
                    _tell(loop, lambda: self.on_reload())
                elif number in HANDLED:
                    is_second = has_heard_end or self.asked_to_end.is_set()
                    has_heard_end = True
                    _tell(loop, self._end)
                    try:
                        (self.on_end_now if is_second else self.on_end)()
                    except Exception:  # a bug, or no thread to be had: others are heard
                        log.exception("signal_failed")

    def _lost_terminal(self) -> bool:
        """Whether the terminal that we were started on has gone; said once."""
        if not self._may_lose_terminal or _has_terminal():
            return False
        self._may_lose_terminal = False
        return True


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # it is closed: the end has come
        loop.call_soon_threadsafe(callback)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno not in NO_TERMINAL
    return True
