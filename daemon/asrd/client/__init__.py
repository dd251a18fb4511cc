"""A client of the daemon, built on the wire alone.

async with connect(default_socket_path()) as client:
    stream = await client.open_stream(source="file")
    ...                                   # send in one task
    async for event in stream: ...        # and read in another
"""

from asrd.client.client import Client
from asrd.client.daemons import connect, spawn
from asrd.client.errors import ClientError, ConnectionLost, Refused, StreamEnded, Unreachable
from asrd.client.inbox import StreamEvent
from asrd.client.stream import Stream, StreamOptions

__all__ = [
    "Client",
    "ClientError",
    "ConnectionLost",
    "Refused",
    "Stream",
    "StreamEnded",
    "StreamEvent",
    "StreamOptions",
    "Unreachable",
    "connect",
    "spawn",
]
