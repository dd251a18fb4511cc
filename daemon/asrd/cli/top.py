"""`asrd top`: the daemon at work, live."""

from typing import Annotated

import typer

from asrd.cli.options import SocketOption


def top(
    interval_s: Annotated[
        float,
        typer.Option(
            "--interval-s",
            min=0.1,
            max=3600,
            metavar="SECONDS",
            help="Seconds between two looks.",
        ),
    ] = 1.0,
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="End after so many looks.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each look instead.")
    ] = False,
    socket: SocketOption = None,
) -> None:
    """Watch the daemon at work: its queues, models and streams, live; q ends it.

    Of a stream, P is the priority and L the rung of the ladder that load has put it on. BACKLOG is
    audio that was not read yet, DELAY the time from the end of speech to its text, DROPPED audio
    that was given up for lack of time. One in brackets has no client at present. RTF, the real-time
    factor, is time spent decoding over audio decoded. A screen of 110 columns has more of it.

    Others' streams are seen by root and the daemon's own user
    alone. In a pipe it prints one look and ends. `asrd status` is for one glance, `asrd stats` for
    all numbers.
    """
    import asyncio

    from asrd.cli.screens.watching import Watch, watch
    from asrd.paths import default_socket_path

    wanted = Watch(
        socket=socket or default_socket_path(), interval_s=interval_s, count=count, is_json=json
    )
    raise typer.Exit(asyncio.run(watch(wanted)))
