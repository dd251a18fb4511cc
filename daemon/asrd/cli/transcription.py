"""The work of `asrd transcribe`: one file after another through one daemon."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from asrd.cli import progress
from asrd.cli.exits import CommandError, Exit, judge, tell
from asrd.cli.feeder import Feeder, feeding
from asrd.cli.media import SAMPLE_RATE, Media
from asrd.cli.notices import MissingWords, tell_breaks
from asrd.cli.options import Format
from asrd.cli.reach import Wanted, reach
from asrd.cli.results import Results
from asrd.client import Client, Refused, Stream, StreamOptions
from asrd.wire.messages import Ack, Closed, Error, Event, Flushed, Partial, Segment

READ_AHEAD_BLOCKS = 4


class FileFailed(CommandError):
    """This file has no whole transcript; the next one may have."""


async def transcribe_files(
    files: list[Path],
    options: StreamOptions,
    wanted: Wanted,
    *,
    format_: Format,
    target: Path | None,
) -> int:
    """Transcribe `files` in order; returns the exit code, that of the first file that failed.

    Raises:
        AsrdError: nothing more can be done for any file.
    """
    code = int(Exit.OK)
    with progress.shown(is_stdout_used=target is None) as bar:
        results = Results(files, format_, target, bar)
        async with contextlib.AsyncExitStack() as stack:
            are_words_shown = options.get("words", False) and format_ is not Format.TEXT
            missing_words = MissingWords(tell, are_wanted=are_words_shown)
            run = _Run(options, wanted, stack, results, bar, missing_words)
            for file in files:
                try:
                    await run.transcribe(file)
                except CommandError as error:
                    if not _is_of_one_file(error):
                        raise
                    results.fail(file, str(error))
                    tell(str(error))
                    code = code or int(error.code)
            await results.close()
    return code


def _is_of_one_file(error: CommandError) -> bool:
    return isinstance(error, FileFailed) or error.code in (Exit.DATA, Exit.NO_INPUT)


class _Run:
    """The files of one command share a daemon, which is had when the first audio is there."""

    def __init__(
        self,
        options: StreamOptions,
        wanted: Wanted,
        stack: contextlib.AsyncExitStack,
        results: Results,
        bar: progress.Progress,
        missing_words: MissingWords,
    ) -> None:
        self._options = options
        self._wanted = wanted
        self._stack = stack
        self._results = results
        self._bar = bar
        self._missing_words = missing_words
        self._client: Client | None = None

    async def transcribe(self, file: Path) -> None:
        """Transcribe one file. Raises FileFailed, or CommandError for what has no audio."""
        self._bar.begin(file.name)
        media = Media(file)
        feeder = Feeder(media.blocks(), "asrd-decode", depth=READ_AHEAD_BLOCKS)
        try:
            blocks = aiter(feeder)
            first = await anext(blocks)  # a file without audio fails here, before any daemon
            if self._client is None:
                self._client = await self._stack.enter_async_context(reach(self._wanted))
                tell_breaks(self._client, tell)  # above the bar, which watches over stderr
            stream = await self._client.open_stream(**self._options)
            await self._results.begin(file)
            async with feeding(stream, _chain(first, blocks)):
                closed = await self._read(stream, media)
        finally:
            feeder.stop()
        if media.broken_packets:
            tell(f"{file}: {media.broken_packets} broken pieces were left out")
        await self._results.end(closed.audio_seconds)

    async def _read(self, stream: Stream, media: Media) -> Closed:
        """Write what the stream yields. Raises FileFailed when it ends with something missing."""
        trouble: Error | None = None
        async for event in stream:
            match event:
                case Segment():
                    self._missing_words.look_at(event)
                    await self._results.segment(event)
                case Error():
                    trouble = trouble or event
                case Closed():
                    _check(event, trouble, media.path)
                    return event
                case Partial() | Ack() | Event() | Flushed():
                    pass
            self._bar.advance(stream.committed / SAMPLE_RATE, media.duration_s)
        raise AssertionError("a stream yields `closed` before it ends")


def _check(closed: Closed, trouble: Error | None, file: Path) -> None:
    if trouble is not None:
        code, line = judge(Refused.of(trouble))
        raise FileFailed(f"{file}: {line}", Exit(code))
    if closed.reason not in ("client", "cancelled"):  # cancelled: by us, for an error on its way
        raise FileFailed(
            f"{file}: the daemon ended the stream at {closed.offset / SAMPLE_RATE:.0f} s "
            f"({closed.reason})",
            Exit.UNAVAILABLE,
            "repeat the command",
        )


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in rest:
        yield block
