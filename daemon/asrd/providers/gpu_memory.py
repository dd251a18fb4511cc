"""How much of its GPUs' memory a worker holds, by NVML. Runs in workers: a driver may hang."""

import os
from pathlib import Path

from asrd.providers.calls import GpuMeasured

MAPS = Path("/proc/self/maps")
CUDA = "libcuda.so"


def measure(call_id: int, maps: Path = MAPS) -> GpuMeasured:
    """This process's share, what the GPUs that it uses have in all, and the least that is free.

    Zeros where the engine has not loaded CUDA: the driver is then not asked, so that a sick one
    costs models on the CPU nothing. In a container, NVML knows processes by the host's numbers;
    then a share cannot be told either.
    """
    try:
        if CUDA not in maps.read_text(encoding="utf-8", errors="replace"):
            return GpuMeasured(id=call_id, gpu_bytes=0, gpu_total_bytes=0)
        import pynvml
    except (OSError, ImportError):  # not Linux
        return GpuMeasured(id=call_id, gpu_bytes=0, gpu_total_bytes=0)

    held = total = 0
    free: list[int] = []
    try:
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            mine = [
                process.usedGpuMemory or 0
                for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device)
                if process.pid == os.getpid()
            ]
            if mine:
                memory = pynvml.nvmlDeviceGetMemoryInfo(device)
                held += sum(mine)
                total += memory.total
                free.append(int(memory.free))
    except pynvml.NVMLError:
        return GpuMeasured(id=call_id, gpu_bytes=0, gpu_total_bytes=0)
    return GpuMeasured(
        id=call_id,
        gpu_bytes=int(held),
        gpu_total_bytes=int(total),
        gpu_free_bytes=min(free, default=0),
    )
