"""What is written where, byte for byte: each test on a terminal has one of its own."""

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from asrd.cli.output import Output
from asrd.cli.printers import Printer, printer_for
from asrd.wire.messages import Partial, Segment
from support.fake_daemon import segment as fake_segment

ERASE = "\r\x1b[K"
Scene = Callable[[Printer, "Screen"], Awaitable[None]]


def partial(text: str, stable: int = 0, number: int = 0, **changes: Any) -> Partial:
    fields: dict[str, Any] = {"stream": 1, "id": number, "start": 1.0, "end": 2.0}
    return Partial(text=text, stable=stable, **(fields | changes))


def segment(text: str, number: int = 0) -> Segment:
    return fake_segment(number=number, text=text)


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m"


@dataclass
class Screen:
    """The other end of the terminal: what was written since it was last asked."""

    ours: int
    theirs: int

    def read(self) -> str:
        os.write(self.theirs, b"\0")  # a terminal passes on in its own time, but in order
        data = b""
        while not data.endswith(b"\0"):
            data += os.read(self.ours, 65536)
        return data[:-1].decode()

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


@contextmanager
def descriptors(**replaced: int) -> Iterator[None]:
    """Standard descriptors replaced for a while."""
    numbers = {"stdout": 1, "stderr": 2}
    sys.stderr.flush()
    kept = {name: os.dup(numbers[name]) for name in replaced}
    for name, descriptor in replaced.items():
        os.dup2(descriptor, numbers[name])
    try:
        yield
    finally:
        for name, descriptor in kept.items():
            os.dup2(descriptor, numbers[name])
            os.close(descriptor)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """A terminal of 80 columns that knows sequences."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    tty.setraw(theirs)  # a newline is written as it is
    made = Screen(ours, theirs)
    made.resize(80)
    yield made
    os.close(ours)
    os.close(theirs)


def play(
    screen: Screen,
    scene: Scene,
    *,
    is_json: bool = False,
    is_labelled: bool = False,
    is_stderr_here: bool = True,
) -> str:
    """Run a scene on the terminal; returns what it wrote that the scene has not read."""

    async def run() -> None:
        output = Output.standard()
        printer = printer_for(
            output, is_json=is_json, are_words_wanted=False, is_labelled=is_labelled
        )
        await scene(printer, screen)

    replaced = {"stdout": screen.theirs} | ({"stderr": screen.theirs} if is_stderr_here else {})
    with (
        descriptors(**replaced),
        pytest.MonkeyPatch.context() as patch,
        os.fdopen(os.dup(2), "w") as stderr,
    ):
        patch.setattr(sys, "stderr", stderr)
        asyncio.run(run())
    return screen.read()


def test_the_live_line_is_redrawn_in_one_write(screen: Screen) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.partial(partial("it was"))
        assert screen.read() == dim("it was")
        await printer.partial(partial("it was the", 6))
        assert screen.read() == f"{ERASE}it was{dim(' the')}"
        await printer.partial(partial("it was the", 6))
        assert screen.read() == ""  # nothing is new
        await printer.segment(segment("It was the best."))
        assert screen.read() == f"{ERASE}It was the best.\n"
        await printer.segment(segment("Of times.", 1))
        assert screen.read() == "Of times.\n"

    assert play(screen, scene) == ""


def test_a_partial_of_what_is_final_is_not_drawn(screen: Screen) -> None:
    async def scene(printer: Printer, _: Screen) -> None:
        await printer.segment(segment("a", 3))
        await printer.partial(partial("late", number=3))
        await printer.partial(partial("later", number=2))

    assert play(screen, scene) == "a\n"


def test_speech_that_ends_without_text_leaves_the_line(screen: Screen) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.partial(partial("cough", start=1.0))
        screen.read()
        await printer.finished(1.0)  # what goes on begins here
        assert screen.read() == ""
        await printer.finished(1.5)
        assert screen.read() == ERASE

    play(screen, scene)


def test_nothing_that_a_terminal_obeys_gets_through(screen: Screen) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.segment(segment("a\x1b]0;mine\x07b\x9b2Jc"))
        assert screen.read() == "a�]0;mine�b�2Jc\n"
        await printer.partial(partial("\x1b[2J", 4, number=1))
        assert screen.read() == "�[2J"
        printer.notice("said \x1b[31m")
        assert screen.read() == f"{ERASE}asrd: said �[31m\n�[2J"

    play(screen, scene)


def test_a_notice_stands_above_the_live_line(screen: Screen) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        printer.notice("one")
        await printer.partial(partial("it was", 2))
        screen.read()
        printer.notice("two")
        assert screen.read() == f"{ERASE}asrd: two\nit{dim(' was')}"
        await printer.segment(segment("It was."))
        assert screen.read() == f"{ERASE}It was.\n"

    play(screen, scene)


def test_a_notice_that_goes_elsewhere_leaves_the_terminal_alone(
    screen: Screen, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.partial(partial("it was"))
        screen.read()
        printer.notice("elsewhere")

    assert play(screen, scene, is_stderr_here=False) == ""
    assert capfd.readouterr().err == "asrd: elsewhere\n"


def test_a_notice_waits_for_what_is_being_written(screen: Screen) -> None:
    """Else the second half of a redrawing would take the notice away."""

    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.partial(partial("it was"))
        screen.read()
        writing = asyncio.create_task(printer.partial(partial("it was the")))
        await asyncio.sleep(0)  # it waits until the terminal can be written to
        printer.notice("now")
        assert screen.read() == ""
        await writing
        line = dim("it was the")
        assert screen.read() == f"{ERASE}{line}{ERASE}asrd: now\n{line}"

    play(screen, scene)


def test_a_terminal_that_is_resized(screen: Screen) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.partial(partial("x" * 70))
        screen.read()
        screen.resize(40)  # two rows now
        await printer.partial(partial("x" * 71))
        assert screen.read() == f"\r\x1b[1A\x1b[J{dim('…' + 'x' * 36)}"
        screen.resize(80)
        await printer.segment(segment("y"))
        assert screen.read() == f"{ERASE}y\n"

    play(screen, scene)


def test_the_end_leaves_a_clean_line(screen: Screen) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.partial(partial("it was"))
        screen.read()
        printer.close()
        assert screen.read() == ERASE
        printer.close()
        printer.notice("behind it")

    assert play(screen, scene) == "asrd: behind it\n"


def test_without_colour_nothing_is_marked(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(printer: Printer, _: Screen) -> None:
        await printer.partial(partial("it was", 2))
        await printer.segment(segment("It was."))

    monkeypatch.setenv("NO_COLOR", "1")
    assert play(screen, scene) == f"it was{ERASE}It was.\n"
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert play(screen, scene) == "it was\r      \rIt was.\n"


def test_two_sources_share_the_live_line(screen: Screen) -> None:
    async def scene(printer: Printer, screen: Screen) -> None:
        await printer.partial(partial("they", 4), "system")
        await printer.partial(partial("I", 1), "mic")
        assert screen.read() == f"system: they{ERASE}mic: I  system: they"
        await printer.segment(segment("I do."), "mic")
        assert screen.read() == f"{ERASE}mic: I do.\nsystem: they"
        await printer.segment(segment("They do."), "system")  # its ids are its own
        assert screen.read() == f"{ERASE}system: They do.\n"
        printer.notice("something", "mic")
        printer.notice("all")
        assert screen.read() == "asrd: mic: something\nasrd: all\n"

    play(screen, scene, is_labelled=True)


def test_json_on_a_terminal_says_the_same_and_obeys_nobody(screen: Screen) -> None:
    async def scene(printer: Printer, _: Screen) -> None:
        await printer.segment(segment("a\x1b[31m\x9b2J"), "mic")

    line = play(screen, scene, is_json=True)
    assert "\x1b" not in line
    assert "\x9b" not in line
    fields = json.loads(line)
    assert (fields["source"], fields["text"]) == ("mic", "a\x1b[31m\x9b2J")
    assert list(fields)[:2] == ["type", "source"]


def test_where_there_is_no_terminal_text_goes_as_it_is(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> None:
        printer = printer_for(Output.standard(), is_json=False, are_words_wanted=False)
        await printer.partial(partial("never"))
        await printer.segment(segment("a\x1b[31m\nb"))
        await printer.finished(9.0)
        printer.close()

    asyncio.run(scene())
    assert capfd.readouterr().out == "a\x1b[31m b\n"


def test_lines_of_two_tasks_are_not_torn_apart(capfd: pytest.CaptureFixture[str]) -> None:
    """Longer than one write takes."""
    texts = ["a" * 20_000, "b" * 20_000]

    async def scene() -> None:
        printer = printer_for(
            Output.standard(), is_json=False, are_words_wanted=False, is_labelled=True
        )
        await asyncio.gather(*(printer.segment(segment(each), each[0]) for each in texts))

    asyncio.run(scene())
    assert sorted(capfd.readouterr().out.splitlines()) == [f"{each[0]}: {each}" for each in texts]
