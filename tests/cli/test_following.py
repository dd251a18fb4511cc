"""What a stream tells, as it reaches a printer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from asrd.cli.exits import CommandError, Exit
from asrd.cli.following import Told, follow, nothing_told
from asrd.cli.printers import Printer
from asrd.client import Stream, StreamEvent
from asrd.wire.messages import Ack, Event, Flushed, Partial
from support.fake_daemon import closed, refusal, segment


@dataclass
class ListPrinter:
    """Keeps what it is told, in order."""

    told: list[object] = field(default_factory=list)

    async def segment(self, segment: Any, source: str) -> None:
        self.told.append((source, segment.text))

    async def partial(self, partial: Any, source: str) -> None:
        self.told.append((source, partial.text))

    async def finished(self, at_s: float, source: str) -> None:
        self.told.append((source, at_s))

    def notice(self, text: str, source: str) -> None:
        self.told.append((source, text))


class TellingStream:
    """Tells what it is made with."""

    sample_rate = 8000

    def __init__(self, *events: StreamEvent) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        for event in self._events:
            yield event


def followed(*events: StreamEvent, told: Told = nothing_told) -> tuple[int, list[object]]:
    printer = ListPrinter()
    stream = cast("Stream", TellingStream(*events))
    code = asyncio.run(follow(stream, cast("Printer", printer), "mic", told))
    return code, printer.told


def loss(event: str, start: float, end: float, **more: Any) -> Event:
    return Event(stream=1, event=event, at=end, start=start, end=end, **more)


def test_text_and_the_end_of_what_had_none() -> None:
    partial = Partial(stream=1, id=0, start=0.0, end=1.0, text="hel", stable=0)
    code, told = followed(
        partial,
        segment(text="hello"),
        Ack(stream=1, offset=12_000),
        Flushed(stream=1, offset=16_000),
        Event(stream=1, event="speech_start", at=3.0),
        closed(),
    )
    assert code == 0
    assert told == [("mic", "hel"), ("mic", "hello"), ("mic", 1.5), ("mic", 2.0)]


@pytest.mark.parametrize(
    ("event", "known_s", "says"),
    [
        (
            loss("dropped", 2.0, 4.5, reason="overload"),
            0.0,
            ["2.5 s of audio at 2.0 s were lost: overload"],
        ),
        (loss("gap", 2.0, 4.5), 0.0, ["2.5 s of audio at 2.0 s were lost: they never arrived"]),
        (loss("gap", 2.0, 4.5), 2.5, []),
        (loss("gap", 2.0, 4.5), 2.48, []),
        (loss("gap", 2.0, 4.5), 1.0, ["1.5 s of audio at 2.0 s were lost: they never arrived"]),
        (loss("dropped", 2.0, 4.5, reason="x"), 2.5, ["2.5 s of audio at 2.0 s were lost: x"]),
    ],
)
def test_a_loss_is_told_but_for_what_was_told_before(
    event: Event, known_s: float, says: list[str]
) -> None:
    def told(start_s: float, end_s: float) -> float:
        assert (start_s, end_s) == (2.0, 4.5)
        return known_s

    assert followed(event, closed(), told=told) == (0, [("mic", each) for each in says])


def test_trouble_is_told_and_becomes_the_code() -> None:
    trouble = refusal("provider_failed", "it crashed", stream=1)
    code, told = followed(trouble, segment(text="on"), closed())
    assert code == Exit.INTERNAL
    assert told == [("mic", "it crashed: see the daemon's log"), ("mic", "on")]


def test_a_stream_that_the_daemon_ends_is_an_error_unless_one_was_told() -> None:
    with pytest.raises(CommandError, match=r"the daemon ended the stream \(idle\)"):
        followed(closed(reason="idle"))
    trouble = refusal("provider_unavailable", "gone", stream=1)
    assert followed(trouble, closed(reason="error"))[0] == Exit.UNAVAILABLE
