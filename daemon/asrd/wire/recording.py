"""A recording: what a client sent on one connection, frame by frame, each with the time it came.

A recording is a plain sequence of frames, as it was on the wire, so that a daemon can be fed with
it as it is. The map of each sound frame bears one more pair at its end, `at`: seconds since 1970.
Messages ignore keys that they do not have, so it changes nothing. What is no sound frame stands in
the file as it came: a broken frame, what followed a bad length, a frame that was cut.

A resume token opens a session to whoever knows it, so none is ever recorded. A `hello` bears the
label of its session instead, as `session`, and as `resume` where it resumed that session.

No files here: bytes in, bytes out.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack

from asrd.errors import ProtocolError
from asrd.framing import HEADER
from asrd.wire.codec import MAX_FRAME_BYTES, MAX_NESTED_ITEMS, unpack

FORGOTTEN = "forgotten"
"""What stands for the token of a session that the daemon did not have: nobody has it."""

MAX_TOKEN_CHARACTERS = 128
"""More than that `hello` does not take."""

_AT = b"\xa2at\xcb"
"""The key `at` and the mark of a float64 in msgpack."""

_TOKEN = re.compile(rb"[0-9a-f]{32,}")
_LIKE_A_TOKEN = re.compile(rb"[0-9a-f]{8,}")
"""What is left of a token that was cut is a secret too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionName:
    """A session as recordings name it, and the token that they must not tell."""

    label: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFrame:
    """One frame of a recording, without its header.

    `fields` is its map, None for a frame that is not sound; `at_s` is None where no time was noted.
    """

    payload: bytes
    fields: dict[str, Any] | None
    at_s: float | None


class FrameCutter:
    """Cuts bytes into frames like `FrameSplitter`, and keeps what is no frame in `rest`."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self.rest = bytearray()
        """What has not become a frame; nothing will, once `is_broken`."""
        self.is_broken = False

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """The payload of each frame that `data` completes. A bad length is the end of frames."""
        self.rest += data
        payloads = []
        position, size = 0, len(self.rest)
        while not self.is_broken and size - position >= HEADER.size:
            (length,) = HEADER.unpack_from(self.rest, position)
            end = position + HEADER.size + length
            if not 1 <= length <= self._max_frame_bytes:
                self.is_broken = True
            elif end > size:
                break
            else:
                payloads.append(bytes(self.rest[position + HEADER.size : end]))
                position = end
        del self.rest[:position]
        return payloads


class Tape:
    """Turns what a connection receives into what its recording holds."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._cutter = FrameCutter(max_frame_bytes)

    def received(
        self, data: bytes | memoryview, at_s: float, session: SessionName | None
    ) -> list[bytes]:
        """The frames of the recording that `data`, which came at `at_s`, completes.

        `session` is the connection's, once `data` has been worked off.
        """
        if self._cutter.is_broken:
            return []  # the daemon reads no further either
        frames = [
            _frame(self._recorded(payload, at_s, session)) for payload in self._cutter.feed(data)
        ]
        return [*frames, self.ended()] if self._cutter.is_broken else frames

    @property
    def is_broken(self) -> bool:
        """Whether a bad length has come: there are no frames behind it."""
        return self._cutter.is_broken

    def ended(self) -> bytes:
        """What came and never became a frame. The last thing that a recording holds."""
        rest, self._cutter.rest = self._cutter.rest, bytearray()
        return _scrubbed(bytes(rest))

    def _recorded(self, payload: bytes, at_s: float, session: SessionName | None) -> bytes:
        try:
            fields = unpack(memoryview(payload))
        except ProtocolError:
            return _scrubbed(payload)
        if "resume" in fields or fields.get("type") == "hello":
            payload, fields = self._labelled(payload, fields, session)
            if fields.get("type") == "hello":  # it may name a session that is not this one
                payload = _scrubbed(payload, _TOKEN)
        if session is not None:
            payload = _without(session.token, payload, fields)
        if len(fields) < MAX_NESTED_ITEMS:
            longer = stamped(payload, at_s)
            if len(longer) <= self._max_frame_bytes:
                return longer
        return payload

    def _labelled(
        self, payload: bytes, fields: dict[str, Any], session: SessionName | None
    ) -> tuple[bytes, dict[str, Any]]:
        """The frame without its token; where it cannot be written anew, with none to be seen."""
        changed = dict(fields)
        token = changed.get("resume")
        if token is not None:
            if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARACTERS:
                return _scrubbed(payload), fields  # refused as it is, and so it is to stay
            is_own = session is not None and token == session.token
            changed["resume"] = session.label if session is not None and is_own else FORGOTTEN
        if session is not None and changed.get("type") == "hello":
            changed["session"] = session.label
        try:
            written = packed(changed)
        except ValueError:  # nested deeper than msgpack writes
            return _scrubbed(payload), fields
        if len(written) > self._max_frame_bytes or len(changed) > MAX_NESTED_ITEMS:
            return _scrubbed(payload), fields
        return written, changed


def stamped(payload: bytes, at_s: float) -> bytes:
    """The map with one more pair, its time, and not a byte of the others changed.

    `payload` is one well-formed map of fewer than `MAX_NESTED_ITEMS` pairs.
    """
    match payload[0]:
        case 0xDF:
            (count,), begin = struct.unpack_from(">I", payload, 1), 5
        case 0xDE:
            (count,), begin = struct.unpack_from(">H", payload, 1), 3
        case mark:
            count, begin = mark & 0x0F, 1
    count += 1
    head = bytes([0x80 | count]) if count < 16 else struct.pack(">BH", 0xDE, count)
    return head + payload[begin:] + _AT + struct.pack(">d", at_s)


def packed(fields: dict[str, Any]) -> bytes:
    """A map as the payload of a frame. Raises ValueError where it is nested too deep."""
    payload: bytes = msgpack.packb(fields)
    return payload


def read_frames(cutter: FrameCutter, data: bytes) -> Iterator[RecordedFrame]:
    """Yield each frame of a recording that `data` completes."""
    for payload in cutter.feed(data):
        try:
            fields = unpack(memoryview(payload))
        except ProtocolError:
            yield RecordedFrame(payload=payload, fields=None, at_s=None)
        else:
            at_s = fields.get("at")
            is_time = isinstance(at_s, float) and math.isfinite(at_s)
            yield RecordedFrame(payload=payload, fields=fields, at_s=at_s if is_time else None)


def _frame(payload: bytes) -> bytes:
    return HEADER.pack(len(payload)) + payload


def _without(token: str, payload: bytes, fields: dict[str, Any]) -> bytes:
    """The map with `token` in no key and no value; PCM is no text and stays as it came."""
    if not token or token.encode() not in payload:
        return payload
    kept = {"data": fields["data"]} if _is_pcm(fields) else {}
    changed = {_masked(token, key): _masked(token, value) for key, value in fields.items()}
    if changed | kept == fields:
        return payload
    try:
        return packed(changed | kept)
    except ValueError:  # nested deeper than msgpack writes
        return _scrubbed(payload)


def _is_pcm(fields: dict[str, Any]) -> bool:
    return fields.get("type") == "audio" and isinstance(fields.get("data"), bytes)


def _masked(token: str, value: Any) -> Any:
    match value:
        case str():
            return value.replace(token, "x" * len(token))
        case bytes():
            return value.replace(token.encode(), b"x" * len(token))
        case list():
            return [_masked(token, item) for item in value]
        case dict():
            return {_masked(token, key): _masked(token, item) for key, item in value.items()}
        case _:
            return value


def _scrubbed(data: bytes, secret: re.Pattern[bytes] = _LIKE_A_TOKEN) -> bytes:
    """As long as before, and with nothing in it that could be a token."""
    return secret.sub(lambda found: b"x" * len(found[0]), data)
