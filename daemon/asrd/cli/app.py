"""The program: its commands, and the one place where errors become exit codes.

`asrd --help` imports typer and nothing heavy: each command imports what it needs inside.
"""

import io
import os
import sys
from typing import Annotated

import typer

from asrd.cli import (
    bench,
    completion,
    config,
    doctor,
    exits,
    health,
    listen,
    manual,
    models,
    pipe,
    providers,
    replay,
    serve,
    service,
    stats,
    status,
    top,
    transcribe,
    version,
)
from asrd.cli.signals import die_if_caught

# Plain help: rich's rendering of it costs 0.2 s, more than all the rest of a start.
app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,  # `asrd completion` instead of two options of everything
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(transcribe.transcribe)
app.command()(pipe.pipe)
app.command(cls=listen.ListenCommand)(listen.listen)
app.command()(serve.serve)
app.command()(replay.replay)
app.command()(providers.providers)
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.command()(bench.bench)
app.command()(doctor.doctor)
app.command()(health.health)
app.command()(stats.stats)
app.command()(status.status)
app.command()(top.top)
app.add_typer(service.app, name="service")
app.command()(completion.completion)
app.command()(manual.man)
app.command()(version.version)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    is_version_asked: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    """Speech recognition that stays warm: a daemon, and commands that use it."""
    if is_version_asked:
        version.version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(exits.Exit.USAGE)


# typer names neither of these itself: its usage errors are click's, whichever copy it has inside.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    _fill_standard_descriptors()
    completion.prepare()
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="asrd", standalone_mode=False)
    except UsageError as error:
        exits.tell(_usage_line(error))
        code = exits.Exit.USAGE
    except typer.Abort:
        code = exits.Exit.INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last place that can tell
        code = exits.report(_of_output(error) if isinstance(error, OSError) else error)
    die_if_caught()
    return int(code or 0)


def _usage_line(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "asrd"
    message = str(getattr(error, "message", "") or error)
    format_message = getattr(error, "format_message", None)
    if format_message is not None:
        message = format_message()
    return f"{message.rstrip('.')}: see `{command} --help`"


def _of_output(error: OSError) -> Exception:
    """What it becomes where typer raised it: that does nothing with files but to print help."""
    import traceback

    from asrd.cli.printing import failed

    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    is_of_typer = str(frame.f_globals["__name__"]).partition(".")[0] in ("typer", "click")
    return failed(error, "standard output") if is_of_typer else error


def _fill_standard_descriptors() -> None:
    """Keep 0, 1 and 2 from being given to a file or socket of ours when a caller closed them.

    `sys.stdin` and its like stay None then, which is how commands know.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    if sys.stderr is None:  # libraries write to it without looking
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
