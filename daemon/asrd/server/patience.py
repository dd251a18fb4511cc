"""How long a connection may say nothing, or not finish what it says. Pure: the time is asked of a
clock, and the owner acts on what comes out.

    greeting ──hello──► talking ──a part of a frame──► amid a frame
       │ hello_timeout_s   │ idle_timeout_s               │ frame_timeout_s
       ▼                   ▼                              ▼
    hello_expected       closed without a word          invalid_frame

A connection that is made to wait is not impatient with itself: while it is not read, neither its
silence nor its unfinished frame counts.
"""

from asrd.clock import Clock
from asrd.config import Limits
from asrd.errors import ErrorCode, ProtocolError


class Patience:
    """The times of one connection."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._opened_at_s = self.heard_at_s = clock.now_s()
        self._in_frame_since_s: float | None = None

    def heard(self) -> None:
        """Bytes have arrived."""
        self.heard_at_s = self._clock.now_s()

    def read_again(self) -> None:
        """The connection was made to wait, and is no more: all of its times begin anew."""
        self.heard_at_s = self._clock.now_s()
        self._in_frame_since_s = None if self._in_frame_since_s is None else self.heard_at_s

    def worked_off(self, *, has_frame: bool, is_mid_frame: bool) -> None:
        """What had arrived is worked off; whether a frame ended in it, and whether one began."""
        if not is_mid_frame:
            self._in_frame_since_s = None
        elif has_frame or self._in_frame_since_s is None:
            self._in_frame_since_s = self.heard_at_s

    @property
    def is_idle(self) -> bool:
        """Whether nothing has come for the idle timeout."""
        return self._clock.now_s() - self.heard_at_s >= self._limits.idle_timeout_s

    def check(self, *, is_greeted: bool) -> None:
        """Raise ProtocolError when the greeting or the rest of a frame does not come in time."""
        now_s = self._clock.now_s()
        if not is_greeted and now_s - self._opened_at_s >= self._limits.hello_timeout_s:
            text = f"no hello came within {self._limits.hello_timeout_s:g} s"
            raise ProtocolError(ErrorCode.HELLO_EXPECTED, text, fatal=True)
        since_s = self._in_frame_since_s
        if since_s is not None and now_s - since_s >= self._limits.frame_timeout_s:
            text = f"a frame was not complete within {self._limits.frame_timeout_s:g} s"
            raise ProtocolError(ErrorCode.INVALID_FRAME, text, fatal=True)
