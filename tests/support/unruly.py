"""A plugin that misbehaves as it is told: by its model's name, or where the audio bears a mark.

A decode says length and checksum of the window, as `echo` does, so equal audio gives equal text.
Where the setting `journal` names a file, a decode adds a line `PID begin PROMPT` to it, and one
with `end` behind itself: so tests see which stream a worker is busy with.
"""

import ctypes
import os
import resource
import signal
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, NoReturn, cast

import numpy as np
import numpy.typing as npt
import psutil

from asrd import (
    DecodeOptions,
    Hypothesis,
    Model,
    ModelStatus,
    Provider,
    ProviderError,
    Register,
    Setting,
    hookimpl,
)

MARK = np.float32(32767 / 32768)
"""A single sample of this height marks a window."""

WORK_S = 5.0
"""How long a decode takes that is slow and not stuck."""

MEMORY_LEFT_BYTES = 256 * 2**20
"""What a worker may take beyond what it has before its own limit stops it."""

SWELL_BYTES = 300 * 2**20
STEP_BYTES = 4 * 2**20


def marked(pcm: bytes, at_s: float) -> bytes:
    """16-bit mono PCM with a mark."""
    place = 2 * round(at_s * 16000)
    return pcm[:place] + b"\xff\x7f" + pcm[place + 2 :]


def kill(number: int) -> Callable[[DecodeOptions], None]:
    """A deed that sends this process a signal."""
    return lambda _: os.kill(os.getpid(), number)


def end_process(_: DecodeOptions) -> None:
    os._exit(0)


def print_everywhere(_: DecodeOptions) -> None:
    """By Python, by its descriptor, from C, and by a child process."""
    print("printed by Python", flush=True)  # noqa: T201 - what is to be tested
    os.write(1, b"written to descriptor 1\n")
    libc = ctypes.CDLL(None)
    libc.printf(b"printed from C\n")
    libc.fflush(None)
    os.system("echo printed by a child")


# ── never done, or late ───────────────────────────────────────────────────────────────────────


def sleep_for_ever(_: DecodeOptions) -> None:
    while True:
        time.sleep(600)


def spin_in_python(_: DecodeOptions) -> None:
    while True:
        pass


def hold_the_gil(_: DecodeOptions) -> None:
    """As an engine does that is stuck in native code: no thread of Python runs any more."""
    ctypes.PyDLL(None).sleep(600)


def work_on(options: DecodeOptions) -> None:
    """Be slow, and get further all the time."""
    end_s = time.monotonic() + WORK_S
    while time.monotonic() < end_s:
        time.sleep(0.01)
        options.keep_going()


# ── memory ────────────────────────────────────────────────────────────────────────────────────


def limit_memory() -> None:
    """Have the kernel refuse this process more than it has and a little."""
    has_bytes = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (has_bytes + MEMORY_LEFT_BYTES, resource.RLIM_INFINITY))


def allocate_in_python(_: DecodeOptions) -> NoReturn:
    """Take memory until Python raises for want of it."""
    limit_memory()
    held: list[npt.NDArray[np.uint8]] = []
    while True:
        held.append(np.ones(STEP_BYTES, np.uint8))


def allocate_in_c(_: DecodeOptions) -> None:
    """Take memory until there is none, and abort then, as C++ does when nobody catches that."""
    limit_memory()
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while place := libc.malloc(ctypes.c_size_t(STEP_BYTES)):
        ctypes.memset(place, 1, STEP_BYTES)
    libc.abort()


def swell(options: DecodeOptions) -> None:
    """Take more and more memory, and wait for whoever minds."""
    held: list[npt.NDArray[np.uint8]] = []
    while len(held) * STEP_BYTES < SWELL_BYTES:
        held.append(np.ones(STEP_BYTES, np.uint8))
        time.sleep(0.005)
    sleep_for_ever(options)


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def garble_the_socket(_: DecodeOptions) -> None:
    """Write what is no frame into the socket that calls are answered on."""
    os.write(int(sys.argv[1]), b"\xff\xff\xff\xff")


def raise_error(_: DecodeOptions) -> NoReturn:
    raise RuntimeError("unruly by design")


def refuse(_: DecodeOptions) -> NoReturn:
    raise ProviderError("this window is not to be read")


def sys_exit(_: DecodeOptions) -> NoReturn:
    sys.exit(0)


def answer_nonsense(_: DecodeOptions) -> Hypothesis:
    return Hypothesis(text=cast("str", ["not", "a", "text"]))


def answer_what_cannot_be_sent(_: DecodeOptions) -> Hypothesis:
    return cast("Hypothesis", object())


DEEDS: dict[str, Callable[[DecodeOptions], Hypothesis | None]] = {
    "kill": kill(signal.SIGKILL),
    "segv": kill(signal.SIGSEGV),
    "abort": kill(signal.SIGABRT),
    "exit": end_process,
    "sys_exit": sys_exit,
    "print": print_everywhere,
    "sleep": sleep_for_ever,
    "spin": spin_in_python,
    "hold_the_gil": hold_the_gil,
    "work_on": work_on,
    "allocate": allocate_in_python,
    "allocate_in_c": allocate_in_c,
    "swell": swell,
    "garble": garble_the_socket,
    "raise": raise_error,
    "refuse": refuse,
    "nonsense": answer_nonsense,
    "unsendable": answer_what_cannot_be_sent,
}


class UnrulyModel(Model):
    """Does `deed` where `is_time` says so of a window."""

    def __init__(
        self,
        settings: Mapping[str, Setting],
        is_time: Callable[[npt.NDArray[np.float32]], bool],
    ) -> None:
        self._deed = DEEDS[str(settings.get("deed", "print"))]
        self._latency_s = float(settings.get("latency_ms", 0)) / 1000
        self._journal = str(settings.get("journal", ""))
        self._is_time = is_time

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        self._note("begin", options)
        time.sleep(self._latency_s)
        answer = self._deed(options) if self._is_time(audio) else None
        integers = np.rint(audio * 32768.0).astype("<i2")
        self._note("end", options)
        return answer or Hypothesis(text=f"{audio.size} {zlib.crc32(integers.tobytes()):08x}")

    def _note(self, what: str, options: DecodeOptions) -> None:
        if self._journal:
            with Path(self._journal).open("a") as journal:
                journal.write(f"{os.getpid()} {what} {options.prompt}\n")


def bears_mark(audio: npt.NDArray[np.float32]) -> bool:
    return bool(audio.max(initial=0.0) >= MARK)


class UnrulyProvider(Provider):
    """Its models differ in when they misbehave, beside at marked windows.

    `fine` never does; `bad_at_load` and `bad_at_warm_up` always. Others heed the file that the
    setting `flag` names: `slow` loads until it is there, `bad_at_first_load` misbehaves and makes
    it unless it is there; `flagged_load` and `flagged` misbehave at each load, and at each decode,
    while it is there.
    """

    name: ClassVar[str] = "unruly"
    summary: ClassVar[str] = "Misbehaves, for tests"
    default_model: ClassVar[str] = "fine"

    def status(self, model: str) -> ModelStatus:
        if model == "bad_at_status":
            raise RuntimeError("unruly by design")
        return ModelStatus(model=model, is_present=True)

    def load(self, model: str, settings: Mapping[str, Setting]) -> Model:
        flag = Path(str(settings.get("flag", "/nonexistent")))
        deed = DEEDS[str(settings.get("deed", "print"))]
        if model == "bad_at_load" or (model == "flagged_load" and flag.exists()):
            deed(DecodeOptions())
        if model == "bad_at_first_load" and not flag.exists():
            flag.touch()
            deed(DecodeOptions())
        while model == "slow" and not flag.exists():
            time.sleep(0.005)
        return UnrulyModel(
            settings,
            lambda audio: (
                bears_mark(audio)
                or (model == "bad_at_warm_up" and not audio.any())
                or (model == "flagged" and flag.exists())
            ),
        )


@hookimpl
def asrd_register_providers(register: Register) -> None:
    register(UnrulyProvider())
