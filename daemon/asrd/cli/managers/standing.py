"""How the service stands: what its manager says of it, and what the daemon says itself."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from asrd.cli.exits import CommandError, Exit
from asrd.cli.figures import as_state
from asrd.cli.managers import files
from asrd.cli.managers.base import Manager, Runner, Unit
from asrd.cli.managers.files import read
from asrd.cli.plain import plain, plain_json
from asrd.cli.printing import say
from asrd.cli.tables import as_span, entry
from asrd.errors import AsrdError, ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that is known of a service."""

    manager: str
    scope: str
    is_installed: bool
    files: dict[str, str]
    """`ours` or `changed` for each file that is there."""
    silence: str
    """Why the manager does not answer; "" where it does."""
    units: tuple[Unit, ...] = ()
    socket: str
    daemon: str | None = None
    """The daemon's own state; None where it was not asked, for asking would start it."""
    is_ready: bool | None = None
    is_permitted: bool = True
    """False where a daemon that runs may not be asked by us: others may be served well."""
    problem: str = ""
    """Why the daemon gave no answer."""

    @property
    def is_well(self) -> bool:
        """Whether a client is served: by a daemon that runs, or by one that it starts.

        Of a daemon that we may not ask, the manager knows.
        """
        if self.daemon is not None:
            return bool(self.is_ready)
        has_failed = self.problem and self.is_permitted
        return not has_failed and any(unit.is_active for unit in self.units)


def tell(manager: Manager, runner: Runner, *, is_json: bool) -> Exit:
    """Print how it is; returns the exit code."""
    import asyncio

    standing = asyncio.run(look(manager, runner))
    if is_json:
        from asrd.cli.transcripts import to_json

        say(plain_json(to_json(_fields(standing))))
    else:
        say("\n".join(_lines(standing, manager.service)))
    return Exit.OK if standing.is_well else Exit.UNAVAILABLE


def tell_trouble(error: AsrdError) -> None:
    """Print as JSON that it cannot be told how it is."""
    from asrd.cli.transcripts import to_json

    say(plain_json(to_json({"is_well": False, "problem": str(error)})))


async def look(manager: Manager, runner: Runner) -> Standing:
    """Ask the manager, and the daemon where one runs: a socket that is only listened on stays so.

    Raises:
        CommandError: the manager answers and does not tell of our units.
    """
    present = {path: files.is_ours(path) for path in manager.paths() if read(path) is not None}
    silence = manager.why_silent(runner)
    units = () if silence else manager.units(runner)
    standing = Standing(
        manager=manager.name,
        scope=manager.scope.value,
        is_installed=bool(present) or any(unit.is_known for unit in units),
        files={str(path): "ours" if is_ours else "changed" for path, is_ours in present.items()},
        silence=silence,
        units=units,
        socket=str(manager.socket),
    )
    if not (silence or units[0].is_active):
        return standing
    return await _with_daemon(standing, manager.socket)


async def _with_daemon(standing: Standing, socket: Path) -> Standing:
    from asrd.cli.reach import answered, running

    try:
        async with running(socket) as client:
            health = await answered(client.health())
    except AsrdError as error:
        # The remedy would be to start one by hand, which is the service's own business.
        cause = error.__cause__ if isinstance(error, CommandError) else None
        return replace(
            standing, problem=str(cause or error), is_permitted=not _is_forbidden(cause or error)
        )
    return replace(standing, daemon=health.state, is_ready=health.ready)


def _is_forbidden(error: BaseException) -> bool:
    """Whether the socket's mode keeps us out, or the daemon itself."""
    from asrd.client import Refused

    if isinstance(error, Refused):
        return error.code == ErrorCode.UNAUTHORIZED
    return isinstance(error.__cause__, PermissionError)


def _fields(standing: Standing) -> dict[str, Any]:
    fields = asdict(standing)
    for unit, shown in zip(standing.units, fields["units"], strict=True):
        shown["is_active"] = unit.is_active
    return {**fields, "is_well": standing.is_well}


# ── as text ───────────────────────────────────────────────────────────────────────────────────


def _lines(standing: Standing, service: str) -> list[str]:
    head = f"{standing.manager} ({standing.scope}): "
    if standing.silence:
        lines = entry(head, [f"does not answer: {plain(standing.silence)}"])
    elif standing.is_installed:
        lines = entry(head, ["answers"])
    else:
        lines = entry(head, [f"knows no {service}"])
    for unit in standing.units:
        if unit.is_known:
            lines += entry(f"  {unit.name}: ", map(plain, _facts(unit)))
    for path, whose in standing.files.items():
        lines.append(f"  {plain(path)}{'' if whose == 'ours' else ' (changed by hand)'}")
    if not standing.is_installed:
        lines.append(f"  not installed: asrd service install --{standing.scope}")
    lines += entry("daemon: ", map(plain, _of_daemon(standing)))
    return lines


def _facts(unit: Unit) -> Sequence[str]:
    state = unit.state + (f" ({unit.sub_state})" if unit.sub_state not in ("", unit.state) else "")
    if unit.active_s is not None:
        state += f" for {as_span(unit.active_s)}"
    restarts = f"{unit.restarts} restarts" if unit.restarts != 1 else "1 restart"
    return [
        state,
        unit.enablement,
        f"pid {unit.pid}" if unit.pid else "",
        restarts if unit.restarts else "",
        f"result {unit.result}" if unit.result not in ("", "success") else "",
        unit.says,
    ]


def _of_daemon(standing: Standing) -> Sequence[str]:
    if not standing.is_permitted:
        state = "runs, and " if standing.is_well else ""
        whom = "it serves root and whom its socket and its configuration admit"
        return [f"{state}you are not permitted to ask it ({standing.problem}): {whom}"]
    if standing.problem:
        return [standing.problem]
    if standing.daemon is None:
        is_waiting = any(unit.is_active for unit in standing.units)
        return ["starts with its first client" if is_waiting else "does not run"]
    state = as_state(standing.daemon, is_ready=bool(standing.is_ready))
    return [f"{state}, at {standing.socket}"]
