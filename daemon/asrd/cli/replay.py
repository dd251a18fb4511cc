"""`asrd replay`: recordings played again."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asrd.cli.options import ModelOption, ProviderOption, SettingsOption, SocketOption


class ReplayFormat(StrEnum):
    """How what comes back is written."""

    TEXT = "text"
    JSONL = "jsonl"


def replay(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="What `asrd serve --record` wrote."),
    ],
    speed: Annotated[
        str, typer.Option(metavar="N|max", help="Times as fast as recorded, or as fast as can be.")
    ] = "1",
    format_: Annotated[
        ReplayFormat, typer.Option("--format", "-f", help="What to write.")
    ] = ReplayFormat.TEXT,
    all_: Annotated[
        bool, typer.Option("--all", help="Everything that comes back, as it comes (jsonl).")
    ] = False,
    provider: ProviderOption = None,
    model: ModelOption = None,
    socket: SocketOption = None,
    option: SettingsOption = None,
) -> None:
    """Play recordings of connections, and print the segments that come of them.

    Files of one session are played one after the other, sessions side by side, each at its time.
    Uses the running daemon where one answers, else one of its own. --provider and --model replace
    what the recorded streams ask for.
    """
    import asyncio

    from asrd.cli.reach import wanted_daemon
    from asrd.cli.replaying import replay_files
    from asrd.client.player import Manner

    if all_ and format_ is ReplayFormat.TEXT:
        raise typer.BadParameter(
            "text is for segments alone; add `--format jsonl`", param_hint="--all"
        )
    asked = {"provider": provider, "model": model}
    manner = Manner(
        speed=_read_speed(speed),
        overrides={key: value for key, value in asked.items() if value is not None},
    )
    code = asyncio.run(
        replay_files(
            files,
            manner,
            wanted_daemon(socket, provider, model, option or []),
            is_json=format_ is ReplayFormat.JSONL,
            is_all=all_,
        )
    )
    raise typer.Exit(code)


def _read_speed(text: str) -> float | None:
    """None for as fast as can be. Raises a usage error."""
    if text in ("max", "0"):
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter(f"{text!r} is no number above 0, nor max", param_hint="--speed")
    return speed
