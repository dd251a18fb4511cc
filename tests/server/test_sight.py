"""What processes hold, as far as it can be told."""

import os
import resource

import psutil
import pytest

from asrd.providers.registry import Registry
from asrd.server.sight import CORE, VOICE_ACTIVITY, look_at
from support.room import Room, run
from support.sights import sight_of


def test_the_processes_of_a_daemon_are_named_by_what_they_do(registry: Registry) -> None:
    async def scenario() -> None:
        room = Room(registry)
        assert sight_of(room).pids == {CORE: os.getpid()}
        room.model.pid, room.voice.pid = 11, 12
        assert sight_of(room).pids == {CORE: os.getpid(), "echo/echo": 11, VOICE_ACTIVITY: 12}

    run(scenario)


def test_what_they_hold_is_read_and_who_is_gone_holds_nothing() -> None:
    held = look_at({CORE: os.getpid(), "gone": 2**22 + 1})
    assert held.memory_bytes[CORE] > 10**6
    assert held.memory_bytes["gone"] == 0
    assert held.descriptors == psutil.Process().num_fds()
    assert held.max_descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_without_a_descriptor_to_look_with_nobody_can_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: psutil.Process) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(psutil.Process, "num_fds", fail)
    assert look_at({}).descriptors == -1
