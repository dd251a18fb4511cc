"""The end of a daemon that stands still, where no service manager watches it.

It writes the stacks of all threads to stderr and ends with 1; its workers end when they see that it
has gone, and the next daemon replaces its socket.

Two things watch, because neither sees everything:

- A thread of its own counts the seconds without a beat. It sees a loop that waits, sleeps or
  computes in Python.
- The kernel counts CPU time (`ITIMER_PROF`). It sees what never lets go of the interpreter's lock,
  such as a regular expression that backtracks for ever: no thread of Python runs beside that one.
  Then faulthandler's handler, in C, writes the stacks, and the process ends by SIGPROF.

Unseen remains a call that holds that lock and waits without computing. A clock on the wall cannot
tell it from a process that was stopped (SIGSTOP) for as long, and such a one has to live on. So
`faulthandler.dump_traceback_later`, armed anew with each beat, will not do: once the process goes
on, it is overdue, and whether it fires before the loop can arm it again is luck (of eight stopped
for 3.5 s with a timer of 2 s, three ended). Seconds that the watching thread has slept through
count for nothing, and a stopped process uses no CPU time.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import structlog

from asrd.server import logs
from asrd.server.monotonic import LONGEST_TICK_S

log = structlog.get_logger()

STDERR = 2
"""The descriptor: `sys.stderr` may be a writer that hands over to a thread."""

EX_STOOD_STILL = 1

TICK_S = 0.5

LATER_S = 1.5
"""How much later the kernel's timer is: the thread's way, with a line in the log, comes first."""

AT_ONCE_S = 0.001

WRITING_S = 2.0
"""How long the stacks may take to be written. Nobody may read, and a full pipe waits for ever."""


def tell_crashes() -> None:
    """Have a crash of this process (SIGSEGV, SIGABRT and the like) write the stacks to stderr."""
    if not faulthandler.is_enabled():
        faulthandler.enable(file=STDERR)


class Quiet:
    """Counts the seconds without a beat. Pure: time is handed in.

    A look that comes late by more than a second says that the whole process was held up, by a
    signal, a suspend or a machine that is overcommitted. Then the count begins anew, so that
    whoever gives beats has all the time there is to give one.
    """

    def __init__(self, now_s: float) -> None:
        self._latest_s = now_s
        self._beats = 0
        self._quiet_s = 0.0

    def look(self, now_s: float, beats: int) -> float:
        """How long there was none, when `beats` have been given so far."""
        passed_s, self._latest_s = now_s - self._latest_s, now_s
        is_new, self._beats = beats != self._beats, beats
        has_slept = passed_s > TICK_S + LONGEST_TICK_S
        self._quiet_s = 0.0 if is_new or has_slept else self._quiet_s + passed_s
        return self._quiet_s


class Standstill:
    """Ends the process when no beat is given for `limit_s` that it was awake.

    One at a time: timer and handler are the process's.
    """

    def __init__(self, limit_s: float, end: Callable[[float], None] | None = None) -> None:
        self._limit_s = limit_s
        self._end = end or end_process
        self._beats = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="standstill", daemon=True)

    def __enter__(self) -> "Standstill":
        faulthandler.register(signal.SIGPROF, file=STDERR, all_threads=True, chain=True)
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """The end has begun, and is bounded otherwise."""
        self._is_over.set()
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.unregister(signal.SIGPROF)
        self._thread.join()

    def beat(self) -> None:
        """Everything moves. Of one thread only, which is the one that begins and ends this."""
        if self._is_over.is_set():
            return  # the handler is gone: the timer would end the process without a word
        self._beats += 1
        signal.setitimer(signal.ITIMER_PROF, self._limit_s + LATER_S)

    def _watch(self) -> None:
        quiet = Quiet(time.monotonic())
        while not self._is_over.wait(TICK_S):
            quiet_s = quiet.look(time.monotonic(), self._beats)
            if quiet_s >= self._limit_s:
                self._end(quiet_s)
                return


def end_process(quiet_s: float) -> NoReturn:
    """Write the stacks and end, with 1, whatever hangs."""
    # Its thread, in C, needs neither the interpreter's lock, which a write that nobody reads would
    # keep, nor those of the log, which the loop may have stopped in.
    faulthandler.dump_traceback_later(WRITING_S, exit=True, file=STDERR)
    log.error("stood_still", seconds=round(quiet_s, 1), exit_code=EX_STOOD_STILL)
    logs.flush()
    faulthandler.dump_traceback_later(AT_ONCE_S, exit=True, file=STDERR)
    time.sleep(WRITING_S)
    os._exit(EX_STOOD_STILL)
