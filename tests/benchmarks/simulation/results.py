"""What a simulation has found out: latencies by priority, drops, shares, steps of the ladder."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from asrd.scheduler.ladder import Step


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of so many durations, in seconds; zeros where there was none."""

    count: int
    p50: float
    p95: float
    p99: float


def spread(values: Sequence[float]) -> Spread:
    """The percentiles of some durations (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        return Spread(0, 0.0, 0.0, 0.0)
    ranks = [-(-len(ordered) * percent // 100) - 1 for percent in (50, 95, 99)]
    return Spread(len(ordered), *(ordered[rank] for rank in ranks))


@dataclass(slots=True)
class Utterances:
    """What became of all utterances of a source, or windows of a file."""

    heard: int = 0
    read: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A step of the ladder, taken or taken back."""

    at_s: float
    step: Step
    load: float


def _arrays() -> "defaultdict[str, array[float]]":
    return defaultdict(lambda: array("d"))


@dataclass(slots=True)
class Results:
    """Collected by source while the world goes on, and from `from_s` on where nothing else is said.

    `finals_wait` and `partials_wait` are queue waits, `finals` from the moment an utterance was
    heard to its text. `utterances`, `moves` and `told`, the events that streams were sent because
    of the ladder, are from the start. `decode_s` is the time that slots were held, `offered_s` what
    live finals would take if each were read alone.
    """

    from_s: float
    until_s: float
    slots: int
    finals: "defaultdict[str, array[float]]" = field(default_factory=_arrays)
    finals_wait: "defaultdict[str, array[float]]" = field(default_factory=_arrays)
    partials_wait: "defaultdict[str, array[float]]" = field(default_factory=_arrays)
    batches: "dict[bool, Counter[int]]" = field(
        default_factory=lambda: {False: Counter(), True: Counter()}
    )
    decode_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    dropped_s: defaultdict[tuple[str, str], float] = field(
        default_factory=lambda: defaultdict(float)
    )
    utterances: defaultdict[str, Utterances] = field(
        default_factory=lambda: defaultdict(Utterances)
    )
    moves: list[Move] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    aborted: int = 0
    offered_s: float = 0.0
    events: int = 0

    @property
    def measured_s(self) -> float:
        """Seconds that figures are taken over."""
        return self.until_s - self.from_s

    @property
    def busy(self) -> float:
        """The share of the slots' time that they were held."""
        return sum(self.decode_s.values()) / (self.measured_s * self.slots)

    @property
    def offered(self) -> float:
        """The load in live finals alone, each read by itself."""
        return self.offered_s / (self.measured_s * self.slots)

    def share(self, source: str) -> float:
        """The part of all decode time that a source had."""
        return self.decode_s[source] / (sum(self.decode_s.values()) or 1.0)

    def lost_s(self, source: str) -> float:
        """Seconds that a source has had dropped, and told."""
        return sum(took_s for (name, _), took_s in self.dropped_s.items() if name == source)

    @property
    def highest(self) -> Step:
        """The highest step that was on at any time from `from_s` on."""
        steps = [move.step for move in self.moves if move.at_s >= self.from_s]
        return max([self.step_at(self.from_s), *steps])

    def step_at(self, at_s: float) -> Step:
        """The step that was on at a moment."""
        before = [move.step for move in self.moves if move.at_s <= at_s]
        return before[-1] if before else Step.NORMAL

    @property
    def turnings(self) -> int:
        """How often the ladder went the other way than the time before: none where it settles."""
        steps = [Step.NORMAL, *(move.step for move in self.moves)]
        ways = [after > before for before, after in pairwise(steps)]
        return sum(one != other for one, other in pairwise(ways))
