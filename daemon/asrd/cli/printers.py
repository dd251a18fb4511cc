"""Where a command that hears live says what it hears: on a terminal or not, as text or JSON.

On a terminal the speech that goes on is the last line, and all else scrolls above it. Each
redrawing is one write, and nothing is written that the terminal would obey but what is drawn here.
"""

import asyncio
import contextlib
import os
import select
import shutil
from abc import ABC, abstractmethod
from typing import Any

from asrd.cli.exits import tell
from asrd.cli.live_line import NOTHING, Drawn, Part, draw, erase, overwrite
from asrd.cli.notices import MissingWords
from asrd.cli.output import Output
from asrd.cli.plain import one_line, plain, plain_json
from asrd.cli.transcripts import as_dict, to_json
from asrd.wire.messages import Partial, Segment

STDOUT, STDERR = 1, 2


class Printer(ABC):
    """Says what streams tell. `source` names the stream, where there may be several.

    Tasks may call it side by side: what one says is not torn apart by another.
    """

    def __init__(self, output: Output, *, is_labelled: bool) -> None:
        self._output = output
        self._is_labelled = is_labelled
        self._lock = asyncio.Lock()

    @abstractmethod
    async def segment(self, segment: Segment, source: str = "") -> None:
        """Say what is final."""

    @abstractmethod
    async def partial(self, partial: Partial, source: str = "") -> None:
        """Show what may still change."""

    async def finished(self, at_s: float, source: str = "") -> None:  # noqa: B027 - may be nothing
        """Speech that began before `at_s` is finished, whether or not text came of it."""

    def notice(self, text: str, source: str = "") -> None:
        """Say something on stderr."""
        tell(self._label(source) + text)

    def close(self) -> None:  # noqa: B027 - may be nothing
        """Leave the output as one that may go on elsewhere. Never waits."""

    def _label(self, source: str) -> str:
        return f"{source}: " if self._is_labelled and source else ""


def printer_for(
    output: Output, *, is_json: bool, are_words_wanted: bool, is_labelled: bool = False
) -> Printer:
    """The printer for standard output as it is."""
    is_terminal = os.isatty(STDOUT)
    if is_json:
        return JsonPrinter(
            output,
            is_labelled=is_labelled,
            is_terminal=is_terminal,
            are_words_wanted=are_words_wanted,
        )
    kind = TerminalPrinter if is_terminal else TextPrinter
    return kind(output, is_labelled=is_labelled)


class TextPrinter(Printer):
    """A line for each segment, the text as it is."""

    async def segment(self, segment: Segment, source: str = "") -> None:
        """See Printer."""
        async with self._lock:
            await self._output.write(f"{self._label(source)}{one_line(segment.text)}\n")

    async def partial(self, partial: Partial, source: str = "") -> None:
        """Text that may change is no line."""


class JsonPrinter(Printer):
    """An object on a line for each message, with its source where it has one."""

    def __init__(
        self, output: Output, *, is_labelled: bool, is_terminal: bool, are_words_wanted: bool
    ) -> None:
        super().__init__(output, is_labelled=is_labelled)
        self._is_terminal = is_terminal
        self._missing_words = MissingWords(self.notice, are_wanted=are_words_wanted)

    async def segment(self, segment: Segment, source: str = "") -> None:
        """See Printer."""
        self._missing_words.look_at(segment)
        await self._write(segment, source)

    async def partial(self, partial: Partial, source: str = "") -> None:
        """See Printer."""
        await self._write(partial, source)

    async def _write(self, message: Segment | Partial, source: str) -> None:
        fields: dict[str, Any] = as_dict(message)
        if source:
            fields = {"type": fields.pop("type"), "source": source, **fields}
        line = to_json(fields)
        async with self._lock:
            await self._output.write((plain_json(line) if self._is_terminal else line) + "\n")


class TerminalPrinter(Printer):
    """A line for each segment, and below them the live line."""

    def __init__(self, output: Output, *, is_labelled: bool) -> None:
        super().__init__(output, is_labelled=is_labelled)
        knows_sequences = os.environ.get("TERM") != "dumb"
        self._is_dim = knows_sequences and not os.environ.get("NO_COLOR")
        self._erase = _erase if knows_sequences else overwrite
        self._partials: dict[str, Partial] = {}
        self._next_ids: dict[str, int] = {}
        self._drawn = NOTHING
        self._is_writing = False
        self._held_notices: list[str] = []

    async def segment(self, segment: Segment, source: str = "") -> None:
        """See Printer."""
        self._next_ids[source] = segment.id + 1
        self._partials.pop(source, None)
        await self._draw(f"{self._label(source)}{plain(segment.text)}\n")

    async def partial(self, partial: Partial, source: str = "") -> None:
        """See Printer."""
        if partial.id >= self._next_ids.get(source, 0):
            self._partials[source] = partial
            await self._draw()

    async def finished(self, at_s: float, source: str = "") -> None:
        """See Printer."""
        partial = self._partials.get(source)
        if partial is not None and partial.start < at_s:
            del self._partials[source]
            await self._draw()

    def notice(self, text: str, source: str = "") -> None:
        """Say something on stderr, on a line of its own above the live one."""
        line = self._label(source) + text
        if self._is_writing:  # what is on the screen is known once that is over
            self._held_notices.append(line)
        else:
            self._tell(line)

    def close(self) -> None:
        """See Printer. The live line goes; a terminal that takes nothing just now keeps it."""
        self._partials.clear()
        if self._drawn.text and select.select([], [STDOUT], [], 0)[1]:
            _put(STDOUT, self._erase(self._drawn))
        self._drawn = NOTHING

    async def _draw(self, above: str = "") -> None:
        async with self._lock:
            drawn = self._line()
            if not above and drawn == self._drawn:
                return
            before, self._drawn = self._drawn, drawn
            self._is_writing = True
            try:
                await self._output.write(self._erase(before) + above + drawn.written)
            finally:
                self._is_writing = False
                notices, self._held_notices = self._held_notices, []
                for notice in notices:
                    self._tell(notice)

    def _line(self) -> Drawn:
        """The live line as it should be."""
        parts = [
            Part(text=partial.text, stable=partial.stable, label=self._label(source))
            for source, partial in sorted(self._partials.items())
        ]
        return draw(parts, _columns(), is_dim=self._is_dim) if parts else NOTHING

    def _tell(self, line: str) -> None:
        if not self._drawn.text or not _is_stderr_here():
            tell(line)
            return
        _put(STDERR, self._erase(self._drawn))
        tell(line)
        self._drawn = self._line()
        _put(STDERR, self._drawn.written)


def _erase(drawn: Drawn) -> str:
    return erase(drawn, _columns())


def _columns() -> int:
    """Of the terminal as it is now: whoever resizes it does not change $COLUMNS."""
    with contextlib.suppress(OSError):
        if columns := os.get_terminal_size(STDOUT).columns:
            return columns
    return shutil.get_terminal_size().columns


def _is_stderr_here() -> bool:
    """Whether stderr is the terminal that stdout is."""
    return os.isatty(STDERR) and os.fstat(STDERR).st_rdev == os.fstat(STDOUT).st_rdev


def _put(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):  # there is nobody left to see it
        os.write(descriptor, text.encode(errors="replace"))
