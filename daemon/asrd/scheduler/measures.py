"""Counters, and percentiles over the latest values."""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto

KEPT_VALUES = 1024


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
