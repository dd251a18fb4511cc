"""What follows from what `asrd bench` has measured. Pure.

    Setup ──measured──► Measurement ─┐
    Setup ──measured──► Measurement ─┼─► sweet_spot ─► control_of ─measured─► advise ─► Advice
    ...                             ─┘

As many streams as decode slots are measured at a time. More of both may be quicker for either
reason: engines read windows of several streams in one call, which needs no second slot. So the
sweet spot is measured once more with one slot, and only what the slots themselves gain is advised:
nothing is advised that was not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from asrd.cli.benching.measurements import (
    LEAST_TOLERANCE,
    Measurement,
    Setup,
    as_cores,
    as_times,
    tolerance,
)

LEAST_RUN_S = 1.0
"""A run shorter than this says little: how the last utterances fall decides it."""

DISTURBED_SHARE = 0.1
"""Of all cores. Other programs that keep more than this busy are told of."""

MOST_OTHERS_SHARE = 0.25
"""The same; beyond this nothing is advised."""


ONE_AT_A_TIME = 1.05
"""Decodes under way, on average. Up to here only the first slot was of use, whatever speed says: a
model that reads one window at a time differs from itself by more than the tolerance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The sweet spot, the slots to configure, and why; None and None where nothing can be said."""

    sweet: Measurement | None
    slots: int | None
    why: str


def sweet_spot(measured: Sequence[Measurement]) -> Measurement:
    """The fewest streams that are as fast as the fastest, within the tolerance."""
    least = max(each.speed for each in measured) * (1 - tolerance(measured))
    near = [each for each in measured if each.speed >= least]
    return min(near, key=lambda each: each.setup.streams)


def control_of(sweet: Measurement) -> Setup | None:
    """What tells whether slots or streams made the sweet spot fast; None where it had one slot."""
    if sweet.setup.slots == 1:
        return None
    return Setup(streams=sweet.setup.streams, slots=1)


def advise(measured: Sequence[Measurement], control: Measurement | None, cores: int) -> Advice:
    """What to configure on a machine of so many cores.

    `control` is the sweet spot with one slot, where it had more than one.
    """
    every = measured if control is None else [*measured, control]
    if max(each.busy_others for each in every) > MOST_OTHERS_SHARE * cores:
        why = "nothing is advised while other programs are so busy"
        return Advice(sweet=None, slots=None, why=why)
    sweet = sweet_spot(measured)
    fewest = _fewest(measured, sweet, tolerance(measured))
    if control is None:
        return Advice(sweet=sweet, slots=1, why=f"{fewest}: keep one slot")
    share = tolerance(every)
    both = f"{as_times(control.speed)}, with {sweet.setup.slots} {as_times(sweet.speed)}"
    if sweet.slots_used < ONE_AT_A_TIME:
        why = f"{fewest}, yet one decode ran at a time (with one slot {both}): keep one slot"
        return Advice(sweet=sweet, slots=1, why=why)
    if control.speed < sweet.speed * (1 - share):
        why = (
            f"{fewest}; with one slot they reach {as_times(control.speed)} instead of "
            f"{as_times(sweet.speed)}"
        )
        return Advice(sweet=sweet, slots=sweet.setup.slots, why=why)
    how = "faster" if sweet.speed < control.speed * (1 - share) else "as fast"
    why = f"{fewest}; with one slot they are {how} ({both}): keep one slot"
    return Advice(sweet=sweet, slots=1, why=why)


def _fewest(measured: Sequence[Measurement], sweet: Measurement, share: float) -> str:
    best = max(measured, key=lambda each: each.speed)
    count = sweet.setup.streams
    streams = "1 stream is" if count == 1 else f"{count} streams at once are"
    near = "" if best is sweet else f" ({as_times(best.speed)} with {best.setup.streams})"
    return f"{streams} the fewest within {share:.0%} of the best{near}"


def doubts(measured: Sequence[Measurement], cores: int) -> list[str]:
    """Why the figures may be wrong, a sentence for each reason; nothing where none is seen."""
    found = []
    shortest_s = min(each.seconds for each in measured)
    if shortest_s < LEAST_RUN_S:
        found.append(
            f"the shortest run took {shortest_s:.2g} s, which is little to judge by: take a longer "
            "recording"
        )
    if (share := tolerance(measured)) > LEAST_TOLERANCE:
        found.append(f"runs of the same differ by {share:.0%}: less than that means nothing")
    others = max(each.busy_others for each in measured)
    if others > DISTURBED_SHARE * cores:
        found.append(
            f"other programs kept up to {others:.1f} of {as_cores(cores)} busy meanwhile: end them "
            "and measure again"
        )
    return found
