"""Whether one more window joins a batch. Pure.

A batch grows one by one, so what is asked is whether the step is worth taking. On a convex curve of
costs the time per window falls, then rises, so whoever goes on while it is near its best so far
stops where the whole curve would stop him. Real curves have bumps of noise; so worth is judged by
the smooth curve (see `costs`), which passes below a bump and is convex. What protects those
who wait, the longest call and the slowdown of the urgent, is judged by the means themselves, though
never above what a known call of more windows takes.

What was never tried is predicted in proportion, so it looks neither better nor worse than what is
known, and gets tried: up to twice the largest count known, a step that cannot hurt much. Where many
always wait, only large batches would ever be seen, and nothing would tell whether they pay. So a
window is read alone whenever nothing is known of a single one: that is one call in fifty, and the
cheapest.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from asrd.config import Batches
from asrd.scheduler.costs import Costs
from asrd.scheduler.measures import Outcome
from asrd.scheduler.queue import Job, Pick


@dataclass(frozen=True, slots=True)
class Took:
    """A batch that ended at `ended_s` had held its slot for `held_s`; `share_s` of that is the part
    of each window that was read."""

    ended_s: float
    held_s: float
    share_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Jobs that hold one slot together, until the scheduler is told that they have ended.

    `waits_s` is how long each has waited, `is_spared` whether it may not be aborted.
    """

    jobs: tuple[Job, ...]
    pick: Pick
    started_s: float
    waits_s: tuple[float, ...]
    is_spared: bool

    def took(self, now_s: float, outcomes: Sequence[Outcome]) -> Took:
        """What it took, where it ends now."""
        held_s = now_s - self.started_s
        return Took(now_s, held_s, held_s / max(outcomes.count(Outcome.READ), 1))

    def charged_part(self, outcomes: Sequence[Outcome]) -> float:
        """How much of the time that it held its slot its turn is to be charged with.

        A background turn pays for its own kind only: more urgent jobs that are read along have not
        been given any of what was saved up for it, so it would get less than its share.
        """
        worked = [
            job
            for job, outcome in zip(self.jobs, outcomes, strict=True)
            if outcome in (Outcome.READ, Outcome.FAILED)
        ]
        if not worked or not self.pick.is_background:
            return 1.0 if worked else 0.0
        lowest = self.jobs[0].priority
        return sum(job.priority >= lowest for job in worked) / len(worked)


DEARER = 1.1
"""How much more than at the best smaller count a window may take. Those who wait gain more by being
read along than this loses, and measured costs are no more exact."""

DEARER_THAN_ALONE = 1.03
"""How much more than by itself: reading together must never cost throughput worth speaking of."""

WORTH = 0.9
"""What a window in the best batch may take, as a share of one by itself: what saves less only keeps
the slot for longer."""

JUDGED_FROM = 4
"""The largest known count has to be so large before batches are given up."""

EXPLORED = 2
"""How many times the largest known count a batch may be; where nothing is known, its size."""


def may_join(
    rule: Batches,
    costs: Costs,
    lane: Hashable,
    count: int,
    *,
    max_batch: int,
    is_less_urgent: bool,
) -> bool:
    """Whether one more window of a lane joins a batch of `count`, one or more, of that lane.

    `max_batch` is what the engine can. `is_less_urgent` says that the window is of a lower class
    than the head of the batch: then the call may last no more than `rule.max_slowdown` times as
    long as one with the head alone. What such windows cost is learned from batches of equals, not
    at the expense of somebody more urgent.
    """
    joined = count + 1
    if joined > min(rule.max_batch, max_batch):
        return False
    curve = costs.curve(lane)
    if curve is None:
        return joined <= (rule.max_slowdown if is_less_urgent else EXPLORED)
    is_probe = count == 1 and curve.smallest > 1
    if is_probe or joined > curve.largest * EXPLORED:
        return False
    best_s = curve.best_window_s(curve.largest)
    if curve.largest >= JUDGED_FROM and best_s > WORTH * curve.window_s(1):
        return False
    call_s = curve.at_most_s(joined)
    if call_s > rule.max_s:
        return False
    if is_less_urgent and call_s > rule.max_slowdown * curve.at_most_s(1):
        return False
    window_s = curve.window_s(joined)
    if window_s > DEARER_THAN_ALONE * curve.window_s(1):
        return False
    return window_s <= DEARER * curve.best_window_s(count)
