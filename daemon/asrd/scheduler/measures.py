"""Counters, percentiles over the latest values, and histograms over all of them."""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

KEPT_VALUES = 1024

WAIT_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DECODE_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DELAY_BOUNDS_S = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""The trailing silence that ends an utterance is part of it, so there is little below half a
second, and most of what differs is just above."""
FACTOR_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
WINDOWS_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
LAG_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Upper bounds of what is counted together, the same for ever: two daemons, or two versions of one,
can be added up."""


class Outcome(Enum):
    """What became of a job."""

    READ = auto()
    FAILED = auto()
    PUT_BACK = auto()
    """It was aborted, or its worker died: its stream wants it again."""
    NOTHING = auto()
    """When its turn came, its stream wanted nothing; or it has ended meanwhile."""


class Latencies:
    """The latest durations of one kind, in seconds."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=KEPT_VALUES)

    def add(self, seconds: float) -> None:
        """Note one duration."""
        self._values.append(seconds)

    def percentiles_ms(self) -> dict[str, float]:
        """`p50`, `p95` and `p99` in milliseconds (nearest rank); empty before the first value."""
        if not self._values:
            return {}
        ordered = sorted(self._values)
        count = len(ordered)
        return {  # rank ceil(count * percent / 100), in whole numbers
            f"p{percent}": round(ordered[-(-count * percent // 100) - 1] * 1000, 3)
            for percent in (50, 95, 99)
        }


class Histogram:
    """How many values were at most each of some ascending `bounds`, and their sum."""

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def add(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self._counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Each bound, infinity the last, and how many values were at most that."""
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self._counts, strict=True):
            seen += count
            yield bound, seen


class OfKinds:
    """A histogram of finals and one of partials."""

    __slots__ = ("finals", "partials")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.finals = Histogram(bounds)
        self.partials = Histogram(bounds)

    def add(self, value: float, *, is_partial: bool) -> None:
        """Count a value."""
        (self.partials if is_partial else self.finals).add(value)


@dataclass(slots=True)
class Tally:
    """What happened to the streams of one source or one provider.

    `waiting` and `decoding` are as they are now, all else is since the start. `decode_s` is the
    time that slots were held; windows that were read together share it. `coalesced` partials were
    never decoded, because newer audio came first; `left_out` were not let in because the queue of
    their source was full. `batches` counts calls by how many windows they held.
    """

    waiting: int = 0
    decoding: int = 0
    finals: int = 0
    partials: int = 0
    failed: int = 0
    aborted: int = 0
    coalesced: int = 0
    left_out: int = 0
    timed_out: int = 0
    audio_s: float = 0.0
    decode_s: float = 0.0
    dropped_s: float = 0.0
    batches: Counter[int] = field(default_factory=Counter)
    queue_wait: Latencies = field(default_factory=Latencies)
    decode_time: Latencies = field(default_factory=Latencies)

    @property
    def real_time_factor(self) -> float | None:
        """Decode time over audio; None before the first decode."""
        return self.decode_s / self.audio_s if self.audio_s else None

    def count(self, outcome: Outcome, *, is_partial: bool, is_aborted: bool) -> None:
        """A decode has ended. `is_aborted`: it was, or was to be, stopped for a more urgent one."""
        match outcome:
            case Outcome.READ:
                self.finals += not is_partial
                self.partials += is_partial
            case Outcome.PUT_BACK if is_aborted:
                self.aborted += 1
            case Outcome.FAILED | Outcome.PUT_BACK:
                self.failed += 1
            case Outcome.NOTHING:
                pass
