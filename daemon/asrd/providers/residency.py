"""Which models stay in memory: pure rules over facts.

A model in use is never unloaded: one that a stream is open on, that decodes, or that is just being
loaded. Among the others the least recently used goes first; those that are kept warm never go.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from asrd.errors import ProviderError


class NoRoom(ProviderError):
    """A model cannot be loaded beside those that are in use. Nothing is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a loaded model takes, in the machine's memory and in its GPUs'."""

    memory_bytes: int = 0
    gpu_bytes: int = 0

    def __add__(self, other: "Footprint") -> "Footprint":
        return Footprint(
            memory_bytes=self.memory_bytes + other.memory_bytes,
            gpu_bytes=self.gpu_bytes + other.gpu_bytes,
        )

    def __sub__(self, other: "Footprint") -> "Footprint":
        return Footprint(
            memory_bytes=self.memory_bytes - other.memory_bytes,
            gpu_bytes=self.gpu_bytes - other.gpu_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A model in memory. `idle_s` counts from the end of its last work; 0 while it works."""

    key: Hashable
    footprint: Footprint
    idle_s: float
    is_in_use: bool
    is_kept_warm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What all models together may take. None: no limit."""

    max_models: int | None = None
    memory_bytes: int | None = None
    gpu_bytes: int | None = None

    def holds(self, count: int, total: Footprint) -> bool:
        """Whether so many models of so much memory are within it."""
        return (
            (self.max_models is None or count <= self.max_models)
            and (self.memory_bytes is None or total.memory_bytes <= self.memory_bytes)
            and (self.gpu_bytes is None or total.gpu_bytes <= self.gpu_bytes)
        )

    def is_relieved_by(self, leaving: Footprint, count: int, total: Footprint) -> bool:
        """Whether a model of so much memory, by leaving, lessens what there is too much of."""
        return (
            not self.holds(count, Footprint())
            or (leaving.memory_bytes > 0 and not self.holds(0, replace(total, gpu_bytes=0)))
            or (leaving.gpu_bytes > 0 and not self.holds(0, replace(total, memory_bytes=0)))
        )


def expired(tenants: Iterable[Tenant], idle_ttl_s: float | None) -> list[Hashable]:
    """Models that have had no work for longer than they may."""
    if idle_ttl_s is None:
        return []
    return [
        each.key
        for each in tenants
        if each.idle_s >= idle_ttl_s and not each.is_in_use and not each.is_kept_warm
    ]


def evictions(
    tenants: Sequence[Tenant], room: Room, wanted: Footprint | None = None
) -> list[Hashable] | None:
    """What has to go so that the rest, and one more model of `wanted`, are within the room.

    Least recently used first, and none whose leaving would not help. None: it cannot be done.
    Without `wanted`, what can go goes even when that is not enough.
    """
    total = sum((each.footprint for each in tenants), wanted or Footprint())
    count = len(tenants) + (wanted is not None)
    gone: list[Hashable] = []
    for each in least_recent_first(tenants):
        if room.is_relieved_by(each.footprint, count, total):
            gone.append(each.key)
            total -= each.footprint
            count -= 1
    return gone if wanted is None or room.holds(count, total) else None


def until_free(
    tenants: Sequence[Tenant], gone: Sequence[Hashable], short_bytes: int
) -> list[Hashable] | None:
    """What has to go, `gone` included, to free at least `short_bytes` of the machine's memory.

    Least recently used first, and none that holds nothing of it. None: it cannot be done.
    """
    return _until(tenants, gone, short_bytes, lambda held: held.memory_bytes)


def until_gpu_free(
    tenants: Sequence[Tenant], gone: Sequence[Hashable], short_bytes: int
) -> list[Hashable] | None:
    """The same for the memory of the GPUs, which count as one."""
    return _until(tenants, gone, short_bytes, lambda held: held.gpu_bytes)


def _until(
    tenants: Sequence[Tenant],
    gone: Sequence[Hashable],
    short_bytes: int,
    held_bytes: Callable[[Footprint], int],
) -> list[Hashable] | None:
    leaving = list(gone)
    freed = sum(held_bytes(each.footprint) for each in tenants if each.key in leaving)
    for each in least_recent_first(tenants):
        if freed >= short_bytes:
            break
        if each.key not in leaving and held_bytes(each.footprint) > 0:
            leaving.append(each.key)
            freed += held_bytes(each.footprint)
    return leaving if freed >= short_bytes else None


def least_recent_first(tenants: Iterable[Tenant]) -> list[Tenant]:
    """The models that may go, the one that has been idle for longest first."""
    free = [each for each in tenants if not each.is_in_use and not each.is_kept_warm]
    return sorted(free, key=lambda each: -each.idle_s)
