"""What monitoring sees of a room."""

from asrd.config import Access
from asrd.server.admission import admission_of
from asrd.server.connections import Door
from asrd.server.metrics import Metrics
from asrd.server.monotonic import LoopWatch
from asrd.server.sight import Footprints, Sight
from support.exposition import Scrape, text_of
from support.room import Guest, Room

HELD = Footprints(
    memory_bytes={"core": 50_000_000, "voice_activity": 30_000_000, "echo/echo": 40_000_000},
    descriptors=17,
    max_descriptors=1024,
)


def sight_of(room: Room, *guests: Guest) -> Sight:
    """A daemon that is a room, with those connected."""

    def no_peer(*_: object) -> None:
        raise AssertionError("nobody connects to a room")

    return Sight(
        hub=room.hub,
        sessions=room.sessions,
        reporter=room.reporter,
        door=Door(no_peer, admission_of(Access()), 10, room.clock),  # type: ignore[arg-type]
        shelf=room.shelf,
        loop=LoopWatch(),
        recorder=None,
        peers=lambda: [guest.peer for guest in guests],
    )


def scrape(room: Room, *guests: Guest) -> Scrape:
    """What Prometheus would read of it now."""
    return Scrape(text_of(Metrics(sight_of(room, *guests)).collect(HELD)))
