"""Sound as the machine hears it, by way of PortAudio: the only place that knows sounddevice.

    PortAudio's thread ─► Intake (bounded) ─► the loop

PortAudio calls from a thread of its own, which must never wait: sound that comes while it does is
lost. What does not fit into the queue is lost too, and counted; so is what the device itself had no
room for. Either is told with the block behind it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from asrd.cli.devices import SEE_LIST, Device
from asrd.cli.exits import CommandError, Exit

RATE = 16_000
"""What models hear. Devices that cannot have it are asked for one of the others."""

OTHER_RATES = (48_000, 44_100, 32_000, 8_000)
RATES = range(8_000, 96_001)
"""What a stream may be opened with."""

BLOCK_S = 0.032
MAX_QUEUED_S = 30.0
"""How long the daemon may take to start and to load a model before sound is lost."""

SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Sound, and how many samples per channel were lost before it: here, and by the device."""

    pcm: bytes
    unqueued_samples: int = 0
    overrun_samples: int = 0

    @property
    def lost_samples(self) -> int:
        """All that is missing before this block."""
        return self.unqueued_samples + self.overrun_samples


class Intake:
    """What one thread hands over to another, neither of which ever waits for the other.

    Without a lock: each count is written by one thread alone, and a deque's ends are safe.
    """

    def __init__(self, rate: int, frame_bytes: int, max_samples: int) -> None:
        self._rate = rate
        self._frame_bytes = frame_bytes
        self._max_samples = max_samples
        self._blocks: deque[Block] = deque()
        self._put_samples = 0
        self._taken_samples = 0
        self._unqueued_samples = 0
        self._overrun_samples = 0
        self._due_s: float | None = None

    def put(self, pcm: bytes, at_s: float, *, has_overrun: bool) -> None:
        """Add sound that began at `at_s` of the device's clock. For the device's thread."""
        samples = len(pcm) // self._frame_bytes
        if has_overrun:
            late_s = 0.0 if self._due_s is None else at_s - self._due_s
            self._overrun_samples += max(1, round(late_s * self._rate))  # at least some is missing
        self._due_s = at_s + samples / self._rate
        if self._put_samples - self._taken_samples + samples > self._max_samples:
            self._unqueued_samples += samples
            return
        self._put_samples += samples
        self._blocks.append(self._next(pcm))

    def take(self) -> Block | None:
        """The oldest block; None where there is none."""
        if not self._blocks:
            return None
        block = self._blocks.popleft()
        self._taken_samples += len(block.pcm) // self._frame_bytes
        return block

    def rest(self) -> Block:
        """What was lost behind the last block, once nothing more is put in."""
        return self._next(b"")

    def _next(self, pcm: bytes) -> Block:
        block = Block(
            pcm=pcm,
            unqueued_samples=self._unqueued_samples,
            overrun_samples=self._overrun_samples,
        )
        self._unqueued_samples = self._overrun_samples = 0
        return block


class Capture:
    """One input while it is listened to: `async for block in capture`, to its `stop`.

    Made on the loop that reads it. Listening begins with `with`; blocks wait from then on.
    `has_failed` is whether the device ended by itself.
    """

    def __init__(self, device: Device, *, max_channels: int) -> None:
        self.device = device
        self.channels = max(1, min(max_channels, device.channels))
        self.has_failed = False
        self._sounddevice = load_sounddevice()
        self.rate = self._possible_rate()
        frame_bytes = self.channels * SAMPLE_BYTES
        self._intake = Intake(self.rate, frame_bytes, round(MAX_QUEUED_S * self.rate))
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._is_over = False
        self._input: Any = None

    def __enter__(self) -> Self:
        """Begin to listen. Raises CommandError."""
        try:
            self._input = self._sounddevice.RawInputStream(
                device=self.device.number,
                samplerate=self.rate,
                channels=self.channels,
                dtype="int16",
                blocksize=round(BLOCK_S * self.rate),
                callback=self._heard,
                finished_callback=self._finished,
            )
            self._input.start()
        except self._sounddevice.PortAudioError as error:
            self.stop()
            raise CommandError(
                f"cannot listen to {self.device.name}: {error}",
                Exit.NO_INPUT,
                "choose another, " + SEE_LIST,
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End listening. What was heard so far can still be taken."""
        device, self._input = self._input, None
        self._end()
        if device is not None:
            device.abort()  # neither minds a device that is gone
            device.close()

    async def __aiter__(self) -> AsyncIterator[Block]:
        while True:
            self._changed.clear()
            is_over = self._is_over
            while (block := self._intake.take()) is not None:
                yield block
            if is_over:
                break
            await self._changed.wait()
        if (rest := self._intake.rest()).lost_samples:
            yield rest

    def _possible_rate(self) -> int:
        """The rate to listen at. Raises CommandError where the device has none that will do."""
        rates = [RATE, *([self.device.rate] if self.device.rate in RATES else []), *OTHER_RATES]
        problem: Exception | None = None
        for rate in rates:
            try:
                self._sounddevice.check_input_settings(
                    device=self.device.number,
                    channels=self.channels,
                    dtype="int16",
                    samplerate=rate,
                )
            except (self._sounddevice.PortAudioError, ValueError) as error:
                problem = problem or error
            else:
                return rate
        raise CommandError(
            f"cannot listen to {self.device.name}: {problem}",
            Exit.NO_INPUT,
            "choose another, " + SEE_LIST,
        ) from problem

    # ── in the device's thread ────────────────────────────────────────────────────────────────

    def _heard(self, data: Any, _samples: int, time: Any, status: Any) -> None:
        # Some systems leave the first at 0.
        at_s = float(time.inputBufferAdcTime) or float(time.currentTime)
        self._intake.put(bytes(data), at_s, has_overrun=bool(status.input_overflow))
        self._post(self._changed.set)

    def _finished(self) -> None:
        self._post(self._device_ended)

    def _post(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call)

    # ── on the loop ───────────────────────────────────────────────────────────────────────────

    def _device_ended(self) -> None:
        self.has_failed = self.has_failed or not self._is_over
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._changed.set()


def load_sounddevice() -> Any:
    """The package. Raises CommandError that says what to install."""
    try:
        import sounddevice
    except ImportError as error:
        raise CommandError(
            f"cannot listen without the package sounddevice ({error})",
            Exit.UNAVAILABLE,
            "`pip install 'asrd[listen]'`",
        ) from error
    except OSError as error:
        raise CommandError(
            f"cannot listen without the system's PortAudio ({error})",
            Exit.UNAVAILABLE,
            "`apt install libportaudio2`, `dnf install portaudio`, `pacman -S portaudio` or "
            "`brew install portaudio`",
        ) from error
    return sounddevice


def inputs() -> list[Device]:
    """Every input. Raises CommandError where nothing can be listened to at all."""
    sounddevice = load_sounddevice()
    default = _default(sounddevice, "input")
    try:
        found = list(sounddevice.query_devices())
    except sounddevice.PortAudioError as error:
        raise CommandError(
            f"PortAudio lists no devices: {error}", Exit.NO_INPUT, "see what the system plays with"
        ) from error
    return [
        Device(
            number=number,
            name=str(each["name"]),
            channels=int(each["max_input_channels"]),
            rate=round(each["default_samplerate"]),
            is_default=default is not None and default["index"] == number,
        )
        for number, each in enumerate(found)
        if each["max_input_channels"] > 0
    ]


def default_output() -> str:
    """The name of what the machine plays on; "" where that is not known."""
    output = _default(load_sounddevice(), "output")
    return "" if output is None else str(output["name"])


def _default(sounddevice: Any, kind: str) -> Any:
    try:
        return sounddevice.query_devices(kind=kind)
    except (sounddevice.PortAudioError, ValueError):  # there is none
        return None
