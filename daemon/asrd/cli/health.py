"""`asrd health`: is the daemon ready?"""

from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli.exits import CommandError, Exit, report
from asrd.cli.options import JsonOption, SocketOption
from asrd.cli.printing import say

if TYPE_CHECKING:
    from pathlib import Path

    from asrd.wire.messages import Health, ProviderHealth


def health(
    deep: Annotated[bool, typer.Option("--deep", help="Run a real inference.")] = False,
    json: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Say how the daemon is; exit code 0 when it is ready, 69 when not."""
    import asyncio

    try:
        found = asyncio.run(_ask(socket, deep=deep))
    except CommandError as error:
        if json:
            say('{"state": "unreachable", "live": false, "ready": false}')
        raise typer.Exit(report(error)) from None
    say(_as_json(found) if json else _as_text(found))
    raise typer.Exit(Exit.OK if found.ready else Exit.UNAVAILABLE)


async def _ask(socket: "Path | None", *, deep: bool) -> "Health":
    from asrd.cli.reach import running

    async with running(socket) as client:
        return await client.health(deep=deep)


def _as_json(found: "Health") -> str:
    import msgspec

    from asrd.cli.transcripts import to_json

    fields = msgspec.to_builtins(found)
    del fields["type"]
    return to_json(fields)


def _as_text(found: "Health") -> str:
    lines = [f"{found.state.replace('_', ' ')}, up for {_span(found.uptime_s)}"]
    for name, provider in sorted(found.providers.items()):
        lines.append(f"  {name}{' (default)' if provider.is_default else ''}: {_line(provider)}")
        if provider.remedy:
            lines.append(f"    {provider.remedy}")
    return "\n".join(lines)


def _line(provider: "ProviderHealth") -> str:
    facts = [provider.state.replace("_", " "), f"model {provider.model}"]
    if provider.last_inference_ms is not None:
        facts.append(f"last decode {provider.last_inference_ms:.0f} ms")
    if provider.consecutive_errors:
        facts.append(f"{provider.consecutive_errors} errors in a row")
    if provider.restarts:
        facts.append(f"{provider.restarts} restarts")
    if provider.problem:
        facts.append(provider.problem)
    return ", ".join(facts)


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    for count, unit, smaller, name in ((days, "d", hours, "h"), (hours, "h", minutes, "min")):
        if count:
            return f"{count} {unit} {smaller} {name}"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
