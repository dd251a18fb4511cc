"""The life of a stream: one table, and nothing happens that is not in it."""

from enum import Enum, auto

from asrd.errors import ErrorCode, ProtocolError


class StreamState(Enum):
    """Where a stream stands."""

    OPEN = auto()
    CLOSING = auto()
    """Its client has closed it, and what it holds is being finished."""
    DRAINING = auto()
    """The same, because the daemon ends. What still comes is left to its client."""
    CLOSED = auto()


class StreamInput(Enum):
    """What can happen to it."""

    AUDIO = auto()
    FLUSH = auto()
    CLOSE = auto()
    DRAIN = auto()
    CANCEL = auto()
    FINISH = auto()


TRANSITIONS: dict[tuple[StreamState, StreamInput], StreamState] = {
    (StreamState.OPEN, StreamInput.AUDIO): StreamState.OPEN,
    (StreamState.OPEN, StreamInput.FLUSH): StreamState.OPEN,
    (StreamState.OPEN, StreamInput.CLOSE): StreamState.CLOSING,
    (StreamState.OPEN, StreamInput.DRAIN): StreamState.DRAINING,
    (StreamState.OPEN, StreamInput.CANCEL): StreamState.CLOSED,
    # A drain changes nothing for a stream that its client is closing already.
    (StreamState.CLOSING, StreamInput.DRAIN): StreamState.CLOSING,
    (StreamState.CLOSING, StreamInput.CANCEL): StreamState.CLOSED,
    (StreamState.CLOSING, StreamInput.FINISH): StreamState.CLOSED,
    # Its client may not know yet.
    (StreamState.DRAINING, StreamInput.AUDIO): StreamState.DRAINING,
    (StreamState.DRAINING, StreamInput.FLUSH): StreamState.DRAINING,
    (StreamState.DRAINING, StreamInput.CLOSE): StreamState.DRAINING,
    (StreamState.DRAINING, StreamInput.DRAIN): StreamState.DRAINING,
    (StreamState.DRAINING, StreamInput.CANCEL): StreamState.CLOSED,
    (StreamState.DRAINING, StreamInput.FINISH): StreamState.CLOSED,
}


def next_state(state: StreamState, happened: StreamInput, stream: int) -> StreamState:
    """The state that follows.

    Raises:
        ProtocolError: the pair is not in the table; the stream takes no such message any more.
    """
    try:
        return TRANSITIONS[state, happened]
    except KeyError:
        raise ProtocolError(
            ErrorCode.UNKNOWN_STREAM,
            f"stream {stream} is {state.name.lower()} and takes no {happened.name.lower()}",
            stream=stream,
        ) from None
