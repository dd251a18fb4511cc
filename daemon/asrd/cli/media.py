"""Any audio or video file as 16 kHz mono s16le, a second at a time."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asrd.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from fractions import Fraction

SAMPLE_RATE = 16000
BLOCK_BYTES = 2 * SAMPLE_RATE
LEAST_GAP_S = 0.1
"""Timestamps of containers are coarse: only more than this counts as a gap."""
MOST_GAP_S = 300.0
"""More than this is a clock that was set, not silence."""


class Media:
    """One file to be decoded. Everything here blocks and belongs into a thread.

    Where the file's clock says that audio is missing (it begins behind the picture, a packet was
    lost), silence is put, so that times in the transcript are those of the player.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.duration_s: float | None = None
        """Known, where the file tells it, once the first block has come."""
        self.broken_packets = 0
        self._samples = 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the audio. Raises CommandError (65 or 66) where there is none to be had."""
        import av

        self._check()
        try:
            # `file:` keeps a name with a colon in it from being taken for a protocol.
            container = av.open(f"file:{self.path}", metadata_errors="replace")
        except (OSError, ValueError) as error:  # FFmpegError is one of both
            raise _unreadable(self.path, error) from error
        with container:
            if not container.streams.audio:
                raise CommandError(
                    f"{self.path} has no audio", Exit.DATA, "name a file with sound in it"
                )
            if container.duration is not None:
                self.duration_s = container.duration / av.time_base
            yield from _in_blocks(self._pcm(av, container))
        if self._samples == 0:
            raise CommandError(f"no audio in {self.path} can be decoded", Exit.DATA, _CHECK)

    def _check(self) -> None:
        try:
            found = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if stat.S_ISDIR(found.st_mode):
            raise CommandError(f"{self.path} is a directory", Exit.NO_INPUT, "name the files in it")
        if stat.S_ISREG(found.st_mode) and found.st_size == 0:
            raise CommandError(f"{self.path} is empty", Exit.DATA, "name a file with sound in it")

    def _pcm(self, av: Any, container: Any) -> Iterator[bytes]:
        source = container.streams.audio[0]
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        origin_s = (container.start_time or 0) / av.time_base
        for frame in self._frames(container.demux(source), av.error.FFmpegError):
            yield from self._silence_before(frame.pts, frame.time_base, origin_s)
            yield from self._resampled(resampler, frame)
        yield from self._resampled(resampler, None)

    def _frames(self, packets: Iterator[Any], failure: type[Exception]) -> Iterator[Any]:
        """The frames that can be decoded: like every player, go on behind a broken packet."""
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
            except failure:  # the container itself is cut off: there is nothing behind it
                self.broken_packets += 1
                return
            try:
                yield from packet.decode()
            except failure:
                self.broken_packets += 1

    def _silence_before(
        self, pts: int | None, time_base: "Fraction | None", origin_s: float
    ) -> Iterator[bytes]:
        if pts is None or time_base is None:
            return
        gap_s = float(pts * time_base) - origin_s - self._samples / SAMPLE_RATE
        if LEAST_GAP_S < gap_s < MOST_GAP_S:
            missing = int(gap_s * SAMPLE_RATE)
            self._samples += missing
            yield bytes(2 * missing)

    def _resampled(self, resampler: Any, frame: Any) -> Iterator[bytes]:
        for piece in resampler.resample(frame):
            self._samples += piece.samples
            yield bytes(memoryview(piece.planes[0])[: 2 * piece.samples])


_CHECK = "check that it plays"


def _unreadable(path: Path, error: Exception) -> CommandError:
    reason = getattr(error, "strerror", None) or str(error)
    match error:
        case FileNotFoundError():
            return CommandError(f"there is no file {path}", Exit.NO_INPUT, "check its name")
        case PermissionError():
            return CommandError(f"{path} may not be read", Exit.NO_INPUT, "check its permissions")
        case OSError():
            return CommandError(f"{path} cannot be read ({reason})", Exit.NO_INPUT, _CHECK)
        case _:
            return CommandError(f"{path} is no audio or video file", Exit.DATA, _CHECK)


def _in_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of a second, so that each is worth a hop between threads."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
