"""`asrd service`: asrd kept running by the service manager of this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from asrd.cli.exits import Exit, report
from asrd.cli.options import StateJsonOption
from asrd.errors import AsrdError

if TYPE_CHECKING:
    from asrd.cli.managers.base import Manager

app = typer.Typer(help="Have systemd or launchd keep the daemon running.")

ScopeOption = Annotated[
    bool | None,
    typer.Option(
        "--system/--user",
        help="For the whole machine, or for you alone. [default: user; for root system]",
        show_default=False,
    ),
]


@app.callback(invoke_without_command=True)
def service(context: typer.Context) -> None:
    """Have systemd or launchd keep the daemon running."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(Exit.USAGE)


@app.command()
def install(
    system: ScopeOption = None,
    print_: Annotated[
        bool,
        typer.Option("--print", help="Show the files and what would be run, and change nothing."),
    ] = False,
    at_start: Annotated[
        bool,
        typer.Option(
            "--at-start",
            help="Start it with the machine or your session; else its first client does. An agent "
            "of launchd starts at login in any case.",
        ),
    ] = False,
    gpu: Annotated[bool, typer.Option("--gpu", help="Let it use NVIDIA's GPUs (systemd).")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Write over files that were changed by hand; enable what seems unable to run.",
        ),
    ] = False,
) -> None:
    """Write the service's files and start it.

    The program is the asrd that runs this command. Where no manager answers, as in containers, the
    files are written all the same, and the commands to run later are told.
    """
    from asrd.cli.managers import managing
    from asrd.cli.managers.program import running_program
    from asrd.cli.managers.runner import ProcessRunner

    manager = _manager(system)
    plan = managing.plan_of(manager, running_program(), with_gpu=gpu, at_start=at_start)
    if print_:
        managing.show(plan)
    else:
        managing.install(plan, ProcessRunner(), is_forced=force)


@app.command()
def uninstall(
    system: ScopeOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Remove files that were changed by hand, too.")
    ] = False,
) -> None:
    """Stop the service and remove its files; configuration and models stay."""
    from asrd.cli.managers import managing
    from asrd.cli.managers.runner import ProcessRunner

    managing.uninstall(_manager(system), ProcessRunner(), is_forced=force)


@app.command()
def status(system: ScopeOption = None, json: StateJsonOption = False) -> None:
    """Say how the service is: written, enabled, running, answering.

    Exit code 0 when it runs or waits for its first client, 69 when not.
    """
    from asrd.cli.managers import standing
    from asrd.cli.managers.runner import ProcessRunner

    try:
        code = standing.tell(_manager(system), ProcessRunner(), is_json=json)
    except AsrdError as error:
        if json:
            standing.tell_trouble(error)
        raise typer.Exit(report(error)) from None
    raise typer.Exit(code)


@app.command()
def logs(
    system: ScopeOption = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=100_000, help="How many of the last.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
) -> None:
    """Print the service's log."""
    from asrd.cli.managers import managing
    from asrd.cli.managers.runner import ProcessRunner

    managing.show_log(_manager(system), ProcessRunner(), lines=lines, follow=follow)


def _manager(is_system: bool | None) -> "Manager":
    from asrd.cli.managers.base import Scope
    from asrd.cli.managers.choosing import choose

    if is_system is None:
        return choose(None)
    return choose(Scope.SYSTEM if is_system else Scope.USER)
