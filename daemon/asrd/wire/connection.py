"""One connection's side of the conversation: bytes in, messages and refusals out.

No socket, no clock: whoever owns the byte channel feeds what arrived and acts on what comes out.

States of the accepting side:

    expecting hello ──hello──► open ──fatal error──► broken
           └──────── anything else ─────────────────────┘
"""

from collections.abc import Iterator
from enum import Enum, auto

from asrd.errors import ErrorCode, ProtocolError
from asrd.framing import FrameError, FrameSplitter
from asrd.wire.codec import MAX_FRAME_BYTES, decode_client, decode_hello, decode_server
from asrd.wire.messages import ClientMessage, Hello, ServerMessage


class State(Enum):
    """Where a connection stands."""

    EXPECTING_HELLO = auto()
    OPEN = auto()
    BROKEN = auto()


EXPECTING_HELLO, OPEN, BROKEN = State
# Named once more because a look-up on the class takes 0.1 µs on 3.11, and a frame needs three.


class ServerConnection:
    """The daemon's end: yields what the client said, or the error it earned.

    A fatal error is the last thing ever yielded; bytes behind it are ignored.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._splitter = FrameSplitter(max_frame_bytes)
        self.state = EXPECTING_HELLO

    @property
    def is_mid_frame(self) -> bool:
        """Whether the bytes so far end inside a frame."""
        return self.state is not BROKEN and self._splitter.is_mid_frame

    def receive(self, data: memoryview) -> Iterator[ClientMessage | ProtocolError]:
        """Yield a message or an error for each frame that `data` completes."""
        if self.state is BROKEN:
            return
        try:
            for payload in self._splitter.feed(data):
                yield self._read(payload)
                if self.state is BROKEN:  # by us just now, or by our owner meanwhile
                    return
        except FrameError as error:
            self.state = BROKEN
            yield ProtocolError(ErrorCode.FRAME_TOO_LARGE, str(error), fatal=True)

    def stop(self) -> None:
        """Read no further: the owner is closing."""
        self.state = BROKEN

    def _read(self, payload: memoryview) -> ClientMessage | ProtocolError:
        try:
            if self.state is EXPECTING_HELLO:
                hello = decode_hello(payload)
                self.state = OPEN
                return hello
            message = decode_client(payload)
        except ProtocolError as error:
            if error.fatal:
                self.state = BROKEN
            return error
        if isinstance(message, Hello):
            return ProtocolError(
                ErrorCode.INVALID_MESSAGE, "hello was already said on this connection"
            )
        return message


class ClientConnection:
    """The client's end: yields what the daemon said.

    Types that a newer daemon may send and this version does not know are skipped.
    """

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._splitter = FrameSplitter(max_frame_bytes)

    def receive(self, data: memoryview) -> Iterator[ServerMessage]:
        """Yield each message that `data` completes.

        Raises:
            ProtocolError: what came is not this protocol; the connection cannot go on.
        """
        try:
            for payload in self._splitter.feed(data):
                try:
                    yield decode_server(payload)
                except ProtocolError as error:
                    if error.code is not ErrorCode.UNKNOWN_TYPE:
                        raise
        except FrameError as error:
            raise ProtocolError(ErrorCode.FRAME_TOO_LARGE, str(error), fatal=True) from None
