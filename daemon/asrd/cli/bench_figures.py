"""What `asrd bench` has measured, and what follows from it. Pure.

    Setup ──measured──► Figures ─┐
    Setup ──measured──► Figures ─┼─► sweet_spot ─► control_of ─measured─► judge ─► Verdict
    ...                         ─┘

As many streams as decode slots are measured at a time. More of both may be quicker for either
reason: engines read windows of several streams in one call, which needs no second slot. So the
sweet spot is measured once more with one slot, where more than one was in use at all, and only what
the slots themselves gain is advised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

LEAST_TOLERANCE = 0.05
"""What is slower by no more than this share counts as equal: two runs of the same differ by it."""

LEAST_RUN_S = 1.0
"""A run shorter than this says little: how the last utterances fall decides it."""

DISTURBED_SHARE = 0.1
"""Of all cores. Other programs that keep more than this busy are told of."""

MOST_OTHERS_SHARE = 0.25
"""The same; beyond this nothing is advised."""

SIDE_BY_SIDE = 1.05
"""Decodes under way at a time, on average, from which on there were two at times: a call's own
overhead is counted by each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """So many streams at once, of a daemon with so many decode slots."""

    streams: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The sweet spot, the slots to configure, and why; None and None where nothing can be said."""

    sweet: Figures | None
    slots: int | None
    why: str


def sweep(concurrency: Sequence[int]) -> list[Setup]:
    """The setups to measure: as many slots as streams, so that each stream may be decoded."""
    return [Setup(streams=count, slots=count) for count in concurrency]


def tolerance(measured: Sequence[Figures]) -> float:
    """The share by which figures may differ and say nothing."""
    return max(LEAST_TOLERANCE, *(figures.spread for figures in measured))


def sweet_spot(measured: Sequence[Figures]) -> Figures:
    """The fewest streams that are as fast as the fastest, within the tolerance."""
    least = max(figures.speed for figures in measured) * (1 - tolerance(measured))
    near = [figures for figures in measured if figures.speed >= least]
    return min(near, key=lambda figures: figures.setup.streams)


def control_of(sweet: Figures) -> Setup | None:
    """What tells whether slots or streams made the sweet spot fast; None where it was no slots."""
    if sweet.slots_used < SIDE_BY_SIDE:
        return None
    return Setup(streams=sweet.setup.streams, slots=1)


def judge(measured: Sequence[Figures], control: Figures | None, cores: int) -> Verdict:
    """What to configure on a machine of so many cores.

    `control` is the sweet spot with one slot, where more than one was in use.
    """
    every = measured if control is None else [*measured, control]
    others = max(figures.other_cores for figures in every)
    if others > MOST_OTHERS_SHARE * cores:
        why = "nothing is advised while other programs are so busy"
        return Verdict(sweet=None, slots=None, why=why)
    sweet = sweet_spot(measured)
    fewest = _fewest(measured, sweet, tolerance(every))
    if control is None:
        why = f"{fewest}; no two decodes ran side by side there: keep one slot"
        return Verdict(sweet=sweet, slots=1, why=why)
    if control.speed >= sweet.speed * (1 - tolerance(every)):
        why = (
            f"{fewest}; with one slot they are as fast ({as_times(control.speed)}, with "
            f"{sweet.setup.slots} {as_times(sweet.speed)}): keep one slot"
        )
        return Verdict(sweet=sweet, slots=1, why=why)
    why = (
        f"{fewest}; with one slot they reach {as_times(control.speed)} instead of "
        f"{as_times(sweet.speed)}"
    )
    return Verdict(sweet=sweet, slots=sweet.setup.slots, why=why)


def _fewest(measured: Sequence[Figures], sweet: Figures, share: float) -> str:
    best = max(measured, key=lambda figures: figures.speed)
    count = sweet.setup.streams
    streams = "1 stream is" if count == 1 else f"{count} streams at once are"
    near = "" if best is sweet else f" ({as_times(best.speed)} with {best.setup.streams})"
    return f"{streams} the fewest within {share:.0%} of the best{near}"


def doubts(measured: Sequence[Figures], cores: int) -> list[str]:
    """Why the figures may be wrong, a sentence for each reason; nothing where none is seen."""
    found = []
    shortest_s = min(figures.seconds for figures in measured)
    if shortest_s < LEAST_RUN_S:
        found.append(
            f"the shortest run took {shortest_s:.2g} s, which is little to judge by: take a longer "
            "recording"
        )
    if (share := tolerance(measured)) > LEAST_TOLERANCE:
        found.append(f"runs of the same differ by {share:.0%}: less than that means nothing")
    others = max(figures.other_cores for figures in measured)
    if others > DISTURBED_SHARE * cores:
        found.append(
            f"other programs kept up to {others:.1f} of {cores} cores busy meanwhile: end them and "
            "measure again"
        )
    return found


def as_times(speed: float) -> str:
    """A speed in words: so many times as fast as it was spoken."""
    return f"{speed:.0f}x" if speed >= 100 else f"{speed:.1f}x"
