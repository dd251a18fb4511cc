"""Where the transcripts of `asrd transcribe` go: one place for all files, or a file for each."""

import contextlib
from pathlib import Path

from asrd.cli.exits import CommandError, Exit
from asrd.cli.options import Format
from asrd.cli.output import Output
from asrd.cli.progress import Progress
from asrd.cli.transcripts import WRITERS, JsonWriter, Writer, to_json
from asrd.wire.messages import Segment

SUFFIXES = {
    Format.TEXT: ".txt",
    Format.JSON: ".json",
    Format.JSONL: ".jsonl",
    Format.SRT: ".srt",
    Format.VTT: ".vtt",
}


class Results:
    """Writes the transcripts of several files, in order, as they come.

    An output file is opened (and emptied) only when there is something to write into it, so that
    a mistyped input destroys nothing.
    """

    def __init__(
        self, files: list[Path], format_: Format, target: Path | None, progress: Progress
    ) -> None:
        self._format = format_
        self._file = Path()
        self._writer: Writer = WRITERS[format_]()
        self._target = target
        self._progress = progress
        self._is_list = format_ is Format.JSON and len(files) > 1 and not self._is_directory
        self._listed: list[object] = []
        self._open: Output | None = None
        self._stack = contextlib.ExitStack()
        self._check(files)

    @property
    def _is_directory(self) -> bool:
        return self._target is not None and self._target.is_dir()

    def _check(self, files: list[Path]) -> None:
        if self._target is None:
            targets = []
        elif self._is_directory:
            targets = [self._beside(file) for file in files]
        else:
            targets = [self._target]
        for target in targets:
            if target.exists() and any(file.exists() and target.samefile(file) for file in files):
                raise CommandError(
                    f"the output would overwrite {target}", Exit.USAGE, "choose another --output"
                )
        if len(set(targets)) != len(targets):
            raise CommandError(
                "two of the files would be written to one name",
                Exit.USAGE,
                "transcribe them one at a time",
            )
        if len(files) > 1 and self._format in (Format.SRT, Format.VTT) and not self._is_directory:
            raise CommandError(
                "several files do not make one subtitle file",
                Exit.USAGE,
                "name an existing directory with --output, or one file at a time",
            )

    async def begin(self, file: Path) -> None:
        """Start the transcript of another file, which has audio."""
        self._file = file
        self._writer = WRITERS[self._format]()
        await self._put(self._writer.begin(str(file)))

    async def segment(self, segment: Segment) -> None:
        """Write a final segment, where the format can by now. Raises CommandError."""
        await self._put(self._writer.segment(segment))

    async def end(self, duration_s: float) -> None:
        """The transcript is whole. Raises CommandError."""
        if self._is_list and isinstance(self._writer, JsonWriter):
            self._listed.append(self._writer.document(duration_s))
        else:
            await self._put(self._writer.end(duration_s))
        self._end_file()

    def fail(self, file: Path, problem: str) -> None:
        """There is no transcript of `file`, or not all of it."""
        if self._is_list:
            self._listed.append({"file": str(file), "error": problem})
        self._end_file()

    async def close(self) -> None:
        """Write what waited for the last file, and close. Raises CommandError."""
        if self._is_list:
            lines = ",\n".join(to_json(item) for item in self._listed)
            await self._put(f"[\n{lines}\n]\n")
        self._release()

    async def _put(self, text: str) -> None:
        if not text:
            return
        if self._target is None and self._progress.owns_screen:
            self._progress.line(text.removesuffix("\n"))
            return
        if self._open is None:
            self._open = self._stack.enter_context(self._opened())
        await self._open.write(text)

    def _end_file(self) -> None:
        if self._is_directory:
            self._release()

    def _release(self) -> None:
        self._stack.close()
        self._open = None

    def _opened(self) -> Output:
        if self._target is None:
            return Output.standard()
        return Output.to_file(self._beside(self._file) if self._is_directory else self._target)

    def _beside(self, file: Path) -> Path:
        assert self._target is not None  # noqa: S101 - asked only where it is a directory
        return self._target / (file.stem + SUFFIXES[self._format])
