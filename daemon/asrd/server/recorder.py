"""Recording: what each connection receives goes to a file of its own, beside its serving.

The loop hands bytes to one writing thread and never waits for a disk. Whatever goes wrong with a
recording (no room, a slow disk, a directory that is gone) ends that recording with one line in
the log, and its connection goes on as if nothing had been.
"""

import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from asrd.clock import Clock
from asrd.config import Config, Recording
from asrd.errors import StartupError
from asrd.exit_codes import Exit
from asrd.server.peer import Peer, PeerChannel
from asrd.session.session import Session
from asrd.wire.codec import MAX_FRAME_BYTES
from asrd.wire.recording import SessionName, Tape

log = structlog.get_logger()

GATHER_S = 0.1
"""The thread writes this often: one write for all the frames of a file that came meanwhile. It is
also what a daemon that is killed may take along."""

STOP_TIMEOUT_S = 0.4
"""How long a disk that does not answer may hold up the daemon's end. The last words and this are
together less than what the end may take."""


class Recorder:
    """Owns the directory, the writing thread and the bytes that wait for it.

    `started_at_s` is now in seconds since 1970: `at` of every frame counts on from it by `clock`,
    so that the files of one daemon agree whatever happens to the wall clock.

    Raises:
        StartupError: the directory cannot be made, or not be written to.
    """

    def __init__(
        self,
        directory: Path,
        rule: Recording,
        clock: Clock,
        *,
        started_at_s: float,
    ) -> None:
        self._directory = directory
        self._rule = rule
        self._clock = clock
        self._epoch_s = started_at_s - clock.now_s()
        began = datetime.fromtimestamp(started_at_s, UTC)
        self.run = f"{began:%Y%m%dT%H%M%S}{began.microsecond // 1000:03}Z-{os.getpid()}"
        """Sets the files and the sessions of this daemon apart from those of any other."""
        self.missed_bytes = 0
        """What recordings would hold, had they not been given up early. In a file's bytes."""
        self._numbers = count(1)
        self._open: set[ConnectionRecording] = set()
        self._lock = threading.Lock()
        self._queue: list[tuple[_File, bytes | None]] = []
        self._queued_bytes = 0
        self._has_work = threading.Event()
        self._is_stopping = threading.Event()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(directory, error.strerror) from error
        if not os.access(directory, os.W_OK | os.X_OK):
            raise _unusable(directory, "it cannot be written to")
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()
        log.warning("audio_is_recorded", directory=str(directory), run=self.run)

    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._epoch_s + self._clock.now_s()

    def begin(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> "ConnectionRecording":
        """The recording of another connection. Its file is made when there is a frame for it.

        `max_frame_bytes` is what that connection was promised.
        """
        recording = ConnectionRecording(self, next(self._numbers), Tape(max_frame_bytes))
        self._open.add(recording)
        return recording

    def end(self) -> None:
        """End every recording; the thread ends when all is written. In the loop, as all that
        recordings do."""
        for recording in list(self._open):
            recording.end()
        self._is_stopping.set()
        self._has_work.set()

    def join(self) -> None:
        """Behind `end`: wait until all is written. Blocks, but not for long."""
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("recordings_unfinished", problem="the disk does not answer")

    # ── for the recordings ────────────────────────────────────────────────────────────────────

    def file(self, number: int, session: SessionName | None) -> "_File":
        """A file for connection `number`, which is made by the thread."""
        of = session.label if session is not None else f"{self.run}-none"
        return _File(self._directory / f"{of}-{number}.frames", self._rule.max_file_bytes)

    def put(self, file: "_File", data: bytes | None) -> bool:
        """Queue bytes for a file, or its end. Returns whether there was room."""
        with self._lock:
            size = len(data) if data is not None else 0
            if size and self._queued_bytes + size > self._rule.max_queued_bytes:
                return False
            self._queued_bytes += size
            self._queue.append((file, data))
        self._has_work.set()
        return True

    def miss(self, size: int) -> None:
        """So many bytes of a recording are in no file."""
        with self._lock:
            self.missed_bytes += size

    def ended(self, recording: "ConnectionRecording") -> None:
        """Nothing more comes of it."""
        self._open.discard(recording)

    # ── in the writing thread ─────────────────────────────────────────────────────────────────

    def _write(self) -> None:
        while True:
            self._has_work.wait()
            self._is_stopping.wait(GATHER_S)
            self._has_work.clear()
            is_last = self._is_stopping.is_set()
            with self._lock:
                queue, self._queue = self._queue, []
            gathered: dict[_File, list[bytes | None]] = {}
            for file, data in queue:
                gathered.setdefault(file, []).append(data)
            for file, parts in gathered.items():
                data = b"".join(part for part in parts if part is not None)
                missed = file.write(data)
                if None in parts:
                    file.close()
                with self._lock:
                    self._queued_bytes -= len(data)
                    self.missed_bytes += missed
            if is_last:
                return


class ConnectionRecording:
    """One connection's recording, as the loop sees it."""

    def __init__(self, recorder: Recorder, number: int, tape: Tape) -> None:
        self._recorder = recorder
        self._number = number
        self._tape = tape
        self._file: _File | None = None
        self._is_over = False

    def received(self, data: memoryview, at_s: float, session: Session | None) -> None:
        """The connection has received `data` and worked it off. Never raises.

        A recording that was given up goes on making frames, to count what it misses.
        """
        name = None
        if session is not None:
            label = f"{self._recorder.run}-{session.session_id}"
            name = SessionName(label=label, token=session.token)
        try:
            frames = self._tape.received(data, at_s, name)
        except Exception:  # a bug: it costs the recording, not the connection
            if not self._is_over:
                log.exception("recording_failed", session=name.label if name else None)
                self._give_up("asrd failed on it")
            self._recorder.miss(len(data))  # as it came: nobody knows what it would have become
            return
        if self._is_over:
            self._recorder.miss(sum(map(len, frames)))
            return
        if frames and self._file is None:
            self._file = self._recorder.file(self._number, name)
            log.info(
                "recording_began",
                session=session.session_id if session is not None else None,
                file=str(self._file.path),
            )
        self._keep(frames)
        if self._tape.is_broken:
            self._give_up("what came is no frame, and nothing behind it can be one")

    def end(self) -> None:
        """The connection has ended, or its input has."""
        rest = self._tape.ended()
        if self._is_over:
            self._recorder.miss(len(rest))
            return
        if rest and self._file is None:
            self._file = self._recorder.file(self._number, None)
        self._keep([rest] if rest else [])
        self._close()

    def _keep(self, frames: Sequence[bytes]) -> None:
        file = self._file
        if file is None or not frames:
            return
        if file.has_failed:  # the thread has said why
            self._recorder.miss(sum(map(len, frames)))
            self._close()
            return
        whole = file.fitting(frames)
        if not self._recorder.put(file, b"".join(whole)):
            whole = []
            self._give_up("the disk does not keep up")
        elif len(whole) < len(frames):
            self._give_up("the file is as long as recording.max_file_bytes allows")
        self._recorder.miss(sum(map(len, frames[len(whole) :])))

    def _give_up(self, problem: str) -> None:
        if not self._is_over:
            path = str(self._file.path) if self._file is not None else None
            log.warning("recording_ended", file=path, problem=problem)
            self._close()

    def _close(self) -> None:
        self._is_over = True
        self._recorder.ended(self)
        if self._file is not None:
            self._recorder.put(self._file, None)


class RecordedPeer(Peer):
    """A peer whose connection is recorded. A daemon that records nothing makes plain ones."""

    def __init__(self, channel: PeerChannel, *, recorder: Recorder, **parts: Any) -> None:
        super().__init__(channel, **parts)
        self._recorder = recorder
        self._recording = recorder.begin(self._limits.max_frame_bytes)

    def received(self, data: memoryview) -> bool:
        """See Peer. Recorded afterwards, when it is known whose session this is."""
        at_s = self._recorder.now_s()
        is_read = not self._is_closing
        try:
            return super().received(data)
        finally:
            if is_read:
                self._recording.received(data, at_s, self.greeted_session)

    def input_ended(self) -> bool:
        """See Peer."""
        self._recording.end()
        return super().input_ended()

    def lost(self) -> None:
        """See Peer."""
        self._recording.end()
        super().lost()


class _File:
    """One file. The thread's alone, but for `fitting`, which is the loop's."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.has_failed = False
        self._room_bytes = max_bytes
        self._descriptor: int | None = None

    def fitting(self, frames: Sequence[bytes]) -> list[bytes]:
        """As many of the frames as there is room for; they count as written."""
        whole: list[bytes] = []
        for frame in frames:
            if len(frame) > self._room_bytes:
                break
            self._room_bytes -= len(frame)
            whole.append(frame)
        return whole

    def write(self, data: bytes) -> int:
        """All of `data`, or nothing any more: the first error is told and is the end. Returns how
        many bytes were not written."""
        if self.has_failed or not data:
            return len(data)
        view = memoryview(data)
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o600)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self.has_failed = True
            problem = error.strerror or str(error)
            log.warning("recording_ended", file=str(self.path), problem=problem)
            self.close()
        return len(view)

    def close(self) -> None:
        """Nothing more comes. What could not be written so late is told."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.close(descriptor)
        except OSError as error:
            log.warning("recording_ended", file=str(self.path), problem=error.strerror)


def recorder_of(config: Config, clock: Clock) -> Recorder | None:
    """The recorder that the configuration asks for. Raises StartupError."""
    rule = config.recording
    if rule.directory is None:
        return None
    return Recorder(Path(rule.directory), rule, clock, started_at_s=time.time())


def _unusable(directory: Path, problem: str | None) -> StartupError:
    text = f"cannot record to {directory}: {problem}: name another directory with --record"
    return StartupError(text, Exit.CANNOT_CREATE)
