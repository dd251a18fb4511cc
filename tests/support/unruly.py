"""A plugin that misbehaves as it is told: by its model's name, or where the audio bears a mark.

A decode says length and checksum of the window, as `echo` does, so equal audio gives equal text.
"""

import ctypes
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

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

LATENCY_S = 0.02


def marked(pcm: bytes, at_s: float) -> bytes:
    """16-bit mono PCM with a mark."""
    place = 2 * round(at_s * 16000)
    return pcm[:place] + b"\xff\x7f" + pcm[place + 2 :]


def end_process() -> None:
    os._exit(0)


def print_everywhere() -> None:
    """By Python, by its descriptor, from C, and by a child process."""
    print("printed by Python", flush=True)  # noqa: T201 - what is to be tested
    os.write(1, b"written to descriptor 1\n")
    libc = ctypes.CDLL(None)
    libc.printf(b"printed from C\n")
    libc.fflush(None)
    os.system("echo printed by a child")


def spin_in_python() -> None:
    while True:
        pass


def hold_the_gil() -> None:
    """As an engine does that is stuck in native code: no thread of Python runs any more."""
    ctypes.PyDLL(None).sleep(600)


def garble_the_socket() -> None:
    """Write what is no frame into the socket that calls are answered on."""
    os.write(int(sys.argv[1]), b"\xff\xff\xff\xff")


def raise_error() -> None:
    raise RuntimeError("unruly by design")


def refuse() -> None:
    raise ProviderError("this window is not to be read")


def answer_nonsense() -> Hypothesis:
    return Hypothesis(text=cast("str", ["not", "a", "text"]))


def answer_what_cannot_be_sent() -> Hypothesis:
    return cast("Hypothesis", object())


DEEDS: dict[str, Callable[[], Hypothesis | None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": lambda: os.kill(os.getpid(), signal.SIGABRT),
    "exit": end_process,
    "sys_exit": lambda: exec("raise SystemExit(0)"),
    "print": print_everywhere,
    "spin": spin_in_python,
    "hold_the_gil": hold_the_gil,
    "garble": garble_the_socket,
    "raise": raise_error,
    "refuse": refuse,
    "nonsense": answer_nonsense,
    "unsendable": answer_what_cannot_be_sent,
}


class UnrulyModel(Model):
    """Does `deed` whenever it reads a marked window, or already at a silent one."""

    def __init__(self, settings: Mapping[str, Setting], *, is_bad_at_silence: bool) -> None:
        self._deed = DEEDS[str(settings.get("deed", "print"))]
        self._latency_s = float(settings.get("latency_ms", 0)) / 1000
        self._is_bad_at_silence = is_bad_at_silence

    def decode(self, audio: npt.NDArray[np.float32], options: DecodeOptions) -> Hypothesis:
        time.sleep(self._latency_s)
        if audio.max(initial=0.0) >= MARK or (self._is_bad_at_silence and not audio.any()):
            answer = self._deed()
            if answer is not None:
                return answer
        integers = np.rint(audio * 32768.0).astype("<i2")
        return Hypothesis(text=f"{audio.size} {zlib.crc32(integers.tobytes()):08x}")


class UnrulyProvider(Provider):
    """Models: `fine`; `bad_at_load`; `bad_at_warm_up`; `bad_at_first_load`, where the file named
    by the setting `flag` tells a second load from the first; `slow`, which loads until that file
    is there."""

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
        if model == "bad_at_load":
            deed()
        if model == "bad_at_first_load" and not flag.exists():
            flag.touch()
            deed()
        while model == "slow" and not flag.exists():
            time.sleep(0.005)
        return UnrulyModel(settings, is_bad_at_silence=model == "bad_at_warm_up")


@hookimpl
def asrd_register_providers(register: Register) -> None:
    register(UnrulyProvider())
