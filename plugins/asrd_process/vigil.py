"""Waiting for a program: as long as it gets further, and somebody wants what it does."""

import time
from collections.abc import Callable

from asrd import DecodeCancelled, ProviderError
from asrd_process.program import Program

IDLE_S = 8.0
"""A program that neither moves bytes nor computes for so long, while it is waited for, hangs. After
10 s the daemon would think so of the worker, and end all programs with it."""


class Vigil:
    """A wait for a program on behalf of one call: passes on that it gets further."""

    def __init__(self, program: Program, keep_going: Callable[[], bool]) -> None:
        self._program = program
        self._keep_going = keep_going
        self._activity = program.activity
        self._moved_s = time.monotonic()

    def look(self) -> None:
        """See whether it got further since the last look.

        Raises:
            DecodeCancelled: it did, and nobody wants the call any more.
            ProviderError: it has done nothing for `IDLE_S`.
        """
        before, self._activity = self._activity, self._program.activity
        now_s = time.monotonic()
        if before != self._activity:
            self._moved_s = now_s
            if not self._keep_going():
                raise DecodeCancelled("Nobody wanted this utterance any more.")
        elif now_s - self._moved_s > IDLE_S:
            raise ProviderError(f"{self._program.name} has done nothing at all for {IDLE_S:g} s.")
