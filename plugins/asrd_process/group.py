"""The processes of one program: it leads a group, which is ended as a whole.

A command may name a wrapper that starts the program proper, so what they do is seen together.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

import psutil

from asrd_process import tied

LOOK_FOR_MORE_EVERY_S = 0.5
"""To find what a program has started, every process of the machine is looked at."""

MOST_SEEN = 32
"""Of the processes that a program started, so many are seen at work."""

REAP_EVERY_S = 0.02

WORKERS_OWN = {"OPENBLAS_NUM_THREADS": "1"}
"""What workers are started with for their own numpy; a program that computes needs its threads."""

CAN_WAIT_UNREAPED = hasattr(os, "waitid")
"""Whether one can see a process end and leave it its number for the moment."""


class Group:
    """A program that was started, and what it started. The kernel ends the program itself with the
    thread that makes this."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._members: list[psutil.Process] = []
        self._looked_s: float | None = None
        tie = [sys.executable, "-I", "-S", str(tied.__file__), str(os.getpid())]
        self._process = subprocess.Popen(
            [*tie, *arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if WORKERS_OWN.get(key) != value},
            start_new_session=True,
        )
        pipes = self._process.stdin, self._process.stdout, self._process.stderr
        stdin, stdout, stderr = pipes
        assert stdin and stdout and stderr  # noqa: PT018, S101 - for the type checker
        self.stdin: IO[bytes] = stdin
        self.stdout: IO[bytes] = stdout
        self.stderr: IO[bytes] = stderr

    @property
    def pid(self) -> int:
        """The leader's process id, and that of the group."""
        return self._process.pid

    @property
    def has_leader_ended(self) -> bool:
        """Whether the leader is gone. What it started may run on."""
        if not CAN_WAIT_UNREAPED:
            with self._lock:
                return self._process.poll() is not None
        try:
            asked = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, asked) is not None
        except ChildProcessError:  # it was reaped
            return True

    def activity(self) -> tuple[float, int]:
        """CPU seconds used and bytes resident, of the leader and what it started. Those of children
        that have ended are among the seconds."""
        with self._lock:
            if self._process.returncode is not None:
                return 0.0, 0
            members = self._seen()
        cpu_s, resident_bytes = 0.0, 0
        for process in members:
            with suppress(psutil.Error, OSError), process.oneshot():  # it may have ended by now
                cpu_s += sum(process.cpu_times()[:4])
                resident_bytes += process.memory_info().rss
        return cpu_s, resident_bytes

    def kill(self) -> None:
        """End the group."""
        with self._lock:
            if self._process.returncode is None:
                self._kill()

    def reap(self) -> int:
        """Wait for the leader's end, and end what it has left of the group. Its exit code, below 0
        for the signal that ended it. From one thread alone."""
        if CAN_WAIT_UNREAPED:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        while not self.has_leader_ended:
            time.sleep(REAP_EVERY_S)
        with self._lock:
            if self._process.returncode is None:  # the number is still the group's
                self._kill()
            return self._process.wait()

    def abandon(self) -> None:
        """End the group that nobody listens to, and close the pipes."""
        self.kill()
        self.reap()
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()

    def _kill(self) -> None:
        # What has become another user's cannot be ended; it sees the end of its stdin.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _seen(self) -> list[psutil.Process]:
        """The leader and what it started, by the last look for them."""
        now_s = time.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= LOOK_FOR_MORE_EVERY_S:
            self._looked_s = now_s
            with suppress(psutil.Error, OSError):
                leader = psutil.Process(self.pid)
                self._members = [leader]  # should no look beyond be possible
                self._members += leader.children(recursive=True)[:MOST_SEEN]
        return self._members
