"""One running program: its pipes, what it says, and its end.

A thread reads what it prints, so that it never waits for a reader; whoever holds it for an
utterance writes the audio.
"""

import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from asrd import ProviderError
from asrd_process.group import Group
from asrd_process.output import Output, Reading, TooMuchPrinted
from asrd_process.remarks import Remarks

READ_BYTES = 2**16
LOOK_EVERY_S = 0.02
LISTEN_ON_S = 1.0
"""What a program started may hold its stdout for ever; so long it is heard after the end."""

LOOK_FOR_END_EVERY_S = 0.25

REAP_S = 2.0
"""A program whose pipe has broken is about to end; so long its exit code is waited for."""

READY_TAIL_BYTES = 4096
"""The mark of a loaded model is looked for in so much of what was said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a program is started, and how one sees that it listens.

    `arguments` begin with the program's path. They may hold secrets: no message tells them.
    """

    arguments: tuple[str, ...] = field(repr=False)
    ready: re.Pattern[str] | None
    ready_after_s: float

    @property
    def name(self) -> str:
        """The program's, for messages."""
        return Path(self.arguments[0]).name


class Program:
    """A program that was started. Start it from a thread that lives as long as it is wanted: the
    kernel ends the program with that thread."""

    def __init__(self, launch: Launch, on_change: Callable[[], None]) -> None:
        self.name = launch.name
        self.started_s = time.monotonic()
        self._launch = launch
        self._on_change = on_change
        self._changed = threading.Condition()
        self._input_lock = threading.Lock()
        self._output: Output | None = None
        self._remarks = Remarks()
        self._moved_bytes = 0
        self._printed_bytes = 0
        self._late_bytes = 0
        self._said_ready = False
        self._tails: dict[int, bytes] = {}
        self._problem = ""
        self._exit_code: int | None = None
        self._has_closed_input = False
        self._group = Group(launch.arguments)
        self._stdin = self._group.stdin
        try:
            os.set_blocking(self._stdin.fileno(), False)
            name = f"listen to {self.name}"
            threading.Thread(target=self._listen, name=name, daemon=True).start()
        except BaseException:
            self._group.abandon()
            raise

    # ── what is known of it ───────────────────────────────────────────────────────────────────

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._group.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, and everything that it said has been heard."""
        return self._exit_code is not None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; below 0 for the signal that ended it."""
        return self._exit_code

    @property
    def printed_bytes(self) -> int:
        """What it has printed on stdout since it was started."""
        return self._printed_bytes

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it listens, or, without a mark, has run for long enough."""
        if self._launch.ready is not None:
            return self._said_ready and not self.has_ended
        waited_s = time.monotonic() - self.started_s
        return waited_s >= self._launch.ready_after_s and not self.has_ended

    @property
    def activity(self) -> tuple[int, float, int]:
        """Bytes moved in and out of it, CPU seconds, memory: one of them moves while it works."""
        return self._moved_bytes, *self._group.activity()

    @property
    def cpu_s(self) -> float:
        """CPU seconds that it has used, and what it started."""
        return self._group.activity()[0]

    @property
    def end_told(self) -> str:
        """How it ended, in one clause, with what it said last."""
        code = self._exit_code
        how = "has closed its stdin" if self._has_closed_input else "is being ended"
        if code is not None:
            how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {_signal_name(-code)}"
        last = f": {self._remarks.last}" if self._remarks.last else ""
        return f"{self.name} {self._problem or how}{last}"

    def wait(self, timeout_s: float = LOOK_EVERY_S) -> None:
        """Wait until it prints, ends or takes something, or the time is over."""
        with self._changed:
            if not self.has_ended:
                self._changed.wait(timeout_s)

    # ── an utterance ──────────────────────────────────────────────────────────────────────────

    def begin(self, output: Output) -> None:
        """What it prints from now on belongs to `output`."""
        with self._changed:
            self._output = output
            late_bytes, self._late_bytes = self._late_bytes, 0
        if late_bytes:
            self.tell(f"{late_bytes} bytes were printed between utterances, and are left out")

    @property
    def reading(self) -> Reading:
        """What it has printed of the utterance so far."""
        with self._changed:
            return Reading() if self._output is None else self._output.reading

    def end_output(self) -> Reading:
        """The utterance's text is whole. Raises ProviderError where it printed too much."""
        with self._changed:
            output, self._output = self._output, None
            if self._problem:
                raise ProviderError(f"{self.end_told}.")
            if output is None:
                return Reading()
            try:
                output.end()
            except TooMuchPrinted as error:
                raise ProviderError(f"{self.name} printed {error} for one utterance.") from None
        if strays := getattr(output, "strays", 0):
            self.tell(f"{strays} lines that it printed were no JSON objects, and are left out")
        return output.reading

    def write(self, pcm: bytes, look: Callable[[], None], stall_s: float) -> None:
        """Have it take audio, calling `look` all the while.

        Raises:
            ProviderError: the program has ended, or has taken nothing for `stall_s`; and whatever
                `look` raises.
        """
        left = memoryview(pcm)
        moved_s = time.monotonic()
        while left:
            taken = self._write_some(left)
            if taken:
                left = left[taken:]
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s > stall_s:
                raise ProviderError(f"{self.name} has taken no audio for {stall_s:g} s.")
            else:
                self.wait()
            look()

    def _write_some(self, data: memoryview) -> int:
        """Bytes that went into the pipe; 0 when it is full. Raises ProviderError at its end."""
        with self._input_lock:  # each attempt is short, and none goes to a descriptor given back
            try:
                if not self._stdin.closed and not self.has_ended:
                    taken = os.write(self._stdin.fileno(), data[:READ_BYTES])
                    self._moved_bytes += taken
                    return taken
            except BlockingIOError:
                return 0
            except BrokenPipeError:
                self._has_closed_input = True  # unless it turns out to have ended
        raise self.death()

    def death(self) -> ProviderError:
        """The error for a program that ended, or its stdin did, before its utterance."""
        deadline_s = time.monotonic() + REAP_S
        while not self.has_ended and time.monotonic() < deadline_s:
            self.wait()
        return ProviderError(f"{self.end_told} (in the middle of an utterance).")

    def unread_bytes(self) -> int:
        """What it has not taken from its stdin; 0 where the system does not tell."""
        with self._input_lock:
            if self._stdin.closed:
                return 0
            try:
                told = fcntl.ioctl(self._stdin.fileno(), termios.FIONREAD, bytes(4))
            except OSError:
                return 0
        return int(struct.unpack("i", told)[0])

    # ── its end ───────────────────────────────────────────────────────────────────────────────

    def close_input(self) -> None:
        """Its stdin ends here."""
        with self._input_lock:
            self._stdin.close()

    def kill(self) -> None:
        """End it, and what it started that is still of its group."""
        self._group.kill()

    def tell(self, *lines: str) -> None:
        """Pass lines on to the worker's stderr."""
        for line in lines:
            sys.stderr.write(f"asrd_process: {self.name} ({self.pid}): {line}\n")
        sys.stderr.flush()

    # ── its listener's thread ─────────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        try:
            with self._group.stdout, self._group.stderr:
                self._hear()
            self.tell(*self._remarks.end(time.monotonic()))
        except BaseException:
            self.kill()  # nobody hears it any more
            raise
        finally:
            self._reap()

    def _hear(self) -> None:
        """Take what it prints until that ends, or it has ended for `LISTEN_ON_S`."""
        stdout, stderr = self._group.stdout.fileno(), self._group.stderr.fileno()
        takers = {stdout: self._take_printed, stderr: self._take_said}
        poller = select.poll()
        for descriptor in takers:
            poller.register(descriptor, select.POLLIN)
        ended_s: float | None = None
        while takers:
            for descriptor, _ in poller.poll(LOOK_FOR_END_EVERY_S * 1000):
                if data := os.read(descriptor, READ_BYTES):
                    self._moved_bytes += len(data)
                    self._look_for_mark(descriptor, data)
                    takers[descriptor](data)
                    self._notify()
                else:
                    poller.unregister(descriptor)
                    del takers[descriptor]
            if ended_s is None and self._group.has_leader_ended:
                ended_s = time.monotonic()
            if ended_s is not None and time.monotonic() - ended_s > LISTEN_ON_S:
                return

    def _look_for_mark(self, descriptor: int, data: bytes) -> None:
        if self._launch.ready is not None and not self._said_ready:
            tail = (self._tails.get(descriptor, b"") + data)[-READ_BYTES:]
            self._said_ready = (
                self._launch.ready.search(tail.decode("utf-8", "replace")) is not None
            )
            self._tails[descriptor] = tail[-READY_TAIL_BYTES:]

    def _take_printed(self, data: bytes) -> None:
        with self._changed:
            self._printed_bytes += len(data)
            if self._output is None:
                if self.is_ready:
                    self._late_bytes += len(data.strip())
                return
            try:
                self._output.take(data)
            except TooMuchPrinted as error:
                self._problem = self._problem or f"printed {error} for one utterance"
        if self._problem:
            self.kill()

    def _take_said(self, data: bytes) -> None:
        self.tell(*self._remarks.take(data, time.monotonic()))

    def _reap(self) -> None:
        """Wait for its end; it has closed what it printed to, and goes soon or is made to."""
        exit_code = self._group.reap()
        self.close_input()
        with self._changed:
            self._exit_code = exit_code
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._on_change()


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
