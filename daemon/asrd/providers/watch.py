"""Whether a worker gets further: what is under way in it, and the time since it last did.

A worker carries out one call at a time, so the first that is not answered is the one that runs.
Its quiet time is counted in the ticks of whoever watches, each for no more than `LONGEST_TICK_S`:
when the daemon itself was stopped, or the machine slept, its workers are not to blame.
"""

import asyncio
from collections import deque

from asrd.config import Supervision
from asrd.providers import calls, processes
from asrd.providers.patience import Patience

LONGEST_TICK_S = 1.0

Call = asyncio.Future[calls.AnyAnswer]


class Watch:
    """The calls to one worker."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._calls: deque[tuple[Call, float]] = deque()
        self._quiet_s = 0.0
        self._ticked_s: float | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._calls)

    def began(self, call: Call, audio_s: float) -> None:
        """A call over so much audio was made."""
        if not self._calls:
            self._quiet_s = 0.0
        self._calls.append((call, audio_s))

    def ended(self, call: Call) -> None:
        """It was answered."""
        self._calls = deque(each for each in self._calls if each[0] is not call)
        self._quiet_s = 0.0

    def progressed(self) -> None:
        """The worker has got further."""
        self._quiet_s = 0.0

    def clear(self) -> None:
        """The worker is gone, and with it every call."""
        self._calls.clear()

    def hung_for_s(self, now_s: float) -> float | None:
        """Seconds without progress where they are too many. To be asked regularly."""
        last_s, self._ticked_s = self._ticked_s, now_s
        if not self._calls or last_s is None:
            return None
        self._quiet_s += min(now_s - last_s, LONGEST_TICK_S)
        allowed_s = self._patience.allowance_s(self._calls[0][1])
        return self._quiet_s if self._quiet_s > allowed_s else None


class LoadWatch:
    """One load: what the worker says of it, and what its process uses."""

    def __init__(self) -> None:
        self._quiet_s = 0.0
        self._took_s = 0.0
        self._ticked_s: float | None = None
        self._activity = (0.0, 0)

    def progressed(self) -> None:
        """The worker says that it has got further."""
        self._quiet_s = 0.0

    def hung_for_s(self, now_s: float, pid: int, rule: Supervision) -> float | None:
        """Seconds without progress, or in all, where they are too many. To be asked regularly."""
        last_s, self._ticked_s = self._ticked_s, now_s
        if last_s is None:
            return None
        tick_s = min(now_s - last_s, LONGEST_TICK_S)
        self._quiet_s += tick_s
        self._took_s += tick_s
        activity = processes.activity(pid)
        if activity != self._activity:
            self._activity = activity
            self._quiet_s = 0.0
        if self._quiet_s > rule.load_hang_after_s:
            return self._quiet_s
        return self._took_s if self._took_s > rule.load_timeout_s else None
