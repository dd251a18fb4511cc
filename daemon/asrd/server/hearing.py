"""What one client says, from its bytes to its messages, a slice of time at a time."""

from collections.abc import Callable, Iterator

from asrd.clock import Clock
from asrd.config import Limits
from asrd.errors import ProtocolError
from asrd.server.patience import Patience
from asrd.wire.connection import ServerConnection
from asrd.wire.messages import Audio, ClientMessage


class Hearing:
    """What has arrived on one connection and is not worked off yet.

    `is_crowded` tells whether so many answers wait for the client that its next request waits
    too. Audio is never held up by it unless it stands behind a request.
    """

    def __init__(self, clock: Clock, limits: Limits, is_crowded: Callable[[], bool]) -> None:
        self._clock = clock
        self._is_crowded = is_crowded
        self._connection = ServerConnection(limits.max_frame_bytes)
        self._said: Iterator[ClientMessage | ProtocolError] | None = None
        self._ahead: ClientMessage | ProtocolError | None = None
        self._has_frame = False
        self.patience = Patience(clock, limits)

    @property
    def is_mid_frame(self) -> bool:
        """Whether the bytes so far end inside a frame."""
        return self._connection.is_mid_frame

    @property
    def has_more(self) -> bool:
        """Whether something of what arrived is not worked off."""
        return self._said is not None

    @property
    def may_go_on(self) -> bool:
        """Whether there is more, and nothing but its turn that it waits for."""
        return self._said is not None and not self._is_crowded()

    def take(self, data: memoryview) -> None:
        """Bytes have arrived, behind others that are worked off."""
        self.patience.heard()
        self._said = self._connection.receive(data)
        self._has_frame = False

    def slice(self, slice_s: float) -> Iterator[ClientMessage | ProtocolError]:
        """Yield messages and errors for so long, but one at the least.

        Whoever goes through them has to go on to the end.
        """
        until_s = self._clock.now_s() + slice_s
        while (said := self._next()) is not None:
            self._has_frame = True
            yield said
            is_over = self._clock.now_s() >= until_s
            if is_over or (not isinstance(said, Audio) and self._is_crowded()):
                self._ahead = self._next()
                if self._ahead is not None:
                    return
                break  # that was all: nothing has to wait for a turn
        self._said = None
        self.patience.worked_off(has_frame=self._has_frame, is_mid_frame=self.is_mid_frame)

    def stop(self) -> None:
        """The connection closes: what is left and what follows is not heard."""
        self._connection.stop()
        self._said = self._ahead = None

    def _next(self) -> ClientMessage | ProtocolError | None:
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None else next(self._said or iter(()), None)
