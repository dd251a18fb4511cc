"""Counters, and percentiles over the latest values."""

from collections import deque
from dataclasses import dataclass

KEPT_VALUES = 1024


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
    """What happened to the streams of one source or one provider."""

    waiting: int = 0
    decoding: int = 0
    finals: int = 0
    partials: int = 0
    failed: int = 0
    audio_s: float = 0.0
    decode_s: float = 0.0
    dropped_s: float = 0.0
