"""The work of `asrd pipe`: stdin to one stream, its segments to stdout."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator

from asrd.choices import SAMPLE_BYTES
from asrd.cli.exits import Exit
from asrd.cli.feeder import Feeder, feeding
from asrd.cli.following import first_interrupt_stops, follow
from asrd.cli.notices import tell_breaks
from asrd.cli.output import Output
from asrd.cli.printers import printer_for
from asrd.cli.progress import waiting
from asrd.cli.reach import Wanted, reach
from asrd.client import StreamOptions

READ_BYTES = 8192
READ_AHEAD_BLOCKS = 128
"""With the above 1 MiB, half a minute at 16 kHz: a capture loses nothing while a model loads."""


async def pipe_stdin(options: StreamOptions, wanted: Wanted, *, is_json: bool) -> int:
    """Transcribe stdin to its end; returns the exit code. Raises AsrdError."""
    frame_bytes = SAMPLE_BYTES[options["encoding"]] * options["channels"]
    printer = printer_for(
        Output.standard(), is_json=is_json, are_words_wanted=options.get("words", False)
    )
    loop = asyncio.get_running_loop()

    def notice(text: str) -> None:
        loop.call_soon_threadsafe(printer.notice, text)

    # Reading begins before there is a daemon: what is said while it starts is not lost.
    feeder = Feeder(stdin_blocks(frame_bytes, notice), "asrd-stdin", depth=READ_AHEAD_BLOCKS)
    interrupts: list[int] = []
    code = int(Exit.OK)
    try:
        async with contextlib.AsyncExitStack() as stack:
            with waiting("loading the model", is_stdout_used=True):
                client = await stack.enter_async_context(reach(wanted))
                tell_breaks(client, printer.notice)
                stream = await client.open_stream(**options)
            with first_interrupt_stops(feeder.stop, interrupts):
                async with feeding(stream, feeder):
                    code = await follow(stream, printer)
    except asyncio.CancelledError:
        if not interrupts:
            raise
    finally:
        printer.close()
        feeder.stop()
    return int(Exit.INTERRUPTED) if interrupts else code


def stdin_blocks(frame_bytes: int, tell: Callable[[str], None]) -> Iterator[bytes]:
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
