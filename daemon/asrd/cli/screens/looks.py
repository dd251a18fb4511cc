"""One look at a daemon: all that it tells of itself, over one connection."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asrd.cli.plain import plain_json
from asrd.cli.reach import answered
from asrd.errors import AsrdError
from asrd.wire.messages import Health, Stats

if TYPE_CHECKING:
    from asrd.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the daemon at `socket` told of itself; `server` is its name and version."""

    socket: Path
    server: str
    health: Health
    stats: Stats


@dataclass(frozen=True, slots=True)
class Lost:
    """A look that came to nothing, and why."""

    problem: str


async def look_at(client: "Client", socket: Path, *, streams: bool) -> Look:
    """Ask for all of it. Raises CommandError, Refused, ConnectionLost."""
    health = await answered(client.health())
    stats = await answered(client.stats(streams=streams))
    return Look(socket=socket, server=client.welcome.server, health=health, stats=stats)


def unreachable(error: AsrdError) -> dict[str, object]:
    """The health of a daemon that does not answer us, and why."""
    return {"state": "unreachable", "live": False, "ready": False, "problem": str(error)}


def as_json(look: Look) -> str:
    """One line of JSON, in the protocol's own terms."""
    import msgspec

    from asrd.cli.transcripts import to_json

    told = {"health": msgspec.to_builtins(look.health), "stats": msgspec.to_builtins(look.stats)}
    for fields in told.values():
        del fields["type"]
    return plain_json(to_json({"server": look.server, "socket": str(look.socket), **told}))
