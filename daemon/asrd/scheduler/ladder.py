"""The degrade ladder: which step of service overload has led to. Pure.

A step up is taken when the load, or the age of the oldest live final that waits, stays above the
threshold of the next step; a step down when both stay well below the threshold of the present one.
What a step saves must not make it look unnecessary, so the way down is judged by the load that
there would be without the step. Between any two steps the way up wants more than a threshold and
the way down less than a share of the same threshold, so a constant load moves the ladder in one
direction only, and it settles.

Time counts between observations, and no more of it than `LONGEST_TICK_S` between any two: what was
while the machine slept, nobody has seen.
"""

from enum import IntEnum

from asrd.config import LadderRule

LONGEST_TICK_S = 1.0


class Step(IntEnum):
    """What is done about overload; each step keeps what those before it do."""

    NORMAL = 0
    LONGER_CHUNKS = 1
    FEWER_PARTIALS = 2
    SMALLER_MODEL = 3
    FINALS_ONLY = 4
    """The secondary source gets finals only."""
    SHED = 5
    """And its backlog is cut."""


_LEVELS = {
    Step.NORMAL: 0,
    Step.LONGER_CHUNKS: 1,
    Step.FEWER_PARTIALS: 2,
    Step.SMALLER_MODEL: 2,
    Step.FINALS_ONLY: 3,
    Step.SHED: 3,
}


def level_of(step: Step) -> int:
    """The level, 0 to 3, that clients are told. (Level 4, a fallback, is no matter of load.)"""
    return _LEVELS[step]


class Ladder:
    """Climbs and descends one step at a time, by what it is shown."""

    def __init__(self, rule: LadderRule) -> None:
        self._step = Step.NORMAL
        self._latest_s: float | None = None
        self._above = _Lasting()
        self._below = _Lasting()
        self.apply(rule)

    def apply(self, rule: LadderRule) -> None:
        """Go by another rule. One that is not enabled takes every step back at once."""
        self._rule = rule
        longer = rule.longer_chunks_load, rule.longer_chunks_age_s
        fewer = rule.fewer_partials_load, rule.fewer_partials_age_s
        shed = rule.shed_load, rule.shed_age_s
        self._thresholds = {
            Step.LONGER_CHUNKS: longer,
            Step.FEWER_PARTIALS: fewer,
            Step.SMALLER_MODEL: fewer,
            Step.FINALS_ONLY: shed,
            Step.SHED: shed,
        }
        if not rule.enabled:
            self._move(-self._step)

    @property
    def step(self) -> Step:
        """The present step."""
        return self._step

    def observe(
        self, *, now_s: float, load: float, load_undone: float, oldest_age_s: float
    ) -> Step:
        """What is seen now; returns the step from now on, at most one from the last.

        `load_undone` is the load there would be if the present step were taken back; less than
        `load` is taken for `load`. `oldest_age_s` is 0 where no live final waits. To be called
        regularly, at least once per `LONGEST_TICK_S`.
        """
        latest_s = now_s if self._latest_s is None else self._latest_s
        tick_s = min(max(now_s - latest_s, 0.0), LONGEST_TICK_S)
        self._latest_s = max(now_s, latest_s)
        if not self._rule.enabled:
            return self._step
        is_above = self._is_above(load, oldest_age_s)
        is_below = self._is_below(max(load, load_undone), oldest_age_s)
        above_s = self._above.observe(is_above, tick_s)
        below_s = self._below.observe(is_below, tick_s)
        if is_above and above_s >= self._rule.up_after_s:
            self._move(1)
        elif is_below and below_s >= self._rule.down_after_s:
            self._move(-1)
        return self._step

    def _is_above(self, load: float, oldest_age_s: float) -> bool:
        if self._step is Step.SHED:
            return False
        next_load, next_age_s = self._thresholds[Step(self._step + 1)]
        return load > next_load or oldest_age_s > next_age_s

    def _is_below(self, load_undone: float, oldest_age_s: float) -> bool:
        if self._step is Step.NORMAL:
            return False
        own_load, own_age_s = self._thresholds[self._step]
        ratio = self._rule.down_ratio
        return load_undone < ratio * own_load and oldest_age_s < ratio * own_age_s

    def _move(self, by: int) -> None:
        """What was seen before concerned another step, so both counts begin anew."""
        self._step = Step(self._step + by)
        self._above = _Lasting()
        self._below = _Lasting()


class _Lasting:
    """How long something has been so at every observation."""

    def __init__(self) -> None:
        self._lasted_s: float | None = None

    def observe(self, is_so: bool, tick_s: float) -> float:
        """Seconds since the first of the observations in a row at which it was so."""
        if not is_so:
            self._lasted_s = None
        elif self._lasted_s is None:
            self._lasted_s = 0.0
        else:
            self._lasted_s += tick_s
        return self._lasted_s or 0.0
