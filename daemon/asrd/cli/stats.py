"""`asrd stats`: what the daemon counts."""

from typing import TYPE_CHECKING, Any

from asrd.cli.options import JsonOption, SocketOption
from asrd.cli.printing import say

if TYPE_CHECKING:
    from pathlib import Path


def stats(json: JsonOption = False, socket: SocketOption = None) -> None:
    """Print the daemon's counters, queues and latencies."""
    import asyncio

    from asrd.cli.transcripts import to_json

    found = asyncio.run(_ask(socket))
    say(to_json(found) if json else "\n".join(_lines("", found)))


async def _ask(socket: "Path | None") -> dict[str, Any]:
    import msgspec

    from asrd.cli.reach import running

    async with running(socket) as client:
        fields: dict[str, Any] = msgspec.to_builtins(await client.stats())
    del fields["type"]
    return fields


def _lines(path: str, value: object) -> list[str]:
    if isinstance(value, dict):
        return [
            line
            for key, item in value.items()
            for line in _lines(f"{path}.{key}" if path else str(key), item)
        ]
    shown = f"{value:g}" if isinstance(value, float) else str("-" if value is None else value)
    return [f"{path} {shown}"]
