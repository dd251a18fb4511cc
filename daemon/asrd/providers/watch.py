"""Whether a worker gets further: what is under way in it, and the time since it last did.

A worker carries out its calls in order, as many at a time as its model can, so the first that are
not answered are those that run. Each has a quiet time of its own, which is counted in the ticks of
whoever watches, each for no more than `LONGEST_TICK_S`: when the daemon itself was stopped, or the
machine slept, its workers are not to blame.
"""

import asyncio
from dataclasses import dataclass
from itertools import islice

from asrd.config import Supervision
from asrd.providers import calls, processes
from asrd.providers.patience import Patience

LONGEST_TICK_S = 1.0

Call = asyncio.Future[calls.AnyAnswer]


@dataclass(slots=True, kw_only=True)
class _Watched:
    """A call under way: ids are a worker's own, the future is one of a kind."""

    call: Call
    call_id: int
    audio_s: float
    windows: int
    is_partial: bool
    quiet_s: float = 0.0


class Watch:
    """The calls to one worker. `at_once` is how many of them it carries out at a time."""

    def __init__(self, patience: Patience) -> None:
        self.at_once = 1
        self._patience = patience
        self._calls: list[_Watched] = []
        self._ticked_s: float | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._calls)

    def began(
        self,
        call: Call,
        call_id: int,
        audio_s: float,
        windows: int = 1,
        *,
        is_partial: bool = False,
    ) -> None:
        """A call over so many windows was made, the longest of so much audio."""
        self._calls.append(
            _Watched(
                call=call,
                call_id=call_id,
                audio_s=audio_s,
                windows=windows,
                is_partial=is_partial,
            )
        )

    def ended(self, call: Call) -> None:
        """It was answered."""
        self._calls = [each for each in self._calls if each.call is not call]

    def progressed(self, call_id: int) -> None:
        """The worker has got further with a call."""
        for each in self._calls:
            if each.call_id == call_id:
                each.quiet_s = 0.0

    def clear(self) -> None:
        """The worker is gone, and with it every call."""
        self._calls.clear()

    def hung_for_s(self, now_s: float) -> float | None:
        """Seconds without progress of a call, where they are too many. To be asked regularly."""
        last_s, self._ticked_s = self._ticked_s, now_s
        if last_s is None:
            return None
        tick_s = min(now_s - last_s, LONGEST_TICK_S)
        hung_s = None
        for each in islice(self._calls, self.at_once):
            each.quiet_s += tick_s
            allowed_s = self._patience.allowance_s(
                each.audio_s, each.windows, is_partial=each.is_partial
            )
            if each.quiet_s > allowed_s:
                hung_s = max(each.quiet_s, hung_s or 0.0)
        return hung_s


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
