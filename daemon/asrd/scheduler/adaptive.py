"""How many slots `slots = "auto"` stands for now. Pure.

One slot is given back while other programs need the machine, one is taken while they do not, there
is memory, and work waits; in between, nothing changes. Our own decodes are meant to use the cores,
so only the CPU time of others counts: by the whole machine's the limit would fight itself.

The limit begins at its least. Too few slots cost somebody some queueing, for a second each; too
many cost every other program on the machine, and where memory is short more than that. A machine
that is left to us is taken up at one slot per `step_s`, and only while work waits.
"""

from asrd.config import Concurrency


class AdaptiveLimit:
    """A limit that really changes: whoever asks is told the present one.

    Decodes that run above a limit that was lowered simply finish.
    """

    def __init__(self, rule: Concurrency, cores: int) -> None:
        """Where the bounds contradict each other: an explicit `max_slots` is kept, and `min_slots`
        goes before the number of cores."""
        self._rule = rule
        self._most = rule.max_slots or max(cores, rule.min_slots)
        self._least = min(rule.min_slots, self._most)
        self._limit = self._least
        self._changed_s: float | None = None
        self._has_memory = True

    @property
    def limit(self) -> int:
        """Decodes that may run at a time."""
        return self._limit

    @property
    def has_memory(self) -> bool:
        """Whether memory was not low when last looked; while it is, no decode is to be admitted
        beside another."""
        return self._has_memory

    def observe(
        self,
        now_s: float,
        *,
        others_cpu: float,
        memory_free: float,
        memory_low: float,
        memory_high: float,
        is_wanted: bool,
    ) -> int:
        """What is seen now; returns the limit from now on, at most one from the last.

        `others_cpu` is the share of the machine's CPU time that other programs use. The three of
        memory are shares of the machine's, the latter two those of the rule. `is_wanted` says that
        work waits for a slot. The first change is made no sooner than `step_s` after the first
        observation, because a first look at CPU time tells nothing yet.
        """
        self._has_memory = memory_free >= memory_low
        if self._changed_s is None:
            self._changed_s = now_s
        if now_s - self._changed_s < self._rule.step_s:
            return self._limit
        if others_cpu > self._rule.cpu_high or not self._has_memory:
            self._change(now_s, -1)
        elif others_cpu < self._rule.cpu_low and memory_free >= memory_high and is_wanted:
            self._change(now_s, 1)
        return self._limit

    def _change(self, now_s: float, by: int) -> None:
        limit = min(max(self._limit + by, self._least), self._most)
        if limit != self._limit:
            self._limit = limit
            self._changed_s = now_s
