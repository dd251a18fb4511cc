"""Slots follow what the machine has left."""

from types import SimpleNamespace
from typing import Any

import pytest

from asrd.config import Concurrency, Scheduling
from asrd.providers.catalogue import ModelKey
from asrd.providers.registry import Registry
from support.room import Room, run

GB = 10**9
ECHO = ModelKey(provider="echo", model="echo")


class Machine:
    """Facts that a test sets; time passes by `use`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.idle_s = self.busy_s = self.own_s = 0.0
        self.available_bytes = 8 * GB
        for name, fact in (
            ("usable_cores", lambda: 4),
            ("available_memory_bytes", lambda: self.available_bytes),
            ("processes.machine_memory_bytes", lambda: 16 * GB),
            ("processes.activity", lambda pid: (self.own_s, 0)),
            ("psutil.cpu_times", self._cpu_times),
        ):
            monkeypatch.setattr(f"asrd.server.resources.{name}", fact)

    def _cpu_times(self) -> Any:
        parts = (self.busy_s, 0.0, 0.0, self.idle_s, 0.0, 0.0, 0.0, 0.0)

        class Times(tuple[float, ...]):
            idle = parts[3]
            iowait = parts[4]

        return Times(parts)

    def use(self, seconds: float, *, own: float, others: float) -> None:
        """Let time pass on four cores in which so many of them were busy."""
        self.own_s += own * seconds
        self.busy_s += (own + others) * seconds
        self.idle_s += (4 - own - others) * seconds


def drive(
    room: Room, machine: Machine, *, own: float = 0.0, others: float = 0.0, seconds: float = 6.0
) -> int:
    for _ in range(round(seconds * 2)):
        machine.use(0.5, own=own, others=others)
        room.clock.advance(0.5)
        room.hub.resources.check()
    return room.hub.scheduler.slots.local


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def busy_room(registry: Registry, monkeypatch: pytest.MonkeyPatch, **scheduling: Any) -> Room:
    room = Room(registry, scheduling=scheduling)
    waiting = SimpleNamespace(waiting=3, slots=room.hub.scheduler.slots)
    monkeypatch.setattr(room.hub.resources, "_scheduler", waiting)
    return room


def test_auto_takes_the_cores_that_are_free_and_gives_them_back(
    registry: Registry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = busy_room(registry, monkeypatch, slots="auto")
        assert room.hub.scheduler.slots.local == 1
        assert drive(room, machine, own=1.0) == 4
        assert drive(room, machine, own=3.9, seconds=20) == 4  # our own work is no reason
        assert drive(room, machine, own=1.0, others=3.0) == 1
        assert drive(room, machine, own=1.0, others=2.0) == 1  # in between nothing changes
        assert drive(room, machine) == 4

    run(scenario)


def test_a_number_of_slots_stays_what_it_is(
    registry: Registry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = busy_room(registry, monkeypatch, slots=2)
        assert drive(room, machine) == 2
        assert drive(room, machine, others=4.0) == 2

    run(scenario)


def test_where_memory_is_short_nothing_runs_beside_another(
    registry: Registry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = busy_room(registry, monkeypatch, slots=2)
        seen = []
        for available_bytes in (8 * GB, 16 * GB // 25, 8 * GB):
            machine.available_bytes = available_bytes
            drive(room, machine)
            seen.append(room.hub.scheduler.slots.has_memory)
        assert seen == [True, False, True]

    run(scenario)


def test_a_gpu_that_is_nearly_full_counts_like_memory_that_is(
    registry: Registry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = busy_room(registry, monkeypatch, concurrency=Concurrency(memory_low="10%"))
        tenancy = room.hub.pool.tenancy
        tenancy.learn_gpu_total(100 * GB)
        tenancy.learn_gpu_free(ECHO, 9 * GB)
        drive(room, machine)
        assert not room.hub.scheduler.slots.has_memory
        tenancy.learn_gpu_free(ECHO, 11 * GB)
        drive(room, machine)
        assert room.hub.scheduler.slots.has_memory

    run(scenario)


def test_a_worker_that_ends_is_not_taken_for_time_of_others(
    registry: Registry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        room = busy_room(registry, monkeypatch, slots="auto")
        drive(room, machine, own=2.0)
        machine.own_s = 0.0  # all of its CPU time has left the sum with it
        room.hub.resources.check()
        assert room.hub.resources.others_cpu == 0.0

    run(scenario)


def test_slots_may_become_automatic_and_be_fixed_again(
    registry: Registry, machine: Machine
) -> None:
    async def scenario() -> None:
        room = Room(registry, scheduling={"slots": 3})
        assert drive(room, machine, others=4.0) == 3
        for rule in (Scheduling(slots="auto"), Scheduling(slots=2)):
            room.hub.scheduler.slots.apply(rule)
            room.hub.resources.apply(rule)
            assert drive(room, machine, others=4.0) == (1 if rule.slots == "auto" else 2)

    run(scenario)
