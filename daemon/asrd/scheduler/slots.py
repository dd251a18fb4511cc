"""The inference lock, counted: who may decode beside whom.

A decode holds a slot of its device group, counts against its provider's limit, and against what
its model can do at a time. Remote providers belong to no group and hold no slot.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from asrd.abilities import Abilities
from asrd.config import LOCAL_GROUP, Scheduling


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a provider decodes. `group` is None for a remote one; `max_decodes` None: no limit."""

    group: str | None = LOCAL_GROUP
    max_decodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Which of the limits that a decode counts against have been reached."""

    group: bool
    provider: bool
    model: bool


@dataclass(frozen=True, slots=True)
class Alone:
    """The batch key of a job that is to be the only one of its model while it is read.

    Its worker died over it and others, and whose fault that was is to be found out.
    """

    stream: Hashable


class Slots:
    """Counts the decodes that run, and says whether one more may.

    `local` is the number of slots of the default group and may change at any time; decodes that
    run beyond a lowered number finish. `has_memory` is whether a decode may run beside another.
    """

    def __init__(self, rule: Scheduling, placement_of: Callable[[str], Placement]) -> None:
        self._rule = rule
        self._placement_of = placement_of
        self._placements: dict[str, Placement] = {}
        self._by_group: Counter[str] = Counter()
        self._by_provider: Counter[str] = Counter()
        self._by_model: Counter[Hashable] = Counter()
        self._held_alone: set[Hashable] = set()
        self.local = rule.slots if isinstance(rule.slots, int) else rule.concurrency.min_slots
        self.has_memory = True

    def apply(self, rule: Scheduling) -> None:
        """Go by another rule: what runs beyond it finishes. Providers keep their groups."""
        self._rule = rule
        self._placements.clear()
        if isinstance(rule.slots, int):
            self.local = rule.slots

    @property
    def running(self) -> int:
        """Decodes that run now, remote ones among them."""
        return self._by_provider.total()

    def running_in(self, group: str) -> int:
        """Decodes that run now in a group."""
        return self._by_group[group]

    def placement(self, provider: str) -> Placement:
        """Where a provider decodes."""
        if provider not in self._placements:
            self._placements[provider] = self._placement_of(provider)
        return self._placements[provider]

    def of_group(self, group: str) -> int:
        """Decodes that may run at a time in a group."""
        return self.local if group == LOCAL_GROUP else self._rule.group_slots.get(group, 1)

    def is_free(
        self, provider: str, model: Hashable, abilities: Abilities, *, is_alone: bool = False
    ) -> bool:
        """Whether one more decode of that model may run, or, with `is_alone`, one and no other."""
        placement = self.placement(provider)
        most = placement.max_decodes
        at_once = 1 if is_alone else abilities.decodes_at_once
        return (
            (most is None or self._by_provider[provider] < most)
            and self._by_model[model] < at_once
            and model not in self._held_alone
            and (placement.group is None or self.has_room(placement.group))
        )

    def has_room(self, group: str) -> bool:
        """Whether a slot of the group is free."""
        busy = self._by_group[group]
        return busy < self.of_group(group) and (busy == 0 or self.has_memory)

    def full(self, provider: str, model: Hashable, abilities: Abilities) -> "Full":
        """What keeps one more decode of that model from running."""
        placement = self.placement(provider)
        most = placement.max_decodes
        return Full(
            group=placement.group is not None and not self.has_room(placement.group),
            provider=most is not None and self._by_provider[provider] >= most,
            model=self._by_model[model] >= abilities.decodes_at_once or model in self._held_alone,
        )

    def take(self, provider: str, model: Hashable, *, is_alone: bool = False) -> None:
        """A decode begins."""
        self._count(provider, model, 1)
        if is_alone:
            self._held_alone.add(model)

    def give_back(self, provider: str, model: Hashable) -> None:
        """A decode has ended."""
        self._count(provider, model, -1)

    def _count(self, provider: str, model: Hashable, change: int) -> None:
        self._by_provider[provider] += change
        self._by_model[model] += change
        if not self._by_model[model]:
            del self._by_model[model]
            self._held_alone.discard(model)
        group = self.placement(provider).group
        if group is not None:
            self._by_group[group] += change
