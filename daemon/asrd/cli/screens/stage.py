"""The terminal as a stage: its other screen, keys without Enter, and all of it given back.

Whatever ends the command (a key, a signal, an error) leaves the terminal as it was found.
"""

import asyncio
import contextlib
import locale
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from asrd.cli.exits import Exit
from asrd.cli.progress import whole_screen
from asrd.cli.screens.frame import frame, lost_frame
from asrd.cli.screens.glyphs import Glyphs, cropped, glyphs_for
from asrd.cli.screens.looks import Look, Lost
from asrd.cli.screens.streams import ORDERS, next_order
from asrd.cli.signals import DEADLY

QUIT_KEYS = b"qQ"
SORT_KEYS = b"sS"


@dataclass(frozen=True, slots=True)
class Ending:
    """How the show ended: with an exit code, or by a signal that ends the process."""

    code: int
    signal: int | None = None


def can_be_taken() -> bool:
    """Whether standard output is a terminal that knows how to move its cursor."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return is_terminal and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def glyphs_here() -> Glyphs:
    """What bars are drawn with on standard output.

    The locale is asked as well: Python writes UTF-8 where that is C, and the terminal may not.
    """
    return glyphs_for((getattr(sys.stdout, "encoding", None), locale.getencoding()))


class Stage:
    """Shows frames from entering it to leaving it. To be used inside the loop.

    `ended` comes true when the user, a signal or `end` ends the show.
    """

    def __init__(self, first: Look | Lost) -> None:
        self._console = Console(highlight=False)
        self._glyphs = glyphs_here()
        self._live: Live | None = None
        self._order = next(iter(ORDERS))
        self._has_keys = sys.stdin is not None and sys.stdin.isatty()
        self._look: Look | None = None
        self._problem = ""
        self._first = first
        self._taken = contextlib.ExitStack()
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> Self:
        self._take()
        try:
            self.show(self._first)
        except BaseException:
            self._taken.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taken.close()

    def show(self, look: Look | Lost) -> None:
        """Show a look, or that there is none to be had."""
        if isinstance(look, Look):
            self._look, self._problem = look, ""
        else:
            self._problem = look.problem
        self._draw()

    def end(self, code: int, number: int | None = None) -> None:
        """Enough was shown."""
        if not self.ended.done():
            self.ended.set_result(Ending(int(code), number))

    def fail(self, error: Exception) -> None:
        """Nothing can be shown any more."""
        if not self.ended.done():
            self.ended.set_exception(error)

    # ── taking and giving back ────────────────────────────────────────────────────────────────

    def _take(self) -> None:
        with contextlib.ExitStack() as taking:
            taking.enter_context(whole_screen())
            self._take_signals(taking)
            if self._has_keys:
                self._take_keys(taking)
            self._take_screen(taking)
            self._taken = taking.pop_all()

    def _take_signals(self, taking: contextlib.ExitStack) -> None:
        loop = asyncio.get_running_loop()
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGINT: lambda: self.end(Exit.INTERRUPTED),
            signal.SIGWINCH: self._draw,
            signal.SIGTSTP: self._suspend,
        }
        for deadly in DEADLY:
            handlers[deadly] = partial(self.end, 128 + deadly, deadly)
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
            taking.callback(loop.remove_signal_handler, number)

    def _take_keys(self, taking: contextlib.ExitStack) -> None:
        taking.callback(termios.tcsetattr, 0, termios.TCSADRAIN, termios.tcgetattr(0))
        tty.setcbreak(0, termios.TCSADRAIN)
        loop = asyncio.get_running_loop()
        loop.add_reader(0, self._read_keys)
        taking.callback(loop.remove_reader, 0)

    def _take_screen(self, taking: contextlib.ExitStack) -> None:
        live = Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        taking.callback(live.stop)
        live.start()
        self._live = live

    def _suspend(self) -> None:
        """Ctrl-Z: the shell has its terminal until it lets us go on."""
        self._taken.close()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._draw()

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _read_keys(self) -> None:
        keys = os.read(0, 64)
        if not keys:  # the terminal has gone, and says so with a signal too
            asyncio.get_running_loop().remove_reader(0)
        elif any(key in QUIT_KEYS for key in keys):
            self.end(Exit.OK)
        elif any(key in SORT_KEYS for key in keys):
            self._order = next_order(self._order)
            self._draw()

    def _draw(self) -> None:
        if self._live is None:
            return
        width, height = self._console.size
        foot = f"q quits   s sorts: {self._order}" if self._has_keys else "Ctrl-C quits"
        lines = [Text()] * (height - 1) + [cropped(Text(foot), width, self._glyphs)]
        if self._look is not None:
            lines = frame(
                self._look,
                width=width,
                height=height,
                glyphs=self._glyphs,
                order=self._order,
                foot=foot,
            )
        if self._problem:
            lines = lost_frame(lines, self._problem, width=width, glyphs=self._glyphs)
        screen = Text("\n", no_wrap=True, overflow="crop").join(lines)
        self._live.update(screen, refresh=True)
