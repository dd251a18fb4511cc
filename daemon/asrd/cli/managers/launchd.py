"""launchd: an agent of the user who is logged in."""

import plistlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from asrd.cli.managers.base import Command, Manager, Runner, Scope, Unit
from asrd.cli.managers.files import ServiceFile, read_bytes, signed
from asrd.cli.managers.templates import for_user, read_template, with_program_arguments
from asrd.paths import default_socket_path

LABEL = "org.asrd.asrd"
PLIST = f"{LABEL}.plist"
ASK_TIMEOUT_S = 10.0

BUSY_CODES = (5, 37)
"""EIO and EALREADY: how `launchctl bootstrap` ends while the agent of before is still ending."""

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 5.0)
"""Together the agent's ExitTimeOut, behind which launchd kills what is left of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launchd(Manager):
    """The agent in ~/Library/LaunchAgents."""

    name: ClassVar[str] = "launchd"
    service: ClassVar[str] = LABEL

    home: Path
    uid: int
    scope: Scope = Scope.USER
    socket: Path = field(default_factory=default_socket_path)

    @property
    def path(self) -> Path:
        """The agent's file."""
        return self.home / "Library" / "LaunchAgents" / PLIST

    @property
    def hidden_folders(self) -> tuple[Path, ...]:
        """See `Manager`: an agent sees what its user sees."""
        return ()

    def files(self, program: Sequence[str], *, with_gpu: bool) -> tuple[ServiceFile, ...]:
        """See `Manager`. Metal needs nothing that an agent does not have."""
        text = with_program_arguments(self._shipped(), program)
        return (ServiceFile(path=self.path, text=signed(text)),)

    def paths(self) -> tuple[Path, ...]:
        """See `Manager`."""
        return (self.path,)

    def why_silent(self, runner: Runner) -> str:
        """See `Manager`."""
        done = runner.run(("launchctl", "print", self._domain), timeout_s=ASK_TIMEOUT_S)
        return "" if done.code == 0 else done.problem

    def on_install(self, *, at_start: bool) -> tuple[Command, ...]:
        """See `Manager`. What is loaded already has to go before it can be loaded anew.

        An agent starts at login in any case.
        """
        return (
            Command(argv=("launchctl", "bootout", self._target), may_fail=True),
            Command(argv=("launchctl", "enable", self._target)),
            Command(
                argv=("launchctl", "bootstrap", self._domain, str(self.path)),
                busy_codes=BUSY_CODES,
                pauses_s=PAUSES_S,
            ),
        )

    def before_removal(self, present: Collection[Path]) -> tuple[Command, ...]:
        """See `Manager`."""
        return (Command(argv=("launchctl", "bootout", self._target), may_fail=True),)

    def after_removal(self) -> tuple[Command, ...]:
        """See `Manager`."""
        return ()

    def restart(self) -> Command:
        """See `Manager`."""
        return Command(argv=("launchctl", "kickstart", "-k", self._target))

    def units(self, runner: Runner) -> tuple[Unit, ...]:
        """See `Manager`."""
        done = runner.run(("launchctl", "print", self._target), timeout_s=ASK_TIMEOUT_S)
        if done.code:
            return (Unit(name=LABEL),)
        state = _value(done.out, "state")
        pid = _value(done.out, "pid")
        ended = _value(done.out, "last exit code")
        unit = Unit(
            name=LABEL,
            path=_value(done.out, "path"),
            is_known=True,
            enablement="loaded",
            state="active" if state == "running" else "inactive",
            sub_state=state,
            pid=int(pid) if pid.isdigit() else None,
            result="" if ended in ("", "0", "(never exited)") else f"exit code {ended}",
        )
        return (unit,)

    def log_command(self, *, lines: int, follow: bool) -> tuple[str, ...]:
        """See `Manager`."""
        following = ["-F"] if follow else []
        return ("tail", "-n", str(lines), *following, self._log_path())

    def keeps(self, *, at_start: bool) -> str:
        """See `Manager`."""
        return "it runs while you are logged in"

    def has_socket(self, units: Sequence[Unit]) -> bool:
        """See `Manager`. launchd listens for every agent that it knows."""
        return any(unit.is_known for unit in units)

    @property
    def _domain(self) -> str:
        return f"gui/{self.uid}"

    @property
    def _target(self) -> str:
        return f"{self._domain}/{LABEL}"

    def _shipped(self) -> str:
        return for_user(read_template("launchd", PLIST), home=self.home, socket=self.socket)

    def _log_path(self) -> str:
        """Where the agent's stderr goes: as it is installed, else as it is shipped."""
        installed = read_bytes(self.path) or b""
        return _stderr_of(installed) or _stderr_of(self._shipped().encode())


def _stderr_of(agent: bytes) -> str:
    """What a property list, binary or not, says of it; "" where it says nothing or is none."""
    try:
        found = plistlib.loads(agent)["StandardErrorPath"]
    except Exception:  # noqa: BLE001 - plistlib raises whatever a broken file makes it stumble over
        return ""
    return found if isinstance(found, str) else ""


def _value(printed: str, key: str) -> str:
    """What `launchctl print` says behind `key = `, at the outermost level."""
    found = re.search(rf"^\t{re.escape(key)} = (.*)$", printed, re.MULTILINE)
    return found[1].strip() if found else ""
