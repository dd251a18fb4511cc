"""What `asrd doctor` looks at, each as one line: what was found, and what to do about it."""

import os
import platform
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from asrd.cli.tables import as_size

if TYPE_CHECKING:
    from asrd.cli.known_models import KnownModels
    from asrd.providers.inspection import Container, Inspection, Nvidia

PACKAGES = {
    "faster_whisper": ("faster-whisper", "ctranslate2"),
    "moonshine": ("moonshine-voice",),
    "whisper_cpp": ("pywhispercpp",),
}
"""What the engines of our own providers are packed in; of others the plugin alone is named."""

LITTLE_MEMORY_BYTES = 2_000_000_000


class Verdict(StrEnum):
    """Whether what was found needs somebody's attention."""

    OK = "ok"
    WARN = "warn"
    """It works, less well than it could."""
    PROBLEM = "problem"
    """Something does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the table. `remedy` says what to do where something should be done."""

    check: str
    finding: str
    verdict: Verdict = Verdict.OK
    remedy: str = ""


def of_machine(inspection: "Inspection") -> Iterator[Check]:
    """Python, cores, memory, the container's limits, accelerators."""
    machine = inspection.machine
    system = f"{platform.system()} {platform.machine()}"
    yield Check(check="python", finding=f"{platform.python_version()} on {system}")
    yield Check(check="cores", finding=f"{machine.cores:g} of {os.cpu_count()}")
    free, total = as_size(machine.available_bytes), as_size(machine.memory_bytes)
    is_little = machine.available_bytes < LITTLE_MEMORY_BYTES
    yield Check(
        check="memory",
        finding=f"{free or 'none'} free of {total}",
        verdict=Verdict.WARN if is_little else Verdict.OK,
        remedy="end other programs, or allow the container more" if is_little else "",
    )
    yield Check(check="container limits", finding=_limits(inspection.container))
    yield _of_nvidia(inspection.nvidia)
    is_apple = machine.is_apple_silicon
    yield Check(check="Apple Silicon", finding="yes, with Metal" if is_apple else "no")


def _limits(container: "Container") -> str:
    limits = []
    if container.cores is not None:
        limits.append(f"{container.cores:g} cores")
    if container.memory_bytes is not None:
        limits.append(f"{as_size(container.memory_bytes)} of memory")
    return ", ".join(limits) or "none"


def _of_nvidia(nvidia: "Nvidia") -> Check:
    if nvidia.problem:
        return Check(
            check="CUDA",
            finding=nvidia.problem,
            verdict=Verdict.WARN,
            remedy="see what `nvidia-smi` says; a container has to be started with its GPUs",
        )
    if not nvidia.gpus:
        return Check(check="CUDA", finding="no NVIDIA GPU")
    gpus = "; ".join(
        f"{gpu.name}, {as_size(gpu.free_bytes) or 'nothing'} free of {as_size(gpu.memory_bytes)}"
        for gpu in nvidia.gpus
    )
    return Check(check="CUDA", finding=f"{gpus}; driver {nvidia.driver}, CUDA {nvidia.cuda}")


def of_engines(known: "KnownModels") -> Iterator[Check]:
    """Each provider, each plugin that is broken, and the models that are here."""
    for name, registered in known.registry.registered.items():
        if name in known.broken:
            continue
        versions = {package: _version(package) for package in PACKAGES.get(name, ())}
        entries = known.of(name)
        present = sum(entry.status.is_present for entry in entries)
        facts = [
            *(f"{package} {found or 'is not installed'}" for package, found in versions.items()),
            *([] if versions else [f"plugin {registered.plugin}"]),
            f"{present} of {len(entries)} models",
        ]
        is_whole = all(versions.values())
        yield Check(
            check=f"engine {name}",
            finding=", ".join(facts),
            verdict=Verdict.OK if is_whole else Verdict.WARN,
            remedy="" if is_whole else registered.status(registered.provider.default_model).remedy,
        )
    for name, reason in sorted(known.broken.items()):
        yield Check(
            check=f"plugin {name}",
            finding=reason,
            verdict=Verdict.PROBLEM,
            remedy="mend or uninstall the plugin",
        )
    here = [entry for entry in known.entries if entry.status.is_present]
    yield Check(
        check="models present",
        finding=", ".join(_sized(entry.name, entry.status.size_bytes) for entry in here) or "none",
        verdict=Verdict.OK if here else Verdict.PROBLEM,
        remedy="" if here else "asrd models pull NAME, one of `asrd models list`",
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _sized(name: str, size_bytes: int) -> str:
    return f"{name} ({as_size(size_bytes)})" if size_bytes else name


def of_socket(path: Path) -> Check:
    """The directory of the daemon's socket, as `asrd serve` would find it."""
    finding, verdict, remedy = _judge_directory(path.parent)
    return Check(check="socket directory", finding=finding, verdict=verdict, remedy=remedy)


def _judge_directory(directory: Path) -> tuple[str, Verdict, str]:
    elsewhere = "choose a directory of your own with --socket"
    try:
        info = directory.stat()
    except FileNotFoundError:
        parent = next(folder for folder in directory.parents if folder.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return f"{directory}, made by `asrd serve`", Verdict.OK, ""
        finding = f"{directory} does not exist, and you may not write in {parent}"
        return finding, Verdict.PROBLEM, elsewhere
    except OSError as error:
        return f"{directory} cannot be used ({error.strerror})", Verdict.PROBLEM, elsewhere
    if not stat.S_ISDIR(info.st_mode):
        return f"{directory} is no directory", Verdict.PROBLEM, elsewhere
    mode = stat.S_IMODE(info.st_mode)
    finding = f"{directory}, mode {mode:04o}"
    if info.st_uid not in (os.geteuid(), 0):
        return f"{finding}, belongs to user {info.st_uid}", Verdict.PROBLEM, elsewhere
    if mode & stat.S_ISVTX:
        return f"{finding}, shared", Verdict.WARN, elsewhere
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{finding}, others may write there", Verdict.PROBLEM, f"chmod 700 {directory}"
    if mode & (stat.S_IRWXG | stat.S_IRWXO):  # service managers make it so; the socket is 0600
        return f"{finding}, others may look in", Verdict.OK, ""
    return f"{finding}, yours alone", Verdict.OK, ""


def of_services(root: Path = Path("/"), system: str = sys.platform) -> Check:
    """What could keep a daemon running."""
    managers = []
    if system == "darwin":
        managers.append("launchd")
    if (root / "run/systemd/system").is_dir():
        managers.append("systemd")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and (root / runtime.lstrip("/") / "systemd").is_dir():
        managers.append("systemd of the user")
    finding = ", ".join(managers) or "none: whoever starts `asrd serve` has to keep it running"
    return Check(check="service manager", finding=finding)
