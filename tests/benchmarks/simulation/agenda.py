"""What happens when: a heap of events, and the clock that it moves."""

import heapq
from collections.abc import Callable
from typing import Any, TypeAlias

from support.clock import VirtualClock

Act: TypeAlias = Callable[[Any], None]
Progress: TypeAlias = Callable[[float, int], None]

PROGRESS_EVERY = 50_000


class Agenda:
    """Events in the order of their time; those of one moment in the order they were put down."""

    def __init__(self) -> None:
        self.clock = VirtualClock(0.0)
        self.done = 0
        self._heap: list[tuple[float, int, Act, Any]] = []
        self._put_down = 0

    @property
    def now_s(self) -> float:
        """The time of the event that happens now."""
        return self.clock.now_s()

    def at(self, at_s: float, act: Act, subject: Any = None) -> None:
        """Let something happen to a subject, at a time that has not passed."""
        self._put_down += 1
        heapq.heappush(self._heap, (at_s, self._put_down, act, subject))

    def run(self, until_s: float, progress: Progress | None = None) -> None:
        """Let everything happen that is due by then; `progress` hears the time and how much."""
        heap, clock = self._heap, self.clock
        while heap and heap[0][0] <= until_s:
            at_s, _, act, subject = heapq.heappop(heap)
            ahead_s = at_s - clock.now_s()
            if ahead_s > 0:
                clock.advance(ahead_s)
            self.done += 1
            if progress is not None and self.done % PROGRESS_EVERY == 0:
                progress(at_s, self.done)
            act(subject)
