"""What this machine offers: cores, memory, the limits of its container, accelerators.

The core may load no native code that could hang, and NVIDIA's library does hang on a sick driver.
So it is asked in a child process, which is this module run as a program, and only where a driver
is installed. Everything else is read from files; `root` stands for `/` in tests.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from asrd.machine import Gpu, Machine

ROOT = Path("/")
NVIDIA_TIMEOUT_S = 10.0
"""The first question after a start may have to load the driver's firmware, for some seconds."""

_NVIDIA_SIGNS = ("dev/nvidiactl", "proc/driver/nvidia")
_WSL_SIGN = "dev/dxg"
"""There for GPUs of every maker: that nobody answers behind it is no fault."""
_NO_LIMIT_BYTES = 2**60
"""Version 1 of cgroups writes `none` as the largest number of whole pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What the control groups around this process leave to it; None: no limit.

    `free_bytes` is what it may take beside what is taken, file cache not counted because the
    kernel gives that back first.
    """

    cores: float | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """What the NVIDIA driver says. `problem` is one sentence where it should have answered."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A machine, and where what is known of it comes from."""

    machine: Machine
    container: Container
    nvidia: Nvidia


def inspect_machine() -> Machine:
    """The machine as this process may use it. Takes seconds where an NVIDIA driver is asleep."""
    return inspect().machine


def inspect(root: Path = ROOT) -> Inspection:
    """The same with its sources, for people to read."""
    from psutil import virtual_memory

    container = read_container(root)
    nvidia = ask_nvidia(root)
    cores = float(_allowed_cores())
    memory = virtual_memory()
    machine = Machine(
        cores=cores if container.cores is None else min(cores, container.cores),
        memory_bytes=_least(memory.total, container.memory_bytes),
        available_bytes=_least(memory.available, container.free_bytes),
        gpus=nvidia.gpus,
        is_apple_silicon=sys.platform == "darwin" and platform.machine() == "arm64",
    )
    return Inspection(machine=machine, container=container, nvidia=nvidia)


def available_memory_bytes(root: Path = ROOT) -> int:
    """What this process and its children could still take. Some files are read, no child runs."""
    from psutil import virtual_memory

    return _least(virtual_memory().available, read_container(root).free_bytes)


def usable_cores(root: Path = ROOT) -> int:
    """Whole cores that this process may keep busy, its container's quota respected; at least 1."""
    quota = read_container(root).cores
    return max(1, _allowed_cores() if quota is None else min(_allowed_cores(), int(quota)))


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _least(amount: int, limit: int | None) -> int:
    return int(amount if limit is None else min(amount, limit))


# ── control groups ────────────────────────────────────────────────────────────────────────────────


def read_container(root: Path = ROOT) -> Container:
    """The tightest limits of this process's control groups, of version 1 and 2, up to the root.

    Each kind of limit is looked for on every level: an outer group binds its inner ones without a
    word in them. What cannot be read is no limit.
    """
    cores: list[float] = []
    memory: list[int] = []
    free: list[int] = []
    for folder in _groups(root):
        quota = _quota_of(folder)
        if quota is not None:
            cores.append(quota)
        limit = _number(_read(folder / "memory.max")) or _number(
            _read(folder / "memory.limit_in_bytes")
        )
        if limit is not None and limit < _NO_LIMIT_BYTES:
            memory.append(limit)
            free.append(_free_below(limit, folder))
    return Container(
        cores=min(cores, default=None),
        memory_bytes=min(memory, default=None),
        free_bytes=min(free, default=None),
    )


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups and of all groups around them."""
    own: dict[str, str] = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        own |= dict.fromkeys(controllers.split(","), path)  # version 2 has the one name ""
    for mount in _mounts(_read(root / "proc/self/mountinfo")):
        if mount.controller not in own:
            continue
        top = root / mount.point.lstrip("/")
        # In a container the mount shows one group alone, and the path may be the host's.
        path = own[mount.controller].removeprefix(mount.group)
        parts = [part for part in path.split("/") if part]
        if ".." in parts or not top.joinpath(*parts).is_dir():
            parts = []
        for depth in range(len(parts), -1, -1):
            yield top.joinpath(*parts[:depth])


class _Mount(NamedTuple):
    """A tree of groups of one controller: the group at its top, and the folder that shows it."""

    controller: str
    group: str
    point: str


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        group, point = fields[3], fields[4]
        if kind[0] == "cgroup2":
            yield _Mount("", group, point)
        elif kind[0] == "cgroup":
            for controller in {"cpu", "memory"} & set(kind[2].split(",")):
                yield _Mount(controller, group, point)


def _quota_of(folder: Path) -> float | None:
    """Cores' worth of time that the group may take; None without a limit."""
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _read(folder / "cpu.cfs_quota_us").strip()
        period = _read(folder / "cpu.cfs_period_us").strip()
    quota_us, period_us = _number(quota), _number(period)
    return quota_us / period_us if quota_us and period_us else None


def _free_below(limit: int, folder: Path) -> int:
    usage = _number(_read(folder / "memory.current"))
    prefix = ""
    if usage is None:
        usage = _number(_read(folder / "memory.usage_in_bytes")) or 0
        prefix = "total_"  # version 1 counts inner groups under these names
    counts = dict(line.partition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
    cache = sum(
        _number(counts.get(f"{prefix}{kind}", "")) or 0 for kind in ("active_file", "inactive_file")
    )
    return max(0, min(limit, limit - usage + cache))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """The whole number; None for `max`, for what is negative, and for anything else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else None


# ── NVIDIA ────────────────────────────────────────────────────────────────────────────────────────


def ask_nvidia(root: Path = ROOT, timeout_s: float = NVIDIA_TIMEOUT_S) -> Nvidia:
    """What the NVIDIA driver says, asked in a child process; nothing where there is no driver."""
    is_installed = any((root / sign).exists() for sign in _NVIDIA_SIGNS)
    if not is_installed and not (root / _WSL_SIGN).exists():
        return Nvidia()
    answer = _ask_child(timeout_s)
    return answer if is_installed or not answer.problem else Nvidia()


def _ask_child(timeout_s: float) -> Nvidia:
    command = [sys.executable, "-P", "-m", "asrd.providers.inspection"]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        return Nvidia(problem=f"The NVIDIA driver could not be asked: {error}.")
    try:
        answer, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _abandon(child)
        return Nvidia(problem=f"The NVIDIA driver did not answer in {timeout_s:g} s.")
    return parse_nvidia(answer.decode(errors="replace"))


def _abandon(child: subprocess.Popen[bytes]) -> None:
    """Kill the child. One that sleeps inside the driver cannot be killed, and is not waited for."""
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1.0)
    if child.stdout is not None:
        child.stdout.close()


def parse_nvidia(answer: str) -> Nvidia:
    """What the child process printed."""
    try:
        found: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
        gpus = [Gpu(**{**gpu, "compute_capability": _pair(gpu)}) for gpu in found["gpus"]]
        return Nvidia(**{**found, "gpus": tuple(gpus)})
    except (LookupError, TypeError, ValueError):
        return Nvidia(problem="The NVIDIA driver's library gave no answer and ended its process.")


def _pair(gpu: Mapping[str, Any]) -> tuple[int, int]:
    major, minor = gpu["compute_capability"]
    return int(major), int(minor)


def visible(gpus: Iterable[tuple[str, Gpu]], wish: str | None) -> tuple[Gpu, ...]:
    """GPUs as CUDA counts them under `CUDA_VISIBLE_DEVICES`.

    Like CUDA, what stands behind the first unknown name is not seen.

    Args:
        gpus: each with its UUID, in the driver's order. CUDA itself puts the fastest first unless
            `CUDA_DEVICE_ORDER=PCI_BUS_ID`; that matters only where GPUs of several kinds are.
        wish: the variable's value: numbers, or beginnings of UUIDs; None where it is not set.
    """
    there = list(gpus)
    if wish is None:
        return tuple(gpu for _, gpu in there)
    seen: list[Gpu] = []
    for name in (part.strip() for part in wish.split(",")):
        chosen = [gpu for uuid, gpu in there if name and (name == str(gpu.index) or name == uuid)]
        chosen = chosen or [gpu for uuid, gpu in there if len(name) > 4 and uuid.startswith(name)]
        if len(chosen) != 1:
            break
        seen.append(replace(chosen[0], index=len(seen)))
    return tuple(seen)


def _look_at_nvidia() -> Nvidia:
    """Ask NVIDIA's library, in this process."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return Nvidia(problem="There is an NVIDIA driver, but the package nvidia-ml-py is missing.")
    try:
        nvml.nvmlInit()
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = []
        for index in range(nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(
                nvml.NVMLError
            ):  # this one is sick, or has no memory of its own
                gpus.append(_look_at_gpu(nvml, index))
        return Nvidia(
            gpus=visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES")),
            driver=nvml.nvmlSystemGetDriverVersion(),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        )
    except nvml.NVMLError as error:
        return Nvidia(problem=f"The NVIDIA driver cannot be used: {error}.")


def _look_at_gpu(nvml: Any, index: int) -> tuple[str, Gpu]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    gpu = Gpu(
        index=index,
        name=nvml.nvmlDeviceGetName(handle),
        memory_bytes=memory.total,
        free_bytes=memory.free,
        compute_capability=nvml.nvmlDeviceGetCudaComputeCapability(handle),
    )
    return nvml.nvmlDeviceGetUUID(handle), gpu


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_look_at_nvidia())) + "\n")
