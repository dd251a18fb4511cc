"""What every service manager is asked for. Commands are data here; who runs them is handed in."""

import abc
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol

from asrd.cli.managers.files import ServiceFile


class Scope(StrEnum):
    """Whose service it is."""

    USER = "user"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command left behind. `err` says why where it could not be run or took too long."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def problem(self) -> str:
        """Its last words, for a person."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip() if lines else f"it ended with {self.code}"


class Runner(Protocol):
    """Runs programs, each from a list of arguments and never through a shell."""

    def run(self, argv: Sequence[str], *, timeout_s: float = ...) -> Done:
        """Run to the end and take what it prints. Never raises for what the program does."""
        ...

    def show(self, argv: Sequence[str]) -> int:
        """Run with our own stdout and stderr; returns the exit code. Raises CommandError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of the manager's own program. `may_fail`: that it fails is no problem.

    Where it ends with one of `busy_codes` it is run again, after each of `pauses_s`.
    """

    argv: tuple[str, ...]
    may_fail: bool = False
    busy_codes: tuple[int, ...] = ()
    pauses_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How the manager has one of its units; "" and None where it does not say."""

    name: str
    path: str = ""
    is_known: bool = False
    enablement: str = ""
    state: str = ""
    sub_state: str = ""
    pid: int | None = None
    active_s: float | None = None
    """How long it has been in this state."""
    restarts: int | None = None
    result: str = ""
    says: str = ""
    """What the service last told about itself."""

    @property
    def is_active(self) -> bool:
        """Whether it runs, or listens."""
        return self.state in ("active", "reloading", "activating")


class Manager(abc.ABC):
    """A service manager, with one scope."""

    name: ClassVar[str]
    service: ClassVar[str]
    """The unit that is the daemon."""

    scope: Scope
    socket: Path
    """Where the daemon of this service listens."""

    @property
    @abc.abstractmethod
    def hidden_folders(self) -> tuple[Path, ...]:
        """What the service does not see of the machine's files."""

    @abc.abstractmethod
    def files(self, program: Sequence[str], *, with_gpu: bool) -> tuple[ServiceFile, ...]:
        """What to write for that program. Raises CommandError where it cannot be written so."""

    @abc.abstractmethod
    def paths(self) -> tuple[Path, ...]:
        """All files that an installation may have written."""

    @abc.abstractmethod
    def why_silent(self, runner: Runner) -> str:
        """Why no such manager answers here; "" where one does."""

    @abc.abstractmethod
    def on_install(self, *, at_start: bool) -> tuple[Command, ...]:
        """What is run once the files are written. `at_start`: it does not wait for a client."""

    @abc.abstractmethod
    def before_removal(self, present: Collection[Path]) -> tuple[Command, ...]:
        """What is run before the files that are present are removed."""

    @abc.abstractmethod
    def after_removal(self) -> tuple[Command, ...]:
        """What is run once they are removed."""

    @abc.abstractmethod
    def restart(self) -> Command:
        """What makes a running daemon go by what has been written."""

    @abc.abstractmethod
    def units(self, runner: Runner) -> tuple[Unit, ...]:
        """How it has our units, the service first. Raises CommandError where it does not say."""

    @abc.abstractmethod
    def log_command(self, *, lines: int, follow: bool) -> tuple[str, ...]:
        """What prints the daemon's log."""

    @abc.abstractmethod
    def keeps(self, *, at_start: bool) -> str:
        """When the daemon runs, and what is still to be done for that, or for those it serves."""

    def has_socket(self, units: Sequence[Unit]) -> bool:
        """Whether it listens by itself, so that a connection would start the daemon."""
        return any(unit.is_active for unit in units)
