"""`asrd doctor`: what this machine can run, what is wrong with it, and what to start."""

import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from asrd.cli.exits import CommandError, Exit
from asrd.cli.options import SocketOption, StateJsonOption, write_settings
from asrd.cli.printing import say
from asrd.errors import AsrdError, ProviderError

if TYPE_CHECKING:
    from asrd.cli.checks import Check
    from asrd.providers.inspection import Inspection
    from asrd.providers.recommendation import Recommendation


def doctor(json: StateJsonOption = False, socket: SocketOption = None) -> None:
    """Examine this machine and recommend a model.

    Exit code 0 when a model can run, 69 when none can.
    """
    import asyncio

    from asrd.cli import checks as look
    from asrd.cli.known_models import read_known_models
    from asrd.cli.progress import waiting
    from asrd.paths import default_socket_path
    from asrd.providers.inspection import inspect
    from asrd.providers.recommendation import recommend

    path = socket or default_socket_path()
    problem = ""
    found = None
    with waiting("examining the machine"):
        inspection = inspect()
        known = read_known_models()
        checks = [
            *look.of_machine(inspection),
            *look.of_engines(known),
            look.of_socket(path),
            asyncio.run(_of_daemon(path)),
            look.of_services(),
        ]
        try:
            found = recommend(inspection.machine, known.registry)
        except ProviderError as error:
            problem = str(error)
    if json:
        say(_as_json(checks, inspection, found, problem, socket))
    else:
        say(_as_text(checks, found, socket))
    if found is None:
        raise CommandError(problem, Exit.UNAVAILABLE)


async def _of_daemon(path: Path) -> "Check":
    from asrd.cli.checks import Check, Verdict
    from asrd.cli.figures import as_state
    from asrd.cli.reach import answered, running
    from asrd.client import Unreachable

    try:
        async with running(path) as client:
            health = await answered(client.health())
    except CommandError as error:
        if isinstance(error.__cause__, Unreachable):
            return Check(check="daemon", finding="none answers")  # it need not run
        return Check(check="daemon", finding=str(error), verdict=Verdict.WARN)
    except AsrdError as error:
        remedy = "look at its log, or start it again"
        return Check(check="daemon", finding=str(error), verdict=Verdict.WARN, remedy=remedy)
    return Check(
        check="daemon",
        finding=f"answers, {as_state(health.state, is_ready=health.ready)}",
        verdict=Verdict.OK if health.ready else Verdict.WARN,
        remedy="" if health.ready else "asrd health",
    )


def _as_text(checks: "Iterable[Check]", found: "Recommendation | None", socket: Path | None) -> str:
    from asrd.cli.tables import as_size, fold, render

    checks = list(checks)
    rows = [(check.check, check.verdict.value, check.finding) for check in checks]
    lines = [render(("CHECK", "VERDICT", ""), rows)]
    remedies = [f"{check.check}: {check.remedy}" for check in checks if check.remedy]
    lines += ["", *remedies] if remedies else []
    if found is None:
        return "\n".join(lines)
    settings = ", ".join(_assignments(found))
    size = as_size(found.memory_bytes)
    lines += [
        f"\nrecommended: {found.provider}, model {found.model}",
        *([f"  {settings}"] if settings else []),
        f"  {found.models_that_fit} of them fit in memory{f', each {size}' if size else ''}",
        fold(found.reason),
        f"  {start_command(found, socket)}",
    ]
    lines += [fold(note) for note in found.notes]
    if found.better is not None:
        better = f"{found.better.provider}/{found.better.model}"
        lines += [f"\n{better} would read better here and is not present:\n  {found.better.remedy}"]
    return "\n".join(lines)


def _as_json(
    checks: "Iterable[Check]",
    inspection: "Inspection",
    found: "Recommendation | None",
    problem: str,
    socket: Path | None,
) -> str:
    from asrd.cli.transcripts import to_json

    recommendation = None
    if found is not None:
        recommendation = {**asdict(found), "command": start_command(found, socket)}
    return to_json(
        {
            "checks": [asdict(check) for check in checks],
            **asdict(inspection),
            "recommendation": recommendation,
            "problem": problem,
        }
    )


def start_command(found: "Recommendation", socket: Path | None) -> str:
    """The command line that serves what is recommended."""
    arguments = ["asrd", "serve"]
    if socket is not None:
        arguments += ["--socket", str(socket)]
    arguments += ["--provider", found.provider, "--model", found.model]
    for assignment in _assignments(found):
        arguments += ["--option", assignment]
    return shlex.join(arguments)


def _assignments(found: "Recommendation") -> list[str]:
    """`key=value` of each setting; one without a provider's name is that of the one in use."""
    prefix = f"--option={found.provider}."
    written = write_settings({found.provider: found.settings})
    return [option.removeprefix(prefix) for option in written]
