"""What the loaded models take of the machine, and which of them have to go.

The rules are `residency`'s; here the facts are gathered: who is in use, since when not, and how
much memory each worker holds (measured once it is up, judged by its files before).
"""

from collections import Counter
from collections.abc import Mapping
from typing import cast

from asrd.clock import Clock
from asrd.config import Config, size_bytes
from asrd.providers import residency
from asrd.providers.catalogue import Catalogue, ModelKey
from asrd.providers.inspection import available_memory_bytes
from asrd.providers.lifecycle import ModelState
from asrd.providers.processes import machine_memory_bytes
from asrd.providers.residency import Footprint, NoRoom, Room, Tenant
from asrd.providers.resident import Resident

Residents = Mapping[ModelKey, Resident]


class Tenancy:
    """Keeps account of the models that a pool holds."""

    def __init__(self, catalogue: Catalogue, config: Config, clock: Clock) -> None:
        self._catalogue = catalogue
        self._config = config
        self._rule = config.residency
        self._clock = clock
        self._streams: Counter[ModelKey] = Counter()
        self._used_at_s: dict[ModelKey, float] = {}
        self._sizes: dict[ModelKey, Footprint] = {}
        self._holders: set[ModelKey] = set()
        self._gpu_total_bytes: int | None = None
        self._gpu_free_bytes: dict[ModelKey, int] = {}

    def apply(self, config: Config) -> None:
        """Go by another configuration from the next look on."""
        self._config = config
        self._rule = config.residency

    def streams_on(self, key: ModelKey) -> int:
        """How many streams are open on a model."""
        return self._streams[key]

    def acquire(self, key: ModelKey) -> None:
        """A stream is open on this model, which stays in memory until `release`."""
        self._streams[key] += 1

    def release(self, key: ModelKey) -> None:
        """A stream is on this model no more."""
        self._streams[key] -= 1
        self.touch(key)

    def touch(self, key: ModelKey) -> None:
        """The model has come up, or has just read for a stream: its idle time begins anew."""
        self._used_at_s[key] = self._clock.now_s()

    def leave(self, key: ModelKey) -> None:
        """The model is unloaded."""
        self._holders.discard(key)
        self.learn_gpu_free(key, None)

    def learn_gpu_total(self, gpu_total_bytes: int) -> None:
        """The GPUs that models run on have so much memory."""
        self._gpu_total_bytes = gpu_total_bytes or self._gpu_total_bytes

    def learn_gpu_free(self, key: ModelKey, free_bytes: int | None) -> None:
        """So much is free on the fullest GPU that this model runs on. None: on none, or unknown."""
        if free_bytes is None:
            self._gpu_free_bytes.pop(key, None)
        else:
            self._gpu_free_bytes[key] = free_bytes

    @property
    def gpu_memory(self) -> tuple[int, int] | None:
        """What is free on the fullest GPU that models run on, and the whole memory of a model's.

        None where nobody has told.
        """
        if not self._gpu_free_bytes or self._gpu_total_bytes is None:
            return None
        return min(self._gpu_free_bytes.values()), self._gpu_total_bytes

    def claim(
        self, key: ModelKey, residents: Residents, gpu_free_bytes: int | None = None
    ) -> list[ModelKey]:
        """Take room for a model that is about to be loaded; returns what has to go first.

        Args:
            key: the model.
            residents: what is loaded or about to be, the model itself among it or not.
            gpu_free_bytes: what is free on the GPU that the model is put on; None where it is put
                on none, or nobody knows.

        Raises:
            NoRoom: there is none, and what to do.
        """
        others = {each: resident for each, resident in residents.items() if each != key}
        wanted, tenants, room = self._size(key), self._tenants(others), self._room()
        gone = residency.evictions(tenants, room, wanted)
        if gone is None:
            raise NoRoom(_no_room(key, wanted, tenants, room))
        free_bytes = available_memory_bytes()
        gone = residency.until_free(tenants, gone, wanted.memory_bytes - free_bytes)
        if gone is None:
            raise NoRoom(
                f"there is too little memory for {key}: it takes at least "
                f"{_megabytes(wanted.memory_bytes)} and {_megabytes(free_bytes)} are free; choose "
                "a smaller model or end other programs"
            )
        if gpu_free_bytes is not None:
            # Measured when it ran before; the least is what its files hold.
            gpu_bytes = wanted.gpu_bytes or self._catalogue.size(key).memory_bytes
            gone = residency.until_gpu_free(tenants, gone, gpu_bytes - gpu_free_bytes)
            if gone is None:
                raise NoRoom(
                    f"there is too little GPU memory for {key}: it takes at least "
                    f"{_megabytes(gpu_bytes)} and {_megabytes(gpu_free_bytes)} are free; choose "
                    "a smaller model, have it run on the CPU, or end other programs on the GPU"
                )
        self._holders.add(key)
        self._used_at_s[key] = self._clock.now_s()
        return [each for each in others if each in gone]

    def overstayed(self, residents: Residents) -> dict[ModelKey, str]:
        """The models that have to go now, and why."""
        tenants = self._tenants(residents)
        reasons: dict[object, str] = {}
        least_bytes = size_bytes(self._rule.min_available, machine_memory_bytes())
        if available_memory_bytes() < least_bytes:
            # One at a time: what it gives back shows at the next look.
            for each in residency.least_recent_first(tenants)[:1]:
                reasons[each.key] = "memory is short"
        over = residency.evictions(tenants, self._room()) or []
        reasons |= dict.fromkeys(over, "over budget")
        reasons |= dict.fromkeys(residency.expired(tenants, self._rule.idle_ttl_s), "idle")
        for each in tenants:
            if not each.is_in_use and not self._catalogue.is_current(cast(ModelKey, each.key)):
                reasons[each.key] = "its settings have changed"
        return {key: reasons[key] for key in residents if key in reasons}

    def _tenants(self, residents: Residents) -> list[Tenant]:
        return [
            self._tenant(key, resident)
            for key, resident in residents.items()
            if key in self._holders and resident.state is not ModelState.UNAVAILABLE
        ]

    def _tenant(self, key: ModelKey, resident: Resident) -> Tenant:
        now_s = self._clock.now_s()
        is_loading = resident.state.is_coming_up and not resident.is_restarting
        is_working = resident.is_busy or is_loading
        is_in_use = is_working or self._streams[key] > 0
        if is_in_use:
            self._used_at_s[key] = now_s
        measured = Footprint(memory_bytes=resident.memory_bytes, gpu_bytes=resident.gpu_bytes)
        if resident.state.is_up:
            self._sizes[key] = measured
        return Tenant(
            key=key,
            footprint=measured if resident.state.is_up else self._size(key),
            idle_s=now_s - self._used_at_s[key],
            is_in_use=is_in_use,
            is_kept_warm=self._config.of(key.provider).keep_warm,
        )

    def _size(self, key: ModelKey) -> Footprint:
        if key not in self._sizes:
            self._sizes[key] = self._catalogue.size(key)
        return self._sizes[key]

    def _room(self) -> Room:
        memory = self._rule.memory_budget
        gpu = self._rule.gpu_memory_budget
        total_bytes = self._gpu_total_bytes
        return Room(
            max_models=self._rule.max_models,
            memory_bytes=None if memory is None else size_bytes(memory, machine_memory_bytes()),
            gpu_bytes=None if gpu is None or total_bytes is None else size_bytes(gpu, total_bytes),
        )


def _no_room(key: ModelKey, wanted: Footprint, tenants: list[Tenant], room: Room) -> str:
    others = ", ".join(str(each.key) for each in tenants) or "nothing"
    if room.max_models is not None and len(tenants) >= room.max_models:
        limit = f"max_models is {room.max_models}"
    elif room.memory_bytes is not None:
        taken_bytes = sum(each.footprint.memory_bytes for each in tenants)
        limit = (
            f"it takes {_megabytes(wanted.memory_bytes)} and the others {_megabytes(taken_bytes)} "
            f"of a memory_budget of {_megabytes(room.memory_bytes)}"
        )
    else:
        limit = f"gpu_memory_budget is {_megabytes(room.gpu_bytes or 0)}"
    return f"there is no room for {key} beside {others}: {limit}; end streams or raise the limit"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
