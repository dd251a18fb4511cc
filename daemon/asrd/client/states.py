"""Whether a client has its daemon: one table, and nothing happens that is not in it.

connected ──broke──► reconnecting ──reached──► connected
    │                  │      ▲
    └────gave up───────┤      └──retried── failed      closed: from anywhere, for good
                       └──gave up──────────► ▲
"""

from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from asrd.errors import AsrdError


class ClientState(StrEnum):
    """Whether there is a connection, or will be one."""

    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    """It broke, and nothing is tried any more until `retry` is called."""


class ClientInput(Enum):
    """What can happen to a client."""

    BROKE = auto()
    MISSED = auto()
    REACHED = auto()
    GAVE_UP = auto()
    RETRIED = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """What the callbacks of `Client.on_state` are told.

    `reason` says what went wrong, "" where nothing did. `attempt` is the one that comes next while
    reconnecting, and the number that were made in vain otherwise. It comes in `wait_s`.
    """

    state: ClientState
    reason: str = ""
    attempt: int = 0
    wait_s: float = 0.0


_S = ClientState
_I = ClientInput

TRANSITIONS: dict[tuple[ClientState, ClientInput], ClientState] = {
    (_S.CONNECTED, _I.BROKE): _S.RECONNECTING,
    (_S.CONNECTED, _I.GAVE_UP): _S.FAILED,
    (_S.RECONNECTING, _I.MISSED): _S.RECONNECTING,
    (_S.RECONNECTING, _I.REACHED): _S.CONNECTED,
    (_S.RECONNECTING, _I.GAVE_UP): _S.FAILED,
    (_S.FAILED, _I.RETRIED): _S.RECONNECTING,
    **{(state, _I.CLOSED): _S.FAILED for state in _S},
}


def next_state(state: ClientState, happened: ClientInput) -> ClientState:
    """The state that follows. Raises AsrdError for a pair that is not in the table: a bug."""
    try:
        return TRANSITIONS[state, happened]
    except KeyError:
        raise AsrdError(f"a client that is {state} cannot have {happened.name.lower()}") from None
