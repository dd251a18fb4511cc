"""What comes back, read as cheaply as can be: only what is counted is decoded. Pure."""

from asrd.framing import HEADER
from asrd.wire import messages as wire
from asrd.wire.codec import decode_server

COUNTED = ("segment", "ack", "closed", "error", "opened", "welcome")

_MARKS = {b"\xa4type" + bytes([0xA0 + len(name)]) + name.encode() for name in COUNTED}
_LENGTHS = sorted({len(mark) for mark in _MARKS})


def is_counted(payload: bytes) -> bool:
    """Whether a frame is of a kind that is counted.

    The daemon writes `type` first. One that did not would have nothing counted, which shows.
    """
    return any(payload[1 : 1 + length] in _MARKS for length in _LENGTHS)


class Replies:
    """The bytes that one connection receives."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> list[wire.ServerMessage]:
        """The counted messages that `data` completes."""
        data, found, at = self._rest + data, [], 0
        while len(data) - at >= HEADER.size:
            end = at + HEADER.size + HEADER.unpack_from(data, at)[0]
            if end > len(data):
                break
            payload = data[at + HEADER.size : end]
            if is_counted(payload):
                found.append(decode_server(memoryview(payload)))
            at = end
        self._rest = data[at:]
        return found
