"""The work of `asrd replay`: which files, which daemon, and what is printed in which order.

Segments are printed without what depends on the moment (`latency_ms`, and `offset`, the commit),
and in an order that does not: stream after stream, in the order in which they were opened. So two
replays of a recording can be compared byte for byte.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from asrd.cli import progress
from asrd.cli.exits import CommandError, Exit, is_debugging, judge, tell
from asrd.cli.output import Output
from asrd.cli.plain import one_line
from asrd.cli.reach import QUICKLY_S, Wanted, arguments_of
from asrd.cli.transcripts import to_json
from asrd.client import Refused
from asrd.client.own_socket import own_socket
from asrd.client.player import Manner, play
from asrd.client.raw import answers
from asrd.client.recordings import (
    MissingRecording,
    NotARecording,
    Recording,
    by_session,
    survey,
)
from asrd.errors import ErrorCode
from asrd.paths import default_socket_path
from asrd.wire.messages import Closed, Error, Segment, ServerMessage, Welcome

OF_THE_RECORDING = frozenset(
    {
        ErrorCode.HELLO_EXPECTED,
        ErrorCode.FRAME_TOO_LARGE,
        ErrorCode.INVALID_FRAME,
        ErrorCode.INVALID_MESSAGE,
        ErrorCode.UNKNOWN_TYPE,
        ErrorCode.UNKNOWN_STREAM,
        ErrorCode.STREAM_EXISTS,
        ErrorCode.CHUNK_TOO_LARGE,
    }
)
"""What the recorded client earned. A replay that earns it again has not failed."""

ANOTHER_FILE = "name a file of `asrd serve --record`"

TIMING_KEYS = ("latency_ms", "offset")


async def replay_files(
    files: Sequence[Path], manner: Manner, wanted: Wanted, *, is_json: bool, is_all: bool
) -> int:
    """Play the recordings and print what comes of them; returns the exit code. Raises AsrdError."""
    with progress.shown(is_stdout_used=True) as bar:
        bar.begin(files[0].name if len(files) == 1 else f"{len(files)} recordings")
        recordings = [_surveyed(file) for file in dict.fromkeys(files)]
        sessions = _sessions(recordings)
        _check_speed(sessions, manner.speed)
        printer = Printer(sessions, bar, is_json=is_json, is_all=is_all)
        async with contextlib.AsyncExitStack() as stack:
            path = await _reached(wanted, stack)
            writing = asyncio.create_task(printer.write())
            playing = asyncio.create_task(play(sessions, path, manner, printer))
            try:
                await asyncio.wait((writing, playing), return_when=asyncio.FIRST_COMPLETED)
                if playing.done():
                    printer.close()
                    await writing
                else:  # nobody takes what is printed
                    playing.cancel()
                await asyncio.gather(writing, playing)
            finally:
                for task in (writing, playing):
                    task.cancel()
                await asyncio.wait((writing, playing))
    for recording in recordings:
        if recording.rest_bytes:
            tell(f"{recording.path} ends in {recording.rest_bytes} bytes that are no whole frame")
    return printer.code


class Printer:
    """Puts what comes back into words and in order. See `asrd.client.player.Listener`."""

    def __init__(
        self,
        sessions: Sequence[Sequence[Recording]],
        bar: progress.Progress,
        *,
        is_json: bool,
        is_all: bool,
    ) -> None:
        self.code = int(Exit.OK)
        self._labels = [first.session for first, *_ in sessions]
        self._has_many = sum(each.streams for files in sessions for each in files) > 1
        self._duration_s = _duration_s(sessions)
        self._bar = bar
        self._is_json = is_json
        self._is_all = is_all
        self._in_order = InOrder()
        self._told: set[tuple[int, int | None, str]] = set()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()

    # ── what the player tells ─────────────────────────────────────────────────────────────────

    def told(self, session: int, stream: int | None, message: ServerMessage) -> None:
        """See Listener."""
        if self._is_all:
            self._put([self._everything(session, message)])
        match message:
            case Segment() if stream is not None and not self._is_all:
                self._put(self._in_order.add(session, stream, self._line(session, message)))
            case Closed() if stream is not None:
                self._put(self._in_order.end_stream(session, stream))
            case Error():
                self._error(session, stream, message)
            case _:
                pass

    def ended(self, session: int) -> None:
        """See Listener."""
        self._put(self._in_order.end_session(session))

    def played(self, position_s: float) -> None:
        """See Listener."""
        self._bar.advance(position_s, self._duration_s or None)

    # ── out ───────────────────────────────────────────────────────────────────────────────────

    async def write(self) -> None:
        """Print lines until `close`. Raises CommandError."""
        output = None
        while (line := await self._lines.get()) is not None:
            if self._bar.owns_screen:
                self._bar.line(line)
                continue
            output = output or Output.standard()
            await output.write(line + "\n")

    def close(self) -> None:
        """Nothing more comes."""
        self._put(self._in_order.rest())
        self._lines.put_nowait(None)

    def _put(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._lines.put_nowait(line)

    def _line(self, session: int, segment: Segment) -> str:
        label = self._labels[session]
        if not self._is_json:
            name = f"{label}/{segment.stream}: " if self._has_many else ""
            return f"{name}{one_line(segment.text)}"
        fields: dict[str, Any] = msgspec.to_builtins(segment)
        for key in TIMING_KEYS:
            del fields[key]
        shown = {key: value for key, value in fields.items() if value is not None}
        return to_json({"type": shown.pop("type"), "session": label, **shown})

    def _everything(self, session: int, message: ServerMessage) -> str:
        fields: dict[str, Any] = msgspec.to_builtins(message, str_keys=True)
        if isinstance(message, Welcome):
            del fields["resume"]  # a secret, and of no use to anybody
            fields["session"] = self._labels[session]
        return to_json({"type": fields.pop("type"), "session": self._labels[session], **fields})

    def _error(self, session: int, stream: int | None, error: Error) -> None:
        """Tell each kind of error once a stream: a broken client earns it with every frame."""
        kind = (session, stream, error.code)
        if kind in self._told:
            return
        self._told.add(kind)
        code, line = judge(Refused.of(error))
        number = f"/{error.stream}" if isinstance(error.stream, int) else ""
        tell(f"{self._labels[session]}{number}: {error.message}" if self._is_own(error) else line)
        if not self._is_own(error):
            self.code = self.code or int(code)

    def _is_own(self, error: Error) -> bool:
        return error.code in OF_THE_RECORDING


class InOrder:
    """Lines of many streams that come as they like, in one order: stream after stream.

    The first stream that goes on is passed through; what comes of later ones waits. Each method
    returns the lines whose turn it is.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
        self._ended_streams: set[tuple[int, int]] = set()
        self._ended_sessions: set[int] = set()
        self._turn = (0, 0)

    def add(self, session: int, stream: int, line: str) -> list[str]:
        """A line of a stream."""
        self._waiting[session, stream].append(line)
        return self._due()

    def end_stream(self, session: int, stream: int) -> list[str]:
        """That stream says no more."""
        self._ended_streams.add((session, stream))
        return self._due()

    def end_session(self, session: int) -> list[str]:
        """No stream of that session says more."""
        self._ended_sessions.add(session)
        return self._due()

    def rest(self) -> list[str]:
        """All that still waits, in order."""
        lines = [line for _, lines in sorted(self._waiting.items()) for line in lines]
        self._waiting.clear()
        return lines

    def _due(self) -> list[str]:
        due: list[str] = []
        while True:
            due += self._waiting.pop(self._turn, [])
            session, stream = self._turn
            if self._turn in self._ended_streams:
                self._turn = (session, stream + 1)
            elif session in self._ended_sessions:
                later = [key for key in self._waiting if key[0] == session]
                self._turn = min(later, default=(session + 1, 0))
            else:
                return due


def _surveyed(file: Path) -> Recording:
    try:
        return survey(file)
    except OSError as error:
        problem = f"cannot read {file}: {error.strerror}"
        raise CommandError(problem, Exit.NO_INPUT, ANOTHER_FILE) from error
    except NotARecording as error:
        raise CommandError(str(error), Exit.DATA, ANOTHER_FILE) from error


def _sessions(recordings: Sequence[Recording]) -> list[list[Recording]]:
    try:
        return by_session(recordings)
    except MissingRecording as error:
        raise CommandError(str(error), Exit.NO_INPUT, "name that file too") from error
    except NotARecording as error:
        raise CommandError(str(error), Exit.DATA, "play one of them") from error


def _check_speed(sessions: Sequence[Sequence[Recording]], speed: float | None) -> None:
    """Raise where a session would wait for its next connection longer than daemons keep it."""
    if speed is not None and speed < 1 and any(len(files) > 1 for files in sessions):
        raise CommandError(
            "a session of several connections cannot be played slower than it was recorded",
            Exit.USAGE,
            "choose a --speed of 1 or more, or play its first file alone",
        )


def _duration_s(sessions: Sequence[Sequence[Recording]]) -> float:
    every = [each for files in sessions for each in files]
    begin = min((each.first_at_s for each in every if each.first_at_s is not None), default=0.0)
    end = max((each.last_at_s for each in every if each.last_at_s is not None), default=0.0)
    return end - begin


async def _reached(wanted: Wanted, stack: contextlib.AsyncExitStack) -> Path:
    """The socket of the daemon that runs or, where none answers, of one started here."""
    path = wanted.socket or default_socket_path()
    if not wanted.settings and await answers(path, QUICKLY_S):
        return path
    if wanted.socket is not None:
        remedy = f"start one with `asrd serve --socket {path}`"
        raise CommandError(f"no daemon answers at {path}", Exit.UNAVAILABLE, remedy)
    # Lazy: which models the recording is for is known when it opens its streams.
    own = own_socket(["--loading=lazy", *arguments_of(wanted)], is_stderr_shown=is_debugging())
    return await stack.enter_async_context(own)
