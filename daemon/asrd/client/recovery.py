"""When a client tries again, and when it gives up: pure; time and chance are handed in."""

from collections.abc import Callable
from dataclasses import dataclass

from asrd.breaker import Breaker, BreakerState
from asrd.client.errors import ClientError, ConnectionLost, Refused, Unreachable
from asrd.errors import ErrorCode

SETTLED_S = 30.0
"""A connection that lasted for so long was a success. One that breaks earlier counts as one more
failure in the row: a daemon that falls over again and again is not asked ever more often."""

FINAL_CODES = frozenset(
    {
        ErrorCode.UNAUTHORIZED,
        ErrorCode.UNSUPPORTED_VERSION,
        # The rest are mistakes of ours, which we should only make again.
        ErrorCode.INVALID_FRAME,
        ErrorCode.FRAME_TOO_LARGE,
        ErrorCode.HELLO_EXPECTED,
        ErrorCode.INVALID_MESSAGE,
    }
)

FINAL_EXIT_CODES = frozenset({64, 77, 78})
"""A daemon of one's own that ends so would end so again: usage, permission, configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How hard a client tries to get its daemon back.

    Args:
        first_wait_s: before the first attempt; doubles with each one more.
        longest_wait_s: what it doubles up to.
        jitter: each wait is longer or shorter by up to this part, so that the clients of a daemon
            that was restarted do not all come at once.
        max_attempts: in a row; then the client has failed. 0: nothing is recovered.
        breaker_failures: failures in a row after which the daemon is left alone ...
        breaker_open_s: ... for so long.
        held_live_s: of a live stream, how much audio that is not finished is held.
    """

    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    jitter: float = 0.2
    max_attempts: int = 15
    breaker_failures: int = 5
    breaker_open_s: float = 60.0
    held_live_s: float = 30.0

    @classmethod
    def none(cls) -> "Recovery":
        """No recovery: the first break is the end."""
        return cls(max_attempts=0, held_live_s=0.0)

    @property
    def is_on(self) -> bool:
        """Whether anything is tried at all."""
        return self.max_attempts > 0

    def wait_s(self, failures: int, chance: float) -> float:
        """The wait behind so many failures in a row. `chance` is from 0 to 1."""
        doubled_s = self.first_wait_s * 2.0 ** min(failures, 64)
        return min(self.longest_wait_s, doubled_s) * (1 + self.jitter * (2 * chance - 1))


class Pacer:
    """Counts attempts in a row and says when the next may be made.

    `chance` gives numbers from 0 to 1.
    """

    def __init__(self, recovery: Recovery, chance: Callable[[], float]) -> None:
        self._recovery = recovery
        self._chance = chance
        self._reached_at_s: float | None = None
        self._has_worked = False
        self.start_anew()

    def start_anew(self) -> None:
        """Somebody asked for it: what was in vain so far counts no more."""
        recovery = self._recovery
        self.attempts = 0
        self._breaker = Breaker(failures=recovery.breaker_failures, open_s=recovery.breaker_open_s)

    def reached(self, now_s: float) -> None:
        """There is a connection. Whether that is a success will be seen when it ends."""
        self._reached_at_s = now_s
        self._has_worked = False

    def worked(self) -> None:
        """The daemon has finished something on the connection that there is."""
        self._has_worked = True

    def broke(self, now_s: float) -> None:
        """The connection ended, if there was one."""
        reached_at_s, self._reached_at_s = self._reached_at_s, None
        if reached_at_s is None:
            return
        if self._has_worked or now_s - reached_at_s >= SETTLED_S:
            self.start_anew()
        else:
            self.missed(now_s)

    def missed(self, now_s: float) -> None:
        """An attempt was in vain."""
        if self._breaker.state is BreakerState.HALF_OPEN:
            self._breaker.end_probe(now_s, has_succeeded=False)
        else:
            self._breaker.fail(now_s)

    def next_wait_s(self, now_s: float, at_least_s: float = 0.0) -> float | None:
        """Seconds until the next attempt; None when there have been enough."""
        if self.attempts >= self._recovery.max_attempts:
            return None
        wait_s = self._recovery.wait_s(self.attempts, self._chance())
        return max(wait_s, at_least_s, self._breaker.until_probe_s(now_s))

    def begin(self) -> None:
        """An attempt is made now."""
        self.attempts += 1
        if self._breaker.state is BreakerState.OPEN:
            self._breaker.begin_probe()


def is_final(error: BaseException) -> bool:
    """Whether trying again would only bring the same error."""
    match error:
        case Refused(code=code) | ConnectionLost(code=str(code)):
            return code in FINAL_CODES
        case Unreachable(exit_code=code):
            return code in FINAL_EXIT_CODES
        case _:
            return not isinstance(error, ClientError)


def asked_wait_s(error: BaseException) -> float:
    """How long the daemon asked us to wait; 0.0 where it said nothing of it."""
    wait_ms = getattr(error, "retry_after_ms", None)
    return wait_ms / 1000 if isinstance(wait_ms, int) else 0.0
