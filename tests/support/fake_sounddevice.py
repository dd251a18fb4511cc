"""What `asrd listen` uses of sounddevice, with devices that play PCM from files.

Which devices there are stands as JSON in the environment, see `Machine`; so a child process whose
PYTHONPATH has this module under the name `sounddevice` hears the same as the process of the test.
"""

import json
import os
import threading
import time as clock
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

VARIABLE = "FAKE_SOUNDDEVICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDevice:
    """One device. `pcm` is a file of 16-bit samples of `inputs` channels; silence follows it.

    `overruns` are seconds that the device loses, by the number of the block that they miss before.
    """

    name: str
    inputs: int = 1
    outputs: int = 0
    rate: int = 16_000
    rates: tuple[int, ...] = (16_000, 48_000)
    pcm: str = ""
    overruns: dict[str, float] = field(default_factory=dict)
    ends: bool = False
    """Whether it goes away once its file has been played."""
    is_busy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The devices; `pace` is how much quicker than time they play."""

    devices: tuple[FakeDevice, ...] = ()
    default_input: int | None = 0
    default_output: int | None = None
    pace: float = 1.0

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: json.dumps(asdict(self))}


def install(folder: Path) -> Path:
    """A folder for PYTHONPATH in which this module is called sounddevice."""
    folder.mkdir()
    (folder / "sounddevice.py").write_text("from support.fake_sounddevice import *\n")
    return folder


class PortAudioError(Exception):
    """As sounddevice's."""


def _machine() -> Machine:
    fields = json.loads(os.environ[VARIABLE])
    devices = tuple(FakeDevice(**each) for each in fields.pop("devices"))
    return Machine(devices=devices, **fields)


def query_devices(device: int | None = None, kind: str | None = None) -> Any:
    machine = _machine()
    described = [
        {
            "name": each.name,
            "index": number,
            "max_input_channels": each.inputs,
            "max_output_channels": each.outputs,
            "default_samplerate": float(each.rate),
        }
        for number, each in enumerate(machine.devices)
    ]
    if kind is not None:
        device = machine.default_input if kind == "input" else machine.default_output
        if device is None:
            raise PortAudioError(f"Error querying device -1 ({kind})")
    return described if device is None else described[device]


def check_input_settings(device: int, channels: int, dtype: str, samplerate: int) -> None:
    found = _machine().devices[device]
    assert dtype == "int16"
    assert channels <= found.inputs
    if samplerate not in found.rates:
        raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")


class RawInputStream:
    """Calls back from a thread of its own, block by block, until it is aborted."""

    def __init__(
        self,
        *,
        device: int,
        samplerate: int,
        channels: int,
        dtype: str,
        blocksize: int,
        callback: Callable[[Any, int, Any, Any], None],
        finished_callback: Callable[[], None],
    ) -> None:
        check_input_settings(device, channels, dtype, samplerate)
        self._device = _machine().devices[device]
        self._pace = _machine().pace
        self._rate = samplerate
        self._block_samples = blocksize
        self._frame_bytes = 2 * channels
        self._callback = callback
        self._finished_callback = finished_callback
        self._is_wanted = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self) -> None:
        if self._device.is_busy:
            raise PortAudioError("Device unavailable [PaErrorCode -9985]")
        self._is_wanted.set()
        self._thread.start()

    def abort(self) -> None:
        self._is_wanted.clear()
        if self._thread.ident is not None:  # else it was never started, which is no error here
            self._thread.join()

    def close(self) -> None:
        assert not self._thread.is_alive()

    def _play(self) -> None:
        pcm = Path(self._device.pcm).read_bytes() if self._device.pcm else b""
        began_s, position, number = clock.monotonic(), 0, 0
        size = self._block_samples * self._frame_bytes
        while self._is_wanted.is_set() and not (self._device.ends and position >= len(pcm)):
            lost_s = self._device.overruns.get(str(number), 0.0)
            position += round(lost_s * self._rate) * self._frame_bytes
            data = pcm[position : position + size].ljust(size, b"\0")
            at_s = position / self._frame_bytes / self._rate
            due_s = began_s + (at_s + self._block_samples / self._rate) / self._pace
            clock.sleep(max(0.0, due_s - clock.monotonic()))
            status = SimpleNamespace(input_overflow=lost_s > 0)
            time = SimpleNamespace(inputBufferAdcTime=100.0 + at_s, currentTime=100.0 + at_s)
            self._callback(memoryview(data), self._block_samples, time, status)
            position += size
            number += 1
        self._finished_callback()
