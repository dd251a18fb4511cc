"""How often open utterances are read again: the interval between partials, by load. Pure.

There are three paces, and each but the first has a threshold of load. A pace is taken up as soon as
the load is above its threshold and kept until it is below four fifths of it. The steps of the
ladder set the least pace.
"""

from asrd.config import Pace
from asrd.scheduler.ladder import Step

KEPT_DOWN_TO = 0.8
"""The share of its threshold down to which a pace is kept."""


class Pacer:
    """Chooses the pace."""

    def __init__(self, rule: Pace) -> None:
        self._intervals_s = (rule.idle_s, rule.busy_s, rule.critical_s)
        self._thresholds = ((1, rule.busy_load), (2, rule.critical_load))
        self._by_load = 0
        self._by_step = 0

    @property
    def interval_s(self) -> float:
        """How much new audio an open utterance must hold before it is read again."""
        return self._intervals_s[max(self._by_load, self._by_step)]

    def observe(self, load: float, step: Step) -> float:
        """What is seen now; returns the interval from now on.

        Longer intervals make for less work, so by the load as it is they would take themselves
        back at once. The load handed in must therefore reckon partials at what they would cost at
        the idle pace, whatever the pace is: their cost times the interval over `idle_s`.
        """
        present = self._by_load
        self._by_load = 0
        for pace, threshold in self._thresholds:
            is_kept = pace <= present and load >= KEPT_DOWN_TO * threshold
            if is_kept or load > threshold:
                self._by_load = pace
        self._by_step = min(step, Step.FEWER_PARTIALS)
        return self.interval_s
