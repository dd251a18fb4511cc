"""A client of the daemon, built on the wire alone. It recovers from broken connections by itself.

async with connect(default_socket_path()) as client:
    stream = await client.open_stream(source="file")
    ...                                   # send in one task
    async for event in stream: ...        # and read in another

`asrd.client.sync` is the same for programs without a loop.
"""

from asrd.client.client import Client
from asrd.client.daemons import connect, spawn
from asrd.client.errors import (
    ClientError,
    ConnectionLost,
    Refused,
    SegmentsMissing,
    StreamEnded,
    Unreachable,
)
from asrd.client.inbox import StreamEvent
from asrd.client.recovery import Recovery
from asrd.client.states import ClientState, StateChange
from asrd.client.stream import Stream, StreamOptions

__all__ = [
    "Client",
    "ClientError",
    "ClientState",
    "ConnectionLost",
    "Recovery",
    "Refused",
    "SegmentsMissing",
    "StateChange",
    "Stream",
    "StreamEnded",
    "StreamEvent",
    "StreamOptions",
    "Unreachable",
    "connect",
    "spawn",
]
