"""What the processes of a run take of the machine: CPU time and resident memory."""

import time

import psutil

from asrd.wire import messages as wire


class Processes:
    """The daemon's processes and the generators."""

    def __init__(self, health: wire.Health, generators: list[int]) -> None:
        if health.voice_activity is None or health.voice_activity.pid is None:
            raise RuntimeError("the daemon has no voice activity yet")
        voice = psutil.Process(health.voice_activity.pid)
        engines = [model.pid for each in health.providers.values() for model in each.models]
        self._core: psutil.Process = voice.parent()
        self._groups = {
            "core": [self._core],
            "voice activity": [voice],
            "engine": [psutil.Process(pid) for pid in engines if pid is not None],
            "generators": [psutil.Process(pid) for pid in generators],
        }
        self.restart()

    def restart(self) -> None:
        """Count CPU time from now on."""
        self._began_s = time.perf_counter()
        self._before = self._cpu_s()

    def busy(self) -> dict[str, float]:
        """What each has had of one core since `restart`, 1.0 being all of it."""
        passed_s = time.perf_counter() - self._began_s
        return {
            name: (used_s - self._before[name]) / passed_s for name, used_s in self._cpu_s().items()
        }

    def core_bytes(self) -> int:
        """Resident memory of the core."""
        return int(self._core.memory_info().rss)

    def _cpu_s(self) -> dict[str, float]:
        used_s = {
            name: float(sum(sum(process.cpu_times()[:2]) for process in group))
            for name, group in self._groups.items()
        }
        machine = psutil.cpu_times()
        return used_s | {"all others": machine.user + machine.system - sum(used_s.values())}
