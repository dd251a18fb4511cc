"""What those who look at a running daemon are shown: its parts, and what its processes hold."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from resource import RLIMIT_NOFILE, getrlimit

import psutil

from asrd.providers import processes
from asrd.server.connections import Door
from asrd.server.hub import Hub
from asrd.server.monotonic import LoopWatch
from asrd.server.outbox import Shelf
from asrd.server.peer import Peer
from asrd.server.recorder import Recorder
from asrd.server.report import Reporter
from asrd.server.sessions import SessionStore

CORE = "core"
VOICE_ACTIVITY = "voice_activity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The parts of a daemon that tell how it is. `peers` gives every connected one."""

    hub: Hub
    sessions: SessionStore
    reporter: Reporter
    door: Door
    shelf: Shelf
    loop: LoopWatch
    recorder: Recorder | None
    peers: Callable[[], list[Peer]]

    @property
    def is_ready(self) -> bool:
        """Whether new work can be taken: not by a daemon that is ending."""
        return self.reporter.is_ready and not self.hub.is_draining

    @property
    def pids(self) -> dict[str, int]:
        """The daemon's processes, by what they do: `core`, `voice_activity`, or a model's name."""
        workers = {str(key): one.pid for key, one in self.hub.pool.residents.items()}
        workers[VOICE_ACTIVITY] = self.hub.voice.resident.pid
        return {CORE: os.getpid()} | {name: pid for name, pid in workers.items() if pid is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprints:
    """What the daemon's processes hold. -1 descriptors: nobody can tell, or there is no limit."""

    memory_bytes: Mapping[str, int]
    descriptors: int
    max_descriptors: int


def look_at(pids: Mapping[str, int]) -> Footprints:
    """Read what processes hold, which takes a moment for each: not for the loop's thread."""
    try:
        descriptors = psutil.Process().num_fds()
    except (psutil.Error, OSError):  # OSError: no descriptor is free to look with
        descriptors = -1
    return Footprints(
        memory_bytes={name: processes.memory_bytes(pid) for name, pid in pids.items()},
        descriptors=descriptors,
        max_descriptors=getrlimit(RLIMIT_NOFILE)[0],
    )
