"""Sources and clients, as both screens tell of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from asrd.cli.figures import as_amount, as_count

SOURCE = "source:"
USUAL = ("mic", "system")
"""Sources that are not named by whoever likes to."""

Queue = Mapping[str, Any]


def sources_of(queues: Mapping[str, Queue]) -> Iterator[tuple[str, Queue]]:
    """Each source by its name, in the order of what needs a look.

    Those where audio waits or was dropped come first, then the usual ones: clients name sources as
    they like, and must not push the others off a table that is cut.
    """

    def order(found: tuple[str, Queue]) -> tuple[float, float, int, str]:
        name, queue = found
        place = USUAL.index(name) if name in USUAL else len(USUAL)
        return (-(queue.get("depth") or 0), -(queue.get("dropped_s") or 0), place, name)

    told = ((name.removeprefix(SOURCE), queue) for name, queue in queues.items() if _is_of(name))
    yield from sorted(told, key=order)


def _is_of(name: str) -> bool:
    return name.startswith(SOURCE)


def clients_of(counters: Mapping[str, int | float], *, is_brief: bool) -> list[str]:
    """How many clients there are and, where some have gone and may resume, how many."""
    sessions = counters.get("sessions", 0)
    connected = counters.get("sessions_connected")
    if connected is None:  # an older daemon tells no more
        return [as_amount(sessions, "session")]
    clients, gone = as_amount(connected, "client"), sessions - connected
    if gone <= 0:
        return [clients]
    return [clients, f"{as_count(gone)} gone" + ("" if is_brief else ", may resume")]
