"""A service installed, removed, and its log shown, by whichever manager there is."""

import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asrd.cli.exits import CommandError, Exit, tell
from asrd.cli.managers import files
from asrd.cli.managers.base import Command, Done, Manager, Runner, Scope
from asrd.cli.managers.files import Found, ServiceFile
from asrd.cli.managers.program import needed, why_unreachable
from asrd.cli.printing import say

UNREACHABLE = "the service could not run this asrd"

ELSEWHERE = (
    "install asrd where every user may read it, as with `sudo python3 -m venv /opt/asrd && sudo "
    "/opt/asrd/bin/pip install .` in its source folder, and run that one; or use --user"
)

OUTSIDE_TMP = "install asrd in a folder that stays, such as ~/.local"

CONNECT_TIMEOUT_S = 2.0
"""Whoever listens is connected to at once."""

DENIED = ("access denied", "authentication", "not permitted", "permission denied")
"""In what a manager says to somebody who may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an installation writes; `problem`: why the service could not run, "" where it can.

    `at_start`: the daemon is not to wait for its first client.
    """

    manager: Manager
    files: tuple[ServiceFile, ...]
    problem: str
    at_start: bool = False

    @property
    def commands(self) -> tuple[Command, ...]:
        """What is run once the files are written."""
        return self.manager.on_install(at_start=self.at_start)


def plan_of(
    manager: Manager, program: Sequence[str], *, with_gpu: bool, at_start: bool = False
) -> Plan:
    """What is to be written for that program. Raises CommandError where it cannot be."""
    problem = why_unreachable(
        needed(program[0]),
        manager.hidden_folders,
        is_other_user=manager.scope is Scope.SYSTEM,
    )
    files = manager.files(program, with_gpu=with_gpu)
    return Plan(manager=manager, files=files, problem=problem, at_start=at_start)


def show(plan: Plan) -> None:
    """Print the files and the commands; nothing is changed."""
    for file in plan.files:
        say(f"# {file.path}\n{file.text}")
    say("# and then, once the service can run" if plan.problem else "# and then")
    say(_listed(plan.commands))
    _warn(plan)


def install(
    plan: Plan, runner: Runner, *, is_forced: bool, pause: Callable[[float], None] = time.sleep
) -> None:
    """Write the files, and have the manager start the service.

    A manager that does not answer is no error: the files wait for one that does. So they do where a
    user's service could not run, unless `is_forced`: it may be moved before it is started.

    Raises:
        CommandError: nothing is written, because the service could not run and is the machine's or
            would take the place of one that perhaps can; because a file was changed by hand and
            `is_forced` is false; or because another daemon has the socket. Or the manager refused.
    """
    manager = plan.manager
    found = {file: file.look() for file in plan.files}
    is_replacing = Found.OURS in found.values() and not is_forced
    if plan.problem and (manager.scope is Scope.SYSTEM or is_replacing):
        raise CommandError(f"{UNREACHABLE}: {plan.problem}", Exit.CONFIG, _way_out(plan))
    _warn(plan)
    changed = [file for file, what in found.items() if what is Found.CHANGED]
    if changed and not is_forced:
        for file in changed:
            print(file.difference(), file=sys.stderr)
        raise CommandError(
            f"{_paths(file.path for file in changed)} was changed by hand",
            Exit.CONFIG,
            "keep it, or give --force to write over it",
        )
    silence = manager.why_silent(runner)
    if not silence:
        _see_that_socket_is_free(manager, runner)
    for file, what in found.items():
        if what is Found.SAME:
            say(f"{file.path} is there already")
        else:
            file.write()
            say(f"wrote {file.path}")
    for path in manager.paths():
        if path not in {file.path for file in plan.files} and files.read(path) is not None:
            say(f"{path} stays: remove it yourself if it is no longer wanted")
    if silence:
        _tell_later(manager, silence, plan.commands)
        return
    if plan.problem and not is_forced:
        tell("it was not enabled, for it could not run: --force enables it all the same")
        say(f"once it can run:\n{_listed(plan.commands)}")
        return
    _run(manager, plan.commands, runner, pause)
    is_new = any(what is not Found.SAME for what in found.values())
    if is_new and manager.units(runner)[0].pid is not None:
        say(f"the daemon that runs keeps its old ways until: {_line(manager.restart())}")
    say(f"installed: {manager.keeps(at_start=plan.at_start)}")
    say("see `asrd service status`")


def uninstall(manager: Manager, runner: Runner, *, is_forced: bool) -> None:
    """Have the manager stop the service, and remove what an installation wrote.

    Raises:
        CommandError: nothing is removed, because a file was changed by hand and `is_forced` is
            false; or the manager refused.
    """
    present = [path for path in manager.paths() if files.read(path) is not None]
    if not present:
        say(f"no service of {manager.name} ({manager.scope}) is installed")
        return
    changed = [path for path in present if not files.is_ours(path)]
    if changed and not is_forced:
        raise CommandError(
            f"{_paths(changed)} was changed by hand, or is not of `asrd service install`",
            Exit.CONFIG,
            "remove it yourself, or give --force",
        )
    silence = manager.why_silent(runner)
    stopping = manager.before_removal(present)
    if not silence:
        _run(manager, stopping, runner)
    for path in present:
        files.remove(path)
        say(f"removed {path}")
    if silence:
        _tell_later(manager, silence, stopping + manager.after_removal())
    else:
        _run(manager, manager.after_removal(), runner)
    say("configuration, models and logs stay")


def show_log(manager: Manager, runner: Runner, *, lines: int, follow: bool) -> None:
    """Print the daemon's log on our own output. Raises CommandError where there is none."""
    argv = manager.log_command(lines=lines, follow=follow)
    code = runner.show(argv)
    if code:
        raise CommandError(
            f"`{shlex.join(argv)}` ended with {code}",
            Exit.UNAVAILABLE,
            "see `asrd service status` whether the service runs",
        )


def _warn(plan: Plan) -> None:
    if plan.problem:
        tell(f"{UNREACHABLE}: {plan.problem}: {_way_out(plan)}")


def _way_out(plan: Plan) -> str:
    return ELSEWHERE if plan.manager.scope is Scope.SYSTEM else OUTSIDE_TMP


def _see_that_socket_is_free(manager: Manager, runner: Runner) -> None:
    """A daemon that somebody started by hand would lose its socket to the manager, unheard.

    Raises:
        CommandError: there is one. Where the manager itself listens nobody is asked.
    """
    if not manager.has_socket(manager.units(runner)) and _is_listened_on(manager.socket):
        raise CommandError(
            f"a daemon that {manager.name} did not start listens at {manager.socket}",
            Exit.UNAVAILABLE,
            "stop it first",
        )


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except TimeoutError:  # its queue is full
            return True
        except OSError:
            return False
    return True


def _run(
    manager: Manager,
    commands: Iterable[Command],
    runner: Runner,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Run them one after the other. Raises CommandError at the first that fails and may not."""
    denied = "run it with sudo" if manager.scope is Scope.SYSTEM else "run it in your own session"
    for command in commands:
        done = _run_patiently(command, runner, pause)
        if done.code and not command.may_fail:
            is_denied = any(word in done.problem.lower() for word in DENIED)
            raise CommandError(
                f"`{_line(command)}` failed: {done.problem}",
                Exit.NOT_PERMITTED if is_denied else Exit.UNAVAILABLE,
                denied if is_denied else "see `asrd service status`",
            )


def _run_patiently(command: Command, runner: Runner, pause: Callable[[float], None]) -> Done:
    done = runner.run(command.argv)
    for pause_s in command.pauses_s:
        if done.code not in command.busy_codes:
            break
        pause(pause_s)
        done = runner.run(command.argv)
    return done


def _tell_later(manager: Manager, silence: str, commands: Sequence[Command]) -> None:
    """Say that no manager heard of it, and what to run where one does."""
    whose = "of yours" if manager.scope is Scope.USER else "of the machine"
    tell(f"no {manager.name} {whose} answers ({silence}); nothing was started or stopped")
    if commands:
        say(f"where it runs:\n{_listed(commands)}")


def _listed(commands: Iterable[Command]) -> str:
    return "\n".join(f"  {_line(command)}" for command in commands)


def _line(command: Command) -> str:
    return shlex.join(command.argv)


def _paths(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths))
