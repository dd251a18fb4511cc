"""Facts about the machine that decodes are admitted by: free memory, and what other programs use.

Looked at twice a second in the core: each look is a few reads of /proc.
"""

import os

import psutil

from asrd.clock import Clock
from asrd.config import Scheduling, size_bytes
from asrd.providers import processes
from asrd.providers.inspection import available_memory_bytes, usable_cores
from asrd.providers.pool import ModelPool
from asrd.scheduler.adaptive import AdaptiveLimit
from asrd.scheduler.scheduler import Scheduler


class Resources:
    """Keeps the scheduler's slots in step with what the machine has left."""

    def __init__(
        self, rule: Scheduling, scheduler: Scheduler, pool: ModelPool, clock: Clock
    ) -> None:
        self._scheduler = scheduler
        self._pool = pool
        self._clock = clock
        self._is_auto = rule.slots == "auto"
        self._rule = rule.concurrency
        self._limit = AdaptiveLimit(rule.concurrency, usable_cores())
        self._machine_bytes = processes.machine_memory_bytes()
        self._used_s: tuple[float, float, float] | None = None
        self.others_cpu = 0.0

    def apply(self, rule: Scheduling) -> None:
        """Go by another rule. Where slots are counted automatically, that begins anew."""
        is_auto = rule.slots == "auto"
        if (is_auto, rule.concurrency) != (self._is_auto, self._rule):
            self._is_auto = is_auto
            self._rule = rule.concurrency
            self._limit = AdaptiveLimit(rule.concurrency, usable_cores())

    def check(self) -> None:
        """Look, and let the scheduler know. To be called every half second or so."""
        memory_free = available_memory_bytes() / self._machine_bytes
        if self._is_auto:
            self._look_at_cpu()
        limit = self._limit.observe(
            self._clock.now_s(),
            others_cpu=self.others_cpu,
            memory_free=memory_free,
            memory_low=self._share(self._rule.memory_low),
            memory_high=self._share(self._rule.memory_high),
            is_wanted=self._scheduler.waiting > 0,
        )
        self._scheduler.slots.has_memory = self._limit.has_memory and self._has_gpu_memory()
        if self._is_auto and limit != self._scheduler.slots.local:
            self._scheduler.slots.local = limit

    def _share(self, size: str) -> float:
        return size_bytes(size, self._machine_bytes) / self._machine_bytes

    def _has_gpu_memory(self) -> bool:
        """Whether no GPU that models run on is short of memory, as far as workers have told."""
        facts = self._pool.tenancy.gpu_memory
        if facts is None:
            return True
        free_bytes, total_bytes = facts
        return free_bytes >= size_bytes(self._rule.memory_low, total_bytes)

    def _look_at_cpu(self) -> None:
        """The share of the machine's CPU time since the last look that others used."""
        times = psutil.cpu_times()
        idle_s = times.idle + getattr(times, "iowait", 0.0)
        whole_s = sum(times[:8])  # guests are counted in the first ones already
        residents = [*self._pool.residents.values()]
        pids = [os.getpid(), *(each.pid for each in residents if each.pid is not None)]
        own_s = sum(processes.activity(pid)[0] for pid in pids)
        before, self._used_s = self._used_s, (whole_s, idle_s, own_s)
        if before is None:
            return
        passed_s = whole_s - before[0]
        # A worker that has ended takes its time out of the sum; that is no time of others.
        others_s = passed_s - (idle_s - before[1]) - max(own_s - before[2], 0.0)
        if passed_s > 0:
            self.others_cpu = min(max(others_s / passed_s, 0.0), 1.0)
