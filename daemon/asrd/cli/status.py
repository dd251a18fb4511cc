"""`asrd status`: how the daemon is, on one screen, and what to do about it."""

from typing import TYPE_CHECKING

import typer

from asrd.cli.exits import CommandError, Exit, report
from asrd.cli.options import JsonOption, SocketOption
from asrd.cli.printing import say

if TYPE_CHECKING:
    from pathlib import Path

    from asrd.cli.looks import Look


def status(json: JsonOption = False, socket: SocketOption = None) -> None:
    """Show how the daemon is and what to do about it; exit code 0 when it is ready, 69 when not.

    For people. Scripts ask `asrd health`; `asrd stats` has all numbers, and `asrd top` is live.
    """
    import asyncio

    from asrd.cli.looks import as_json
    from asrd.cli.screens.report import report_lines
    from asrd.paths import default_socket_path

    path = socket or default_socket_path()
    try:
        look = asyncio.run(_ask(path))
    except CommandError as error:
        if json:
            say('{"health": {"state": "unreachable", "live": false, "ready": false}}')
        remedy = f"{error}, or have one started at every login with `asrd service install`"
        raise typer.Exit(report(CommandError(remedy, error.code))) from None
    say(as_json(look) if json else "\n".join(report_lines(look)))
    raise typer.Exit(Exit.OK if look.health.ready else Exit.UNAVAILABLE)


async def _ask(path: "Path") -> "Look":
    from asrd.cli.looks import look_at
    from asrd.cli.reach import running

    async with running(path) as client:
        return await look_at(client, path, streams=False)
