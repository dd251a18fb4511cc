"""How often the log says the same: each event so many times at once, then so many times a second.

What repeats is counted instead, and the counts are told in a line of their own. The time is handed
in.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from asrd.scheduler.bucket import TokenBucket

USUAL_BURST, USUAL_PER_S = 20, 1.0
"""Of one event."""

RECORD_BURST, RECORD_PER_S = 500, 50.0
"""Of lines that are the record of a stream: three times as many as a daemon writes to which a
thousand clients a minute connect, with a stream each."""

ENDED, REFUSED = "stream_ended", "stream_refused"

RECORDS = frozenset({ENDED, REFUSED})

OWN = frozenset({"log_lines_suppressed", "log_lines_lost"})
"""What tells of lines that are missing, and is seldom for that reason."""

MAX_EVENTS = 512
"""Events are named in the code. Should a plugin make names up, those beyond share one bucket."""

OTHER = "(other)"

TELL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Lines that were left out, by event. `has_errors`: some of them told of errors."""

    events: dict[str, int]
    has_errors: bool


class RateLimit:
    """A processor of structlog that lets through what is not said too often. For any thread."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._buckets: dict[str, TokenBucket] = {}
        self._left_out: Counter[str] = Counter()
        self._has_errors = False
        self._told_at_s = -TELL_EVERY_S
        self._is_ending = False
        self.suppressed_lines = 0
        """Since the start, told or not."""

    def __call__(
        self, logger: Any, method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        """Let a line pass. Raises DropEvent when it is one too many."""
        name = str(event.get("event"))
        if name in OWN or (self._is_ending and name == ENDED):
            return event
        with self._lock:
            if name not in self._buckets and len(self._buckets) >= MAX_EVENTS:
                name = OTHER
            now_s = self._now_s()
            bucket = self._buckets.get(name)
            if bucket is None:
                is_record = name in RECORDS
                bucket = self._buckets[name] = TokenBucket(
                    RECORD_PER_S if is_record else USUAL_PER_S,
                    RECORD_BURST if is_record else USUAL_BURST,
                    now_s,
                )
            if not bucket.take(1, now_s):
                return event
            self._left_out[name] += 1
            self.suppressed_lines += 1
            self._has_errors |= event.get("level") in ("error", "critical")
        raise structlog.DropEvent

    def end(self) -> None:
        """Leave out no end of a stream any more: all that are open end now, and no more come.

        Refusals keep their limit: who is turned away may ask again at once.
        """
        self._is_ending = True

    def take_left_out(self, *, at_once: bool = False) -> LeftOut | None:
        """What was left out and not told yet; None where there is nothing, or it was told so
        recently that it is to wait. `at_once`: it does not wait."""
        with self._lock:
            now_s = self._now_s()
            if not self._left_out or not (at_once or now_s - self._told_at_s >= TELL_EVERY_S):
                return None
            self._told_at_s = now_s
            told = LeftOut(dict(self._left_out.most_common()), self._has_errors)
            self._left_out.clear()
            self._has_errors = False
            return told
