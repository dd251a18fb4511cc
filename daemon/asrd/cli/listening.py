"""The work of `asrd listen`: what the machine's inputs hear, each a stream of one session."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from asrd.choices import LIVE_SOURCES
from asrd.cli.capture import Block, Capture, default_output, inputs
from asrd.cli.devices import Device, chosen, default_loopback, default_mic
from asrd.cli.exits import Exit
from asrd.cli.feeder import feeding
from asrd.cli.following import first_interrupt_stops, follow
from asrd.cli.notices import tell_breaks
from asrd.cli.output import Output
from asrd.cli.printers import Printer, printer_for
from asrd.cli.progress import waiting
from asrd.cli.reach import Wanted, reach
from asrd.cli.together import together
from asrd.client import Client, Stream, StreamOptions
from asrd.client.spans import Spans

MAX_CHANNELS = {"mic": 1, "system": 2}
"""What is played has two sides; a microphone's further channels are mostly empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """What is to be listened to: the source's name, and a device's number or name or ""."""

    source: str
    wish: str


async def listen(
    ears: Sequence[Ear], options: StreamOptions, wanted: Wanted, *, is_json: bool
) -> int:
    """Transcribe what is heard until Ctrl-C; returns the exit code. Raises AsrdError."""
    printer = printer_for(
        Output.standard(),
        is_json=is_json,
        are_words_wanted=options.get("words", False),
        is_labelled=len(ears) > 1,
    )
    interrupts: list[int] = []
    code = int(Exit.OK)
    try:
        with contextlib.ExitStack() as open_captures:
            # Listening begins before there is a daemon: what is said while it starts is not lost.
            sources = [
                Source(ear.source, open_captures.enter_context(_capture(ear)), printer)
                for ear in ears
            ]
            _tell_what_is_heard(sources, printer)
            async with contextlib.AsyncExitStack() as stack:
                with waiting("loading the model", is_stdout_used=True):
                    client = await stack.enter_async_context(reach(wanted))
                    tell_breaks(client, printer.notice)
                    streams = [await source.open(client, options) for source in sources]
                with first_interrupt_stops(open_captures.close, interrupts):
                    pairs = zip(sources, streams, strict=True)
                    code = max(await together([each.run(stream) for each, stream in pairs]))
    except asyncio.CancelledError:
        if not interrupts:
            raise
    finally:
        printer.close()
    return int(Exit.INTERRUPTED) if interrupts else code


class Source:
    """One input and its stream."""

    def __init__(self, name: str, capture: Capture, printer: Printer) -> None:
        self.name = name
        self.capture = capture
        self._printer = printer
        self._holes = Spans()

    async def open(self, client: Client, options: StreamOptions) -> Stream:
        """Its stream, of the shape that the device has. Raises Refused, ConnectionLost."""
        own: StreamOptions = {
            **options,
            "source": self.name,
            "priority": LIVE_SOURCES[self.name],
            "delivery": "live",
            "encoding": "pcm_s16le",
            "sample_rate": self.capture.rate,
            "channels": self.capture.channels,
        }
        return await client.open_stream(**own)

    async def run(self, stream: Stream) -> int:
        """Send what is heard and print what comes of it, to the end; returns the exit code."""
        async with feeding(stream, self._heard(stream)):
            code = await follow(stream, self._printer, self.name, self._told)
        return code or int(Exit.NO_INPUT if self.capture.has_failed else Exit.OK)

    async def _heard(self, stream: Stream) -> AsyncIterator[bytes]:
        async for block in self.capture:
            if block.lost_samples:
                self._lose(block, stream)
            yield block.pcm
        if self.capture.has_failed:
            self._printer.notice(f"{self.capture.device.name} has ended", self.name)

    def _lose(self, block: Block, stream: Stream) -> None:
        """Tell of what is missing before a block, and leave a hole for it in the stream."""
        rate = self.capture.rate
        for samples, why in (
            (block.overrun_samples, f"{self.capture.device.name} was not read in time"),
            (block.unqueued_samples, "they could not be taken in time"),
        ):
            if samples:
                lost = f"{samples / rate:.1f} s of audio at {stream.sent / rate:.1f} s were lost"
                self._printer.notice(f"{lost}: {why}", self.name)
        self._holes.add(stream.sent, stream.sent + block.lost_samples)
        stream.skip(block.lost_samples)

    def _told(self, start_s: float, end_s: float) -> float:
        rate = self.capture.rate
        return self._holes.measure(round(start_s * rate), round(end_s * rate)) / rate


def device_of(ear: Ear, devices: Sequence[Device]) -> Device:
    """The input that is meant. Raises CommandError."""
    if ear.wish:
        return chosen(devices, ear.wish)
    if ear.source == "system":
        return default_loopback(devices, default_output())
    return default_mic(devices)


def _capture(ear: Ear) -> Capture:
    return Capture(device_of(ear, inputs()), max_channels=MAX_CHANNELS[ear.source])


def _tell_what_is_heard(sources: Sequence[Source], printer: Printer) -> None:
    """To whoever sits in front of it: the wrong microphone is the commonest mistake."""
    if os.isatty(2):
        for source in sources:
            name = source.capture.device.name
            printer.notice(f"listening to {name}, Ctrl-C ends it", source.name)
