"""Many streams that speak all the while, on one connection, and what became of what they said."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from asrd.wire.messages import Ack, Event, Ping, Pong, Segment
from faults.scenes import LONG, Reading, reading
from support.wire_client import WireClient

CHUNK_BYTES = 8_000
"""A quarter of a second."""

AHEAD_BYTES = 20 * 32_000
"""Of audio that may wait: less than a live stream holds before it drops some."""


@dataclass
class Speaker:
    """One stream and what was said on it: a recording from some place on, over and over."""

    number: int
    is_live: bool
    model: str
    spoken: bytearray = field(default_factory=bytearray)
    committed_bytes: int = 0
    segments: int = 0
    safe_from: int = 0
    """Segments to be had before its decodes may cost another worker."""

    @property
    def is_spared(self) -> bool:
        """Whether what it waits for may have cost a worker already."""
        return self.segments < self.safe_from

    def next_chunk(self) -> bytes:
        """A little more speech."""
        place = (self.number * 97_000 + len(self.spoken)) % len(LONG)
        chunk = LONG[place : place + CHUNK_BYTES]
        self.spoken += chunk
        return chunk

    def hear(self, message: Ack | Segment) -> None:
        """Note how far it is finished."""
        self.committed_bytes = 2 * message.offset
        self.segments += isinstance(message, Segment)


class Crowd:
    """All who speak, on one connection."""

    def __init__(self, client: WireClient, speakers: Iterable[Speaker]) -> None:
        self.client = client
        self.speakers = {speaker.number: speaker for speaker in speakers}
        self.events = 0
        self.segments = 0
        self._pings = 0

    def hear(self) -> None:
        """Take in all that the daemon said up to now."""
        known = len(self.client.log)
        self._pings += 1
        self.client.send(Ping(id=self._pings))
        self.client.expect(Pong, lambda pong: pong.id == self._pings)
        for message in self.client.log[known:]:
            self.events += isinstance(message, Event)
            self.segments += isinstance(message, Segment)
            if isinstance(message, Ack | Segment):
                self.speakers[message.stream].hear(message)

    def is_behind(self, speaker: Speaker, said_bytes: int) -> bool:
        """Whether so much was said of which too much is not finished."""
        return said_bytes - speaker.committed_bytes > AHEAD_BYTES

    def finish(self) -> dict[int, Reading]:
        """What each stream reads like in the end."""
        self.client.finish(*self.speakers)
        return {number: reading(self.client.logged(Segment, number)) for number in self.speakers}
