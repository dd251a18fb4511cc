"""The work of `asrd pipe`: stdin to one stream, its segments to stdout."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator

from asrd.choices import SAMPLE_BYTES
from asrd.cli.exits import CommandError, Exit, judge, tell
from asrd.cli.feeder import Feeder, feeding
from asrd.cli.notices import tell_breaks
from asrd.cli.output import Output
from asrd.cli.reach import Wanted, reach
from asrd.cli.transcripts import as_dict, one_line, to_json
from asrd.client import Refused, Stream, StreamOptions
from asrd.wire.messages import Ack, Closed, Error, Event, Flushed, Partial, Segment

READ_BYTES = 8192
READ_AHEAD_BLOCKS = 128
"""With the above 1 MiB, half a minute at 16 kHz: a capture loses nothing while a model loads."""

ERASE_LINE = b"\r\x1b[K"


async def pipe_stdin(options: StreamOptions, wanted: Wanted, *, is_json: bool) -> int:
    """Transcribe stdin to its end; returns the exit code. Raises AsrdError."""
    frame_bytes = SAMPLE_BYTES[options["encoding"]] * options["channels"]
    output = Output.standard()
    printer = JsonPrinter(output) if is_json else TextPrinter(output)
    # Reading begins before there is a daemon: what is said while it starts is not lost.
    feeder = Feeder(stdin_blocks(frame_bytes), "asrd-stdin", depth=READ_AHEAD_BLOCKS)
    interrupts: list[int] = []
    code = int(Exit.OK)
    try:
        async with reach(wanted) as client:
            tell_breaks(client, printer.notice)
            stream = await client.open_stream(**options)
            with _first_interrupt_stops(feeder, interrupts):
                async with feeding(stream, feeder):
                    code = await _read(stream, printer)
    except asyncio.CancelledError:
        if not interrupts:
            raise
    finally:
        feeder.stop()
    return int(Exit.INTERRUPTED) if interrupts else code


def stdin_blocks(frame_bytes: int) -> Iterator[bytes]:
    """Yield stdin as it comes, cut at whole samples of all channels."""
    held = b""
    while data := os.read(0, READ_BYTES):
        data = held + data
        whole = len(data) - len(data) % frame_bytes
        held = data[whole:]
        if whole:
            yield data[:whole]
    if held:
        tell(f"the input ended inside a sample: {len(held)} of {frame_bytes} bytes were left out")


class TextPrinter:
    """A line for each segment; on a terminal the one being spoken is redrawn below them."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._is_terminal = os.isatty(1)
        self._is_live = False

    async def segment(self, segment: Segment) -> None:
        """Write a final line."""
        await self._output.write(f"{self._erased()}{one_line(segment.text)}\n")

    async def partial(self, partial: Partial) -> None:
        """Redraw the live line: its end, where it is longer than the terminal is wide."""
        if not self._is_terminal:
            return
        from rich.cells import cell_len

        width = shutil.get_terminal_size().columns - 1
        text = one_line(partial.text)[-width:]
        while cell_len(text) > width:  # some characters take two cells
            text = text[1:]
        erased = self._erased()
        self._is_live = True
        await self._output.write(erased + text)

    def notice(self, text: str) -> None:
        """Say something on stderr, which is the same terminal as a rule."""
        if self._is_live and os.isatty(2):
            with contextlib.suppress(OSError):  # there is nobody left to tell
                os.write(2, ERASE_LINE)  # the live line is drawn anew below, with its next text
        tell(text)

    async def end(self) -> None:
        """Leave the terminal at the start of a clean line."""
        if self._is_live:
            await self._output.write(self._erased())

    def _erased(self) -> str:
        was_live, self._is_live = self._is_live, False
        return ERASE_LINE.decode() if was_live else ""


class JsonPrinter:
    """An object on a line for each message."""

    def __init__(self, output: Output) -> None:
        self._output = output

    async def segment(self, segment: Segment) -> None:
        """Write a final segment."""
        await self._output.write(to_json(as_dict(segment)) + "\n")

    async def partial(self, partial: Partial) -> None:
        """Write what may still change."""
        await self._output.write(to_json(as_dict(partial)) + "\n")

    def notice(self, text: str) -> None:
        """Say something on stderr."""
        tell(text)

    async def end(self) -> None:
        """Nothing is left over."""


async def _read(stream: Stream, printer: TextPrinter | JsonPrinter) -> int:
    code = int(Exit.OK)
    async for event in stream:
        match event:
            case Segment():
                await printer.segment(event)
            case Partial():
                await printer.partial(event)
            case Event():
                _warn(event, printer)
            case Error():
                problem_code, line = judge(Refused.of(event))
                printer.notice(line)
                code = code or int(problem_code)
            case Closed(reason="client" | "cancelled"):
                pass
            case Closed(reason=reason):
                await printer.end()
                if not code:
                    raise CommandError(
                        f"the daemon ended the stream ({reason})", Exit.UNAVAILABLE, "start again"
                    )
            case Ack() | Flushed():
                pass
    await printer.end()
    return code


def _warn(event: Event, printer: TextPrinter | JsonPrinter) -> None:
    if event.event in ("dropped", "gap") and isinstance(event.start, float):
        end = event.end if isinstance(event.end, float) else event.start
        lost_s = end - event.start
        printer.notice(f"{lost_s:.1f} s of audio at {event.start:.1f} s were lost: {_why(event)}")


def _why(event: Event) -> str:
    return event.reason if isinstance(event.reason, str) else "they never arrived"


@contextlib.contextmanager
def _first_interrupt_stops(feeder: Feeder, interrupts: list[int]) -> Iterator[None]:
    """Make Ctrl-C the end of input, and a second one the end of the command.

    Each is noted in `interrupts`.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupted() -> None:
        interrupts.append(signal.SIGINT)
        if len(interrupts) == 1:
            feeder.stop()
        elif task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
