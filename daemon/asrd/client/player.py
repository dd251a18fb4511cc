"""Plays recordings to a daemon: the same bytes, at their times or faster, on the same connections.

A recorded client waited for answers; a replay at another speed must not be ahead of them. So the
player waits for what the client must have waited for: `welcome` behind `hello`, the end of a
stream before its number is used again, credit. Between frames that came in one read the client
waited for nothing, and neither does the player.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from asrd.client.errors import ConnectionLost
from asrd.client.pacing import Pacing
from asrd.client.raw import RawConnection, connected, framed
from asrd.client.recordings import Recording, RecordingReader
from asrd.errors import ErrorCode
from asrd.wire.messages import Closed, Error, Opened, Segment, ServerMessage, Welcome
from asrd.wire.recording import RecordedFrame, packed

STALL_S = 10.0
"""What waits for the daemon goes when nothing at all was heard for so long: the recorded client
may have had no answer either, and the daemon makes a sender wait by itself."""

LOOK_EVERY_S = 0.5


class Listener(Protocol):
    """Who hears what comes of a replay. Sessions and their streams are numbered from 0."""

    def told(self, session: int, stream: int | None, message: ServerMessage) -> None:
        """A message came; `stream` is the place of its stream among those that the session opened.

        What a resumed session is told once more comes once.
        """
        ...

    def ended(self, session: int) -> None:
        """Nothing more comes of that session."""
        ...

    def played(self, position_s: float) -> None:
        """So many seconds of the recordings have been played."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How recordings are played. `speed` None: as fast as the daemon takes them.

    `overrides` replace what each recorded `open` asks for.
    """

    speed: float | None = 1.0
    overrides: dict[str, str] = field(default_factory=dict)


async def play(
    sessions: Sequence[Sequence[Recording]], daemon: Path, manner: Manner, listener: Listener
) -> None:
    """Play all sessions to the daemon at `daemon`, each at its time after the first.

    Raises:
        Unreachable: nobody listens there.
        ConnectionLost: the daemon ended or gave no answer.
    """
    firsts = [first.first_at_s for first, *_ in sessions if first.first_at_s is not None]
    timeline = _Timeline(min(firsts, default=0.0), manner.speed)
    try:
        async with asyncio.TaskGroup() as group:
            for place, recordings in enumerate(sessions):
                playing = _Session(place, daemon, manner, timeline, listener)
                group.create_task(playing.play(recordings))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class _Timeline:
    """When what was recorded at a time is played."""

    def __init__(self, first_at_s: float, speed: float | None) -> None:
        self._first_at_s = first_at_s
        self._speed = speed
        self._began_s = asyncio.get_running_loop().time()

    async def until(self, at_s: float) -> float:
        """Wait until it is time; returns the seconds since the beginning of the recordings."""
        position_s = max(0.0, at_s - self._first_at_s)
        if self._speed is not None:
            due_s = self._began_s + position_s / self._speed
            await asyncio.sleep(due_s - asyncio.get_running_loop().time())
        return position_s


@dataclass(slots=True)
class _Stream:
    """A stream that the recording opened, and what the daemon made of it."""

    place: int
    pacing: Pacing
    ending_at_s: float | None = None
    """When the recorded client asked for its end."""
    last_id: int | None = None
    has_erred: bool = False
    is_opened: bool = False
    is_over: bool = False

    @property
    def was_refused(self) -> bool:
        """Whether the daemon would not have it, as far as can be told."""
        return self.has_erred and not self.is_opened


class _Session:
    """One recorded session, played over one connection after the other."""

    def __init__(
        self, place: int, daemon: Path, manner: Manner, timeline: _Timeline, listener: Listener
    ) -> None:
        self._place = place
        self._daemon = daemon
        self._manner = manner
        self._timeline = timeline
        self._listener = listener
        self._streams: dict[int, _Stream] = {}
        self._opened = 0
        self._token: str | None = None
        self._limits: dict[str, int | float] = {}

    async def play(self, recordings: Sequence[Recording]) -> None:
        """Play the connections of the session in turn. Raises what `play` does."""
        for recording, successor in zip(recordings, [*recordings[1:], None], strict=True):
            await self._timeline.until(recording.first_at_s or 0.0)
            async with connected(self._daemon, self._told) as connection:
                is_sent = await self._play(recording, connection)
                if successor is not None:
                    await connection.barrier()
                    await self._timeline.until(successor.first_at_s or 0.0)
                else:
                    await connection.finish()
                # Before a successor it may have gone by itself: the recorded one was idle, too.
                is_kept = is_sent and successor is not None
                self._check_end(connection, is_due=is_kept or (is_sent and self._is_over))
        if self._token is not None and not self._is_over:
            await self._hear_the_rest()
        self._listener.ended(self._place)

    async def _play(self, recording: Recording, connection: RawConnection) -> bool:
        """Send one file. Returns whether the daemon took all of it."""
        reader = RecordingReader(recording.path)
        at_s = recording.first_at_s or 0.0
        for frame in reader:
            at_s = max(at_s, frame.at_s or 0.0)
            self._listener.played(await self._timeline.until(at_s))
            if not await self._send(frame, at_s, connection):
                return False
        if reader.rest:
            await connection.barrier()
            await connection.write(reader.rest)
        return True

    async def _hear_the_rest(self) -> None:
        """Come back to a session whose last connection was refused, and have it finished.

        How much of it was told before the refusal is chance, and would differ in each replay.
        """
        async with connected(self._daemon, self._told) as connection:
            hello = {"type": "hello", "resume": self._token, "have": self._have}
            await connection.ask(framed(packed(hello)))
            await connection.finish()
            self._check_end(connection, is_due=self._is_over)

    def _check_end(self, connection: RawConnection, *, is_due: bool) -> None:
        """Raise ConnectionLost if the daemon ended what it had no reason to end."""
        if connection.has_ended and not connection.was_refused and not is_due:
            raise ConnectionLost("the daemon ended a connection before all was played")

    @property
    def _is_over(self) -> bool:
        return all(stream.is_over or stream.was_refused for stream in self._streams.values())

    @property
    def _have(self) -> dict[int, int]:
        return {
            number: stream.last_id
            for number, stream in self._streams.items()
            if stream.last_id is not None
        }

    async def _send(self, frame: RecordedFrame, at_s: float, connection: RawConnection) -> bool:
        """Send one frame when it may be sent. Returns whether the daemon takes more."""
        fields = frame.fields
        if fields is None:
            return await connection.write(framed(frame.payload))
        number = fields.get("stream")
        stream = self._streams.get(number) if isinstance(number, int) else None
        payload = frame.payload
        match fields.get("type"):
            case "hello":
                await connection.ask(framed(self._greeting(fields, payload)))
                return not connection.has_ended
            case "open":
                await self._until_free(stream, at_s, connection)
                payload = self._opening(fields, payload)
            case "audio" if stream is not None and not stream.is_over:
                await self._until_due(stream, fields, connection)
                stream.pacing.sent(fields)
            case "close" | "cancel" if stream is not None and stream.ending_at_s is None:
                stream.ending_at_s = at_s
            case _:
                pass
        return await connection.write(framed(payload))

    # ── what is sent otherwise than recorded ──────────────────────────────────────────────────

    def _greeting(self, fields: dict[str, Any], payload: bytes) -> bytes:
        """With the token that this replay was given, and with what it has received."""
        resume = fields.get("resume")
        if resume is None or resume != fields.get("session") or self._token is None:
            return payload
        return packed({**fields, "resume": self._token, "have": self._have})

    def _opening(self, fields: dict[str, Any], payload: bytes) -> bytes:
        """With the provider that the replay is for; the stream is known from here on."""
        fields = {**fields, **self._manner.overrides}
        number = fields.get("stream")
        stream = self._streams.get(number) if isinstance(number, int) else None
        is_free = stream is None or stream.is_over or stream.was_refused
        if isinstance(number, int) and number >= 0 and is_free:  # else none is opened
            pacing = Pacing(
                fields,
                self._limits,
                is_hurried=self._manner.speed is None or self._manner.speed > 1,
                now_s=asyncio.get_running_loop().time(),
            )
            self._streams[number] = _Stream(place=self._opened, pacing=pacing)
            self._opened += 1
        return packed(fields) if self._manner.overrides else payload

    # ── what the recorded client must have waited for ─────────────────────────────────────────

    async def _until_free(
        self, stream: _Stream | None, at_s: float, connection: RawConnection
    ) -> None:
        """Before a number is used again: until the stream that had it has ended.

        One that was never opened need not have an end.
        """
        if stream is None or stream.ending_at_s is None or stream.ending_at_s == at_s:
            return
        while not stream.is_over and not connection.has_ended:
            if not stream.is_opened and _is_stalled(connection):
                return
            await connection.heard(LOOK_EVERY_S)

    async def _until_due(
        self, stream: _Stream, audio: dict[str, Any], connection: RawConnection
    ) -> None:
        loop = asyncio.get_running_loop()
        while not stream.is_over and not connection.has_ended:
            wait_s = stream.pacing.wait_s(audio, loop.time())
            if not wait_s or (math.isinf(wait_s) and _is_stalled(connection)):
                return
            await connection.heard(min(wait_s, LOOK_EVERY_S))

    # ── what comes back ───────────────────────────────────────────────────────────────────────

    def _told(self, message: ServerMessage) -> None:
        number = getattr(message, "stream", None)
        stream = self._streams.get(number) if isinstance(number, int) else None
        match message:
            case Welcome():
                if self._token is not None and not message.resumed:
                    raise ConnectionLost(
                        "the daemon no longer had the session that the next recording resumes"
                    )
                self._token = message.resume
                self._limits = dict(message.limits)
            case Error() if stream is not None:
                stream.has_erred = True
                stream.is_over = stream.is_over or message.code == ErrorCode.UNKNOWN_STREAM
            case _ if stream is not None and stream.is_over:
                return  # told once more
            case Opened() if stream is not None:
                stream.is_opened = True
            case Segment() if stream is not None:
                if stream.last_id is not None and message.id <= stream.last_id:
                    return  # told once more
                stream.last_id = message.id
            case Closed() if stream is not None:
                stream.is_over = True
            case _:
                pass
        if stream is not None:
            stream.pacing.told(message)
        place = stream.place if stream is not None else None
        self._listener.told(self._place, place, message)


def _is_stalled(connection: RawConnection) -> bool:
    return asyncio.get_running_loop().time() - connection.heard_at_s > STALL_S
