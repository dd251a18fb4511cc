"""Logs: structured lines on stderr, for people on a terminal and as JSON elsewhere, or in journald.

A log must never hold up what it tells of. Lines go to a bounded queue that one thread writes out:
a full disk, a pipe that nobody reads, a terminal or a journald that stands still costs lines and
nothing more.
"""

import atexit
import io
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import structlog

from asrd.choices import LogFormat
from asrd.controls import without_controls
from asrd.server.journal import SOCKET_PATH, Event, Journal, is_journal
from asrd.server.log_rules import RateLimit
from asrd.server.log_writer import LogWriter

log = structlog.get_logger()

LEVELS = ("debug", "info", "warning", "error")

LAST_LINES_S = 0.5
"""At exit: how long what waits may take to be written."""

STDERR = 2

_JSON = structlog.processors.JSONRenderer()
# The plain form: one with the values of variables would tell what is said to nobody.
_CONSOLE = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


@dataclass(slots=True)
class _Output:
    """How this process logs. `form` is never `auto`."""

    form: LogFormat
    limit: RateLimit
    journal: Journal | None = None


_output = _Output(LogFormat.JSON, RateLimit(time.monotonic))


class _ToJournal:
    """What structlog hands lines to that go to journald."""

    def __init__(self, journal: Journal) -> None:
        self.msg = journal.send

    def __getattr__(self, method: str) -> Any:
        return self.msg  # of whatever level: the line says so itself


def configure(
    level: str, form: LogFormat = LogFormat.AUTO, journal_path: Path = SOCKET_PATH
) -> None:
    """Set up logging for a process that is nothing but a daemon. `level` is one of `LEVELS`.

    A writer that never waits takes the place of `sys.stderr`, for whoever else writes there.
    """
    _output.form = _chosen(form)
    writer = LogWriter(STDERR, _lost_line)
    atexit.register(flush)
    sys.stderr = io.TextIOWrapper(
        cast(BinaryIO, writer), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    if _output.form is LogFormat.JOURNAL:
        _output.journal = Journal(journal_path, _write_instead)
    set_level(level)


def set_level(level: str) -> None:
    """Log from that level on. At `debug`, nothing is left out, however often it is said."""
    journal = _output.journal
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if level == "debug" else [_output.limit]),
            *([] if journal is not None else [_stamp()]),  # journald stamps by itself
            structlog.processors.format_exc_info,
            _render if journal is None else _as_it_is,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=(
            (lambda *_: structlog.WriteLogger(sys.stderr))
            if journal is None
            else (lambda *_: _ToJournal(journal))
        ),
        cache_logger_on_first_use=False,  # another level has to reach those who have a logger
    )


def look(*, at_once: bool = False) -> None:
    """Tell of lines that were left out or lost. To be called every half second or so."""
    told = _output.limit.take_left_out(at_once=at_once)
    if told is not None:
        lines = sum(told.events.values())
        if told.has_errors:
            log.error("log_lines_suppressed", lines=lines, events=told.events)
        else:
            log.warning("log_lines_suppressed", lines=lines, events=told.events)


def keep_ends() -> None:
    """The daemon ends: no `stream_ended` is left out any more."""
    _output.limit.end()


def flush() -> None:
    """Give what waits to be written its last chance: half a second, and never more."""
    look(at_once=True)
    until_s = time.monotonic() + LAST_LINES_S
    # journald's first: what it does not take goes to stderr.
    for output in (_output.journal, getattr(sys.stderr, "buffer", None)):
        if isinstance(output, LogWriter | Journal):
            output.drain(max(0.0, until_s - time.monotonic()))


def suppressed_lines() -> int:
    """How many lines were left out since the start, because the same was said too often."""
    return _output.limit.suppressed_lines


def lost_lines() -> int:
    """How many lines found no room since the start."""
    outputs = (getattr(sys.stderr, "buffer", None), _output.journal)
    return sum(each.lost_lines for each in outputs if isinstance(each, LogWriter | Journal))


def is_for_people() -> bool:
    """Whether lines are written for people, and not for a program that reads them."""
    return _output.form is LogFormat.CONSOLE


def _chosen(form: LogFormat) -> LogFormat:
    if form is not LogFormat.AUTO:
        return form
    if is_journal(STDERR, os.environ.get("JOURNAL_STREAM", "")):
        return LogFormat.JOURNAL
    # Asked of `sys.stderr`, which is None where descriptor 2 was closed.
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return LogFormat.CONSOLE if is_terminal else LogFormat.JSON


def _as_it_is(
    logger: object, method: str, event: structlog.types.EventDict
) -> tuple[tuple[structlog.types.EventDict], dict[str, object]]:
    """The end of the chain for lines that are sent as they are."""
    return (event,), {}


def _render(logger: object, method: str, event: structlog.types.EventDict) -> str | bytes:
    """The end of the chain for lines of text."""
    if _output.form is LogFormat.CONSOLE:
        return _CONSOLE(logger, method, {key: _shown(key, event[key]) for key in event})
    return _JSON(logger, method, event)


def _shown(key: str, value: object) -> object:
    """A value as a terminal may be given it. Where there is a blank in it, or what is no text at
    all, the renderer escapes the rest as Python does."""
    if not isinstance(value, str):
        return value
    layout = {"event": "", "exception": "\n\t"}.get(key, "\n\t\r")
    return without_controls(value, "\N{REPLACEMENT CHARACTER}", layout)


def _stamp() -> structlog.types.Processor:
    return structlog.processors.TimeStamper(fmt="iso", utc=True)


def _line(event: Event) -> str:
    stamped = _stamp()(None, "", dict(event))
    return f"{_render(None, '', cast(structlog.types.EventDict, stamped))!s}\n"


def _lost_line(count: int) -> bytes:
    """The line that tells of lost ones, made as every other."""
    return _line({"lines": count, "event": "log_lines_lost", "level": "warning"}).encode()


def _write_instead(event: Event) -> None:
    """A line for journald, while there is none."""
    sys.stderr.write(_line(event))
