"""`asrd status`: how the daemon is, on one screen, and what to do about it."""

from typing import TYPE_CHECKING

import typer

from asrd.cli.exits import CommandError, Exit, report
from asrd.cli.options import SocketOption, StateJsonOption
from asrd.cli.plain import plain_json
from asrd.cli.printing import say
from asrd.errors import AsrdError

if TYPE_CHECKING:
    from pathlib import Path

    from asrd.cli.screens.looks import Look


def status(json: StateJsonOption = False, socket: SocketOption = None) -> None:
    """Show how the daemon is and what to do about it; exit code 0 when it is ready, 69 when not.

    For people. Scripts ask `asrd health`; `asrd stats` has all numbers, and `asrd top` is live.
    """
    import asyncio

    from asrd.cli.screens.looks import as_json, unreachable
    from asrd.cli.screens.report import report_lines
    from asrd.cli.transcripts import to_json
    from asrd.paths import default_socket_path

    path = socket or default_socket_path()
    try:
        look = asyncio.run(_ask(path))
    except AsrdError as error:
        if json:
            say(plain_json(to_json({"health": unreachable(error)})))
        raise typer.Exit(report(_with_service(error))) from None
    say(as_json(look) if json else "\n".join(report_lines(look)))
    raise typer.Exit(Exit.OK if look.health.ready else Exit.UNAVAILABLE)


def _with_service(error: AsrdError) -> AsrdError:
    """Where none answers: how to have one without starting it by hand."""
    from asrd.client import Unreachable

    if not isinstance(error.__cause__, Unreachable):
        return error
    return CommandError(
        f"{error}, or have it started whenever it is needed with `asrd service install`",
        Exit.UNAVAILABLE,
    )


async def _ask(path: "Path") -> "Look":
    from asrd.cli.reach import running
    from asrd.cli.screens.looks import look_at

    async with running(path) as client:
        return await look_at(client, path, streams=False)
