"""The loop's time, shared by connections that have much to say.

A read of 64 KiB may hold thousands of tiny frames, which together would keep everybody else
waiting for a tenth of a second. So a connection is worked off for a slice of time; what is left
waits in line here, and of all that stand in line one has a slice per turn of the loop. Whoever
says little is not delayed by them: between two slices the loop reads and answers everybody else.
"""

import asyncio
from collections import deque
from collections.abc import Callable

SLICE_S = 0.004
SHORT_SLICE_S = 0.0005
"""What a connection has at its read while others stand in line: hundreds may come at once."""


class Turns:
    """The line. Each connection stands in it once at most."""

    def __init__(self) -> None:
        self._line: deque[Callable[[], None]] = deque()

    @property
    def slice_s(self) -> float:
        """How long what has just arrived may be worked off before it has to stand in line."""
        return SHORT_SLICE_S if self._line else SLICE_S

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` when its turn has come, never at once."""
        self._line.append(go_on)
        if len(self._line) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        go_on = self._line[0]
        try:
            go_on()  # it may stand in line anew, behind the others
        finally:
            self._line.popleft()
            if self._line:
                asyncio.get_running_loop().call_soon(self._next)
