"""`asrd serve`: the daemon."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asrd.cli.exits import CommandError, Exit
from asrd.cli.options import ModelOption, ProviderOption, SettingsOption, read_settings


class LogLevel(StrEnum):
    """How much the log tells."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Serve one client on stdin and stdout instead.")
    ] = False,
    socket: Annotated[
        Path | None,
        typer.Option("--socket", metavar="PATH", help="Where to listen.", show_default=False),
    ] = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    option: SettingsOption = None,
    log_level: Annotated[LogLevel, typer.Option(help="On stderr.")] = LogLevel.INFO,
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Load the model when it is first asked for.")
    ] = False,
) -> None:
    """Run the daemon, until it is told to stop.

    It listens on $XDG_RUNTIME_DIR/asrd/asrd.sock (as root on /run/asrd/asrd.sock), or --socket.
    """
    from asrd.config import Config, default_socket_path

    if stdio and socket is not None:
        raise typer.BadParameter("--stdio and --socket exclude each other", param_hint="--socket")
    if stdio and sys.stdin is None:
        raise CommandError("stdin is closed", Exit.NO_INPUT, "connect it to the client")
    if stdio and sys.stdout is None:
        raise CommandError("stdout is closed", Exit.IO, "connect it to the client")
    name = provider or Config().provider
    config = Config(
        provider=name,
        model=model,
        eager=not lazy,
        provider_settings=read_settings(option or [], name),
    )
    from asrd.server import app, logs

    logs.configure(log_level.value)
    if stdio:
        code = app.serve_stdio(config)
    else:
        code = app.serve(config, socket_path=socket or default_socket_path())
    raise typer.Exit(code)
