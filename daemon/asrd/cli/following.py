"""What `pipe` and `listen` share: a stream's messages go to a printer, and Ctrl-C to its end."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from asrd.cli.exits import CommandError, Exit, judge
from asrd.cli.printers import Printer
from asrd.client import Refused, Stream
from asrd.wire.messages import Ack, Closed, Error, Event, Flushed, Partial, Segment

UNTOLD_S = 0.05
"""A gap that is told but for so little is told: less would be shown as 0.0 s."""

Told = Callable[[float, float], float]
"""How many seconds of the audio between two times were told as lost already."""


def nothing_told(_start_s: float, _end_s: float) -> float:
    """For a command that loses no audio itself."""
    return 0.0


async def follow(
    stream: Stream, printer: Printer, source: str = "", told: Told = nothing_told
) -> int:
    """Print what a stream tells, to its end; returns the exit code.

    Raises:
        CommandError: the daemon ended the stream.
        ConnectionLost: the connection is lost for good.
    """
    code = int(Exit.OK)
    async for event in stream:
        match event:
            case Segment():
                await printer.segment(event, source)
            case Partial():
                await printer.partial(event, source)
            case Ack(offset=offset) | Flushed(offset=offset):
                await printer.finished(offset / stream.sample_rate, source)
            case Event():
                _tell_loss(event, printer, source, told)
            case Error():
                problem_code, line = judge(Refused.of(event))
                printer.notice(line, source)
                code = code or int(problem_code)
            case Closed(reason="client" | "cancelled"):
                pass
            case Closed(reason=reason):
                if not code:
                    raise CommandError(
                        f"the daemon ended the stream ({reason})", Exit.UNAVAILABLE, "start again"
                    )
    return code


@contextlib.contextmanager
def first_interrupt_stops(stop: Callable[[], None], interrupts: list[int]) -> Iterator[None]:
    """Make Ctrl-C call `stop`, and a second one end the command.

    Each is noted in `interrupts`.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupted() -> None:
        interrupts.append(signal.SIGINT)
        if len(interrupts) == 1:
            stop()
        elif task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _tell_loss(event: Event, printer: Printer, source: str, told: Told) -> None:
    if event.event not in ("dropped", "gap") or not isinstance(event.start, float):
        return
    end = event.end if isinstance(event.end, float) else event.start
    lost_s = end - event.start
    known_s = told(event.start, end) if event.event == "gap" else 0.0
    if known_s and lost_s - known_s < UNTOLD_S:
        return
    printer.notice(
        f"{lost_s - known_s:.1f} s of audio at {event.start:.1f} s were lost: {_why(event)}", source
    )


def _why(event: Event) -> str:
    return event.reason if isinstance(event.reason, str) else "they never arrived"
