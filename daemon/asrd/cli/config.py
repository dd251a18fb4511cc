"""`asrd config`: what is in force, whether it makes sense, and a file to begin with."""

from pathlib import Path
from typing import Annotated

import typer

from asrd.cli.exits import CommandError, Exit, tell
from asrd.cli.options import JsonOption
from asrd.cli.printing import say

app = typer.Typer(help="Show, check and write the configuration.")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A configuration, over the usual files."),
]


@app.callback(invoke_without_command=True)
def config(context: typer.Context) -> None:
    """Show, check and write the configuration."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(Exit.USAGE)


@app.command()
def show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Tell where each value comes from.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Print the configuration that a daemon started here would have, as TOML.

    Secrets are masked, and no file with one is read.
    """
    from asrd.configuring.layers import usual_places
    from asrd.configuring.reading import read
    from asrd.configuring.writing import shown, shown_as_json

    reading = read(usual_places(config), with_secrets=False)
    for warning in reading.warnings:
        tell(warning)
    write = shown_as_json if json else shown
    say(write(reading, with_origin=origin))


@app.command()
def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A configuration, over the usual files."),
    ] = None,
) -> None:
    """Say what is wrong with the configuration, all of it; or `ok`, and what was read.

    Providers look at their own settings, as when a daemon starts. Ends with 78 if anything is
    wrong.
    """
    from asrd.configuring.layers import usual_places
    from asrd.configuring.reading import read
    from asrd.providers.registry import discover
    from asrd.server import logs
    from asrd.server.startup import settled

    logs.set_level("warning")  # what the start would warn of is said here, too
    places = usual_places(file)
    reading = read(places)
    for warning in reading.warnings:
        tell(warning)
    settled(reading.config, discover())
    read_from = ", ".join(reading.layers)
    say(f"ok: {read_from or f'defaults alone; there is no {places.system} and no {places.user}'}")


@app.command()
def init(
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="Where to; - is standard output.", show_default=False),
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Write the system's file, /etc/asrd/config.toml.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a file with every key, its default, its meaning and its range, all commented out.

    It goes to $XDG_CONFIG_HOME/asrd/config.toml, where the daemon looks for it.
    """
    from asrd.configuring.layers import SYSTEM_FILE, user_file
    from asrd.configuring.writing import annotated

    if path is not None and system:
        raise typer.BadParameter("--system and a path exclude each other", param_hint="--system")
    if path == "-":
        say(annotated().rstrip("\n"))
        return
    target = SYSTEM_FILE if system else user_file() if path is None else Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(annotated())
    except OSError as error:
        if isinstance(error, FileExistsError) and target.exists():
            raise CommandError(
                f"{target} is there already", Exit.IO, "use --force to overwrite it"
            ) from None
        raise CommandError(f"cannot write {target}: {error.strerror}", Exit.IO) from None
    say(f"wrote {target}")
