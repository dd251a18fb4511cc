"""What `asrd bench` measures, and what is reckoned from it alone. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

LEAST_TOLERANCE = 0.05
"""What is slower by no more than this share counts as equal: two runs of the same differ by it."""

LEAST_WATCHED_S = 1.0
"""Times of processors are counted in hundredths of a second: over less time than this they do not
tell whether other programs worked, or we ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """So many streams at once, of a daemon with so many decode slots."""

    streams: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a setup was measured to take.

    `audio_s` is the length of one stream. `runs_s` has the wall time of each run, in which every
    stream was read once. `decode_p50_ms` and `decode_p95_ms` are those of one call of the model; 0
    where there was none. `memory_bytes` is the most that the daemon and its workers held, from
    their start on. `cores` are those they kept busy on average, `other_cores` those that all other
    programs did meanwhile. `slots_used` are the decodes that were under way at a time, on average.
    """

    setup: Setup
    audio_s: float
    runs_s: tuple[float, ...]
    decode_p50_ms: float
    decode_p95_ms: float
    memory_bytes: int
    gpu_memory_bytes: int = 0
    cores: float
    other_cores: float
    slots_used: float

    @property
    def seconds(self) -> float:
        """The median run."""
        return median(self.runs_s)

    @property
    def busy_others(self) -> float:
        """The cores that other programs kept busy; 0 where too little was watched to say it."""
        return self.other_cores if sum(self.runs_s) >= LEAST_WATCHED_S else 0.0

    @property
    def speed(self) -> float:
        """Seconds of audio, of all streams together, that are read in one second."""
        return self.setup.streams * self.audio_s / self.seconds

    @property
    def spread(self) -> float:
        """The middle half of its runs lies within this share of the median; 0 for a single run."""
        if len(self.runs_s) == 1:
            return 0.0
        lower, _, upper = quantiles(self.runs_s, method="inclusive")
        return (upper - lower) / self.seconds


def sweep(concurrency: Sequence[int]) -> list[Setup]:
    """The setups to measure: as many slots as streams, so that each stream may be decoded."""
    return [Setup(streams=count, slots=count) for count in concurrency]


def tolerance(measured: Sequence[Measurement]) -> float:
    """The share by which figures may differ and say nothing."""
    return max(LEAST_TOLERANCE, *(each.spread for each in measured))


def as_times(speed: float) -> str:
    """A speed in words: so many times as fast as it was spoken."""
    return f"{speed:.0f}x" if speed >= 100 else f"{speed:.1f}x"


def as_cores(cores: int) -> str:
    """How many cores a machine has, in words."""
    return "1 core" if cores == 1 else f"{cores} cores"
