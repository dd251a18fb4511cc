"""What this process's children take of the machine, from outside: memory and CPU time.

Memory is looked at in a thread of its own, twenty times a second, or less often where a look takes
so long that it would disturb what is measured: looking takes at most a twentieth of the time.
"""

import os
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

LOOK_EVERY_S = 0.05
MOST_SHARE = 0.05
"""Of the time that looking may take."""

CHILDREN_EVERY_S = 0.5
"""Finding children means reading about every process of the machine."""

NOT_BUSY = ("idle", "iowait", "guest", "guest_nice")
"""States of a core that are no work: waiting for a disk is none, and `guest` is in `user` too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTime:
    """CPU seconds: of the children, and of all programs but them and this one."""

    own_s: float
    others_s: float


def memory_kind() -> str:
    """How memory is counted here: `pss` (Linux), else `uss`, else `rss`."""
    try:
        found = psutil.Process().memory_full_info()
    except psutil.Error:
        return "rss"
    return next((kind for kind in ("pss", "uss") if hasattr(found, kind)), "rss")


class Gauge:
    """Watches the children while its block runs."""

    def __init__(self) -> None:
        self.kind = memory_kind()
        self.peak_bytes = 0
        self._me = psutil.Process()
        self._children: list[psutil.Process] = []
        self._looked_for_children_at = float("-inf")
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="asrd-gauge", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def cpu_time(self) -> CpuTime:
        """What was used since the machine or the children started; take differences."""
        own_s = sum(_cpu_s(child) for child in self._me.children(recursive=True))
        mine = os.times()
        return CpuTime(own_s=own_s, others_s=_busy_s() - own_s - mine.user - mine.system)

    def _watch(self) -> None:
        pause_s = 0.0
        while not self._is_over.wait(pause_s):
            begin = time.perf_counter()
            self._look(begin)
            took_s = time.perf_counter() - begin
            pause_s = max(LOOK_EVERY_S - took_s, took_s * (1 / MOST_SHARE - 1))

    def _look(self, now: float) -> None:
        if now - self._looked_for_children_at >= CHILDREN_EVERY_S:
            self._children = self._me.children(recursive=True)
            self._looked_for_children_at = now
        held = sum(_memory_bytes(child, self.kind) for child in self._children)
        self.peak_bytes = max(self.peak_bytes, held)


def _memory_bytes(process: psutil.Process, kind: str) -> int:
    try:
        if kind == "rss":
            return int(process.memory_info().rss)
        return int(getattr(process.memory_full_info(), kind))
    except psutil.Error:  # it has ended
        return 0


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _busy_s() -> float:
    """Of all cores, by anybody."""
    times = psutil.cpu_times()._asdict()
    return float(sum(used_s for state, used_s in times.items() if state not in NOT_BUSY))
