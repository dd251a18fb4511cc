"""A worker's share of its GPUs' memory, by a stand-in for NVML."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from asrd.providers.calls import GpuMeasured
from asrd.providers.gpu_memory import measure

GIB = 2**30


class StandInError(Exception):
    """As NVML's own."""


@dataclass
class Process:
    """One of those that NVML lists."""

    pid: int
    usedGpuMemory: int | None  # noqa: N815 - NVML's name


def use_nvml(
    monkeypatch: pytest.MonkeyPatch, gpus: Mapping[int, list[Process]], fails_at: str = ""
) -> None:
    """Have `import pynvml` find GPUs of 24, 25, ... GiB that these processes run on.

    Of the first 10 GiB are free, and of each other one less than of the one before it.
    """
    module = ModuleType("pynvml")

    def step(name: str, function: object) -> None:
        def fail(*_: object) -> None:
            raise StandInError("sick")

        setattr(module, name, fail if name == fails_at else function)

    module.NVMLError = StandInError  # type: ignore[attr-defined]
    step("nvmlInit", lambda: None)
    step("nvmlDeviceGetCount", lambda: len(gpus))
    step("nvmlDeviceGetHandleByIndex", lambda index: index)
    step("nvmlDeviceGetComputeRunningProcesses", lambda index: gpus[index])
    step(
        "nvmlDeviceGetMemoryInfo",
        lambda index: SimpleNamespace(total=(24 + index) * GIB, free=(10 - index) * GIB),
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)


NONE = GpuMeasured(id=3, gpu_bytes=0, gpu_total_bytes=0, gpu_free_bytes=0)
ME = os.getpid()


def maps(folder: Path, library: str = "libcuda.so.1") -> Path:
    """What the kernel says of the files that a process has mapped."""
    file = folder / "maps"
    file.write_text(f"7f0000000000-7f0000001000 r-xp 0 08:01 42  /usr/lib/{library}\n")
    return file


def test_the_driver_is_not_asked_for_a_process_that_does_not_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be sick, and would hang models that run on the CPU."""
    use_nvml(monkeypatch, {0: [Process(ME, GIB)]})
    assert measure(3, tmp_path / "absent") == NONE
    assert measure(3, maps(tmp_path, "libm.so.6")) == NONE


def test_without_the_library_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it raises
    assert measure(3, maps(tmp_path)) == NONE


def test_only_its_own_share_counts_and_only_the_gpus_that_it_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = {
        0: [Process(ME, 3 * GIB), Process(ME + 1, 9 * GIB)],
        1: [Process(ME + 1, GIB)],
        2: [Process(ME, GIB), Process(ME, 2 * GIB)],
        3: [],
    }
    use_nvml(monkeypatch, gpus)
    assert measure(3, maps(tmp_path)) == GpuMeasured(
        id=3, gpu_bytes=6 * GIB, gpu_total_bytes=(24 + 26) * GIB, gpu_free_bytes=8 * GIB
    )


def test_a_share_that_the_driver_does_not_tell_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_nvml(monkeypatch, {0: [Process(ME, None)]})
    assert measure(3, maps(tmp_path)) == GpuMeasured(
        id=3, gpu_bytes=0, gpu_total_bytes=24 * GIB, gpu_free_bytes=10 * GIB
    )
    use_nvml(monkeypatch, {})
    assert measure(3, maps(tmp_path)) == NONE


@pytest.mark.parametrize(
    "step",
    [
        "nvmlInit",
        "nvmlDeviceGetCount",
        "nvmlDeviceGetHandleByIndex",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetMemoryInfo",
    ],
)
def test_a_driver_that_is_sick_costs_the_figure_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    use_nvml(monkeypatch, {0: [Process(ME, GIB)]}, fails_at=step)
    assert measure(3, maps(tmp_path)) == NONE
