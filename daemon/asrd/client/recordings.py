"""Recordings on disk: what one holds, which belong together, and its frames one after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asrd.client.errors import ClientError
from asrd.wire.recording import FORGOTTEN, FrameCutter, RecordedFrame, read_frames

READ_BYTES = 2**18

MAX_SILENCE_S = 86_400.0
"""Between two frames of one connection, which is closed when it is idle for far less. A file with
a longer one would be waited for, and is none that a daemon wrote."""


class NotARecording(ClientError):
    """The file holds nothing that can be played."""


class MissingRecording(ClientError):
    """A recording goes on with a session whose beginning is not among those given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What one file holds. Times are seconds since 1970, None where none is noted.

    `session` labels the session that the connection ended up with, and `resumes` says whether the
    connection had come back to it; `rest_bytes` is what follows the last whole frame.
    """

    path: Path
    session: str
    resumes: bool
    first_at_s: float | None
    last_at_s: float | None
    streams: int
    rest_bytes: int

    @property
    def duration_s(self) -> float:
        """From the first frame to the last."""
        if self.first_at_s is None or self.last_at_s is None:
            return 0.0
        return self.last_at_s - self.first_at_s


def survey(path: Path) -> Recording:
    """Look through a whole file.

    Raises:
        OSError: it cannot be read.
        NotARecording: there is no sound frame in it, or its times cannot be.
    """
    reader = RecordingReader(path)
    hello: dict[str, Any] = {}
    times: list[float] = []
    streams = sound = 0
    for frame in reader:
        if frame.fields is None:
            continue
        sound += 1
        if frame.at_s is not None:
            if times and frame.at_s - times[-1] > MAX_SILENCE_S:
                raise NotARecording(f"{path} is no recording: a frame in it comes days late")
            times = [*times[:1], frame.at_s]
        if frame.fields.get("type") == "hello" and not hello:
            hello = frame.fields
        streams += frame.fields.get("type") == "open"
    if not sound:
        raise NotARecording(f"{path} is no recording: there is no frame in it")
    label = hello.get("session")
    resume = hello.get("resume")
    return Recording(
        path=path,
        session=label if isinstance(label, str) else str(path),
        resumes=isinstance(resume, str) and resume != FORGOTTEN and resume == label,
        first_at_s=times[0] if times else None,
        last_at_s=times[-1] if times else None,
        streams=streams,
        rest_bytes=len(reader.rest),
    )


def by_session(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """The recordings of each session, in the order of their times; sessions in that of their first.

    Raises:
        MissingRecording: one resumes a session whose earlier recording is not there.
    """
    sessions: dict[str, list[Recording]] = {}
    for recording in sorted(recordings, key=lambda each: each.first_at_s or 0.0):
        sessions.setdefault(recording.session, []).append(recording)
    for first, *others in sessions.values():
        if first.resumes:
            raise MissingRecording(
                f"{first.path} goes on with session {first.session}, which began in another file"
            )
        for other in others:
            if not other.resumes:
                raise NotARecording(f"{other.path} and {first.path} both begin {first.session}")
    return list(sessions.values())


class RecordingReader:
    """Yields the frames of a file, which may be long and may still be written.

    `rest` holds what is left at its end: the pieces of a frame that was cut, or noise.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cutter = FrameCutter()

    @property
    def rest(self) -> bytes:
        """What follows the last whole frame. Only so much of it is kept as could be one frame."""
        return bytes(self._cutter.rest)

    def __iter__(self) -> Iterator[RecordedFrame]:
        with self._path.open("rb") as file:
            while not self._cutter.is_broken and (data := file.read(READ_BYTES)):
                yield from read_frames(self._cutter, data)
