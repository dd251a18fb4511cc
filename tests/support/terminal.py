"""A program on a terminal of its own: what it writes there, and the state that it leaves behind."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from support.waiting import PATIENCE_S

UNIGNORED = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
"""
"""What a child does first whose signals are tested: `nohup` and a shell's jobs in the background
have some of them ignored, which children inherit."""

_LAUNCH = f"""{UNIGNORED}
import os, sys
os.login_tty(0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes descriptor 0 the controlling terminal, so that Ctrl-C is a signal."""


class Terminal:
    """Runs a Python program on a pseudo-terminal of so many columns and rows."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._ours, self._theirs = pty.openpty()
        self._resize(columns, rows)
        self.modes_before = termios.tcgetattr(self._theirs)
        self.written = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, sys.executable, *arguments],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def modes(self) -> list[Any]:
        """The terminal's modes now."""
        return termios.tcgetattr(self._theirs)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        self._resize(columns, rows)
        self.process.send_signal(signal.SIGWINCH)

    def read_until(self, *texts: str) -> str:
        """What was written since the last call up to now, once each text is in it."""
        until_s = time.monotonic() + PATIENCE_S
        seen = ""
        while not all(text in seen for text in texts):
            assert time.monotonic() < until_s, f"{texts} did not come: {seen[-2000:]!r}"
            seen += self._read(0.1)
        return seen

    def wait(self) -> int:
        """The exit status, once all that was written has been read."""
        until_s = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < until_s
            self._read(0.05)
        while self._read(0.0):
            pass
        return self.process.returncode

    def _read(self, timeout_s: float) -> str:
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return ""
        text = os.read(self._ours, 65536).decode(errors="replace")
        self.written += text
        return text

    def _resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, size)
