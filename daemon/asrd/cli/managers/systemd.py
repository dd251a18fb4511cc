"""systemd: of the machine, or of the user."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from asrd.cli.exits import CommandError, Exit
from asrd.cli.managers.base import Command, Done, Manager, Runner, Scope, Unit
from asrd.cli.managers.files import ServiceFile, signed
from asrd.cli.managers.templates import read_template, with_exec_start

SERVICE, SOCKET = "asrd.service", "asrd.socket"
GPU = "asrd.service.d/gpu.conf"

ALIVE = ("initializing", "starting", "running", "degraded", "maintenance", "stopping")
"""What `systemctl is-system-running` says of a manager that takes commands."""

SHOWN = (
    "Id",
    "LoadState",
    "FragmentPath",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "StateChangeTimestampMonotonic",
    "MainPID",
    "NRestarts",
    "Result",
    "StatusText",
)

HIDDEN = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - named, not used
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))

ASK_TIMEOUT_S = 10.0


ADMITTING = """\
root alone may connect to {socket}; to admit a group, such as audio:
  systemctl edit asrd.socket   [Socket]
                               SocketGroup=audio
                               SocketMode=0660
  /etc/asrd/config.toml        [access]
                               groups = ["audio"]
  systemctl restart asrd.socket asrd.service
and its members say where it is: asrd pipe --socket {socket}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Systemd(Manager):
    """The units asrd.socket and asrd.service in `folder`."""

    name: ClassVar[str] = "systemd"
    service: ClassVar[str] = SERVICE

    scope: Scope
    folder: Path
    socket: Path
    now_s: Callable[[], float] = time.monotonic
    """The clock of systemd's monotonic timestamps."""

    @classmethod
    def of(cls, scope: Scope, environment: Mapping[str, str], *, home: Path, uid: int) -> "Systemd":
        """The manager with the folders that it looks into."""
        if scope is Scope.SYSTEM:
            folder, runtime = Path("/etc/systemd/system"), Path("/run")
        else:
            configuration = Path(environment.get("XDG_CONFIG_HOME", ""))
            if not configuration.is_absolute():  # systemd ignores such, too
                configuration = home / ".config"
            folder = configuration / "systemd" / "user"
            runtime = Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}")
        return cls(scope=scope, folder=folder, socket=runtime / "asrd" / "asrd.sock")

    @property
    def hidden_folders(self) -> tuple[Path, ...]:
        """See `Manager`. The units have PrivateTmp, that of the machine ProtectHome besides."""
        return HIDDEN if self.scope is Scope.USER else HIDDEN + HOMES

    def files(self, program: Sequence[str], *, with_gpu: bool) -> tuple[ServiceFile, ...]:
        """See `Manager`."""
        prefix = "user/" if self.scope is Scope.USER else ""
        service = with_exec_start(read_template("systemd", prefix + SERVICE), program)
        texts = {SERVICE: service, SOCKET: read_template("systemd", prefix + SOCKET)}
        if with_gpu:
            texts[GPU] = read_template("systemd", GPU)
        return tuple(
            ServiceFile(path=self.folder / name, text=signed(text)) for name, text in texts.items()
        )

    def paths(self) -> tuple[Path, ...]:
        """See `Manager`."""
        return tuple(self.folder / name for name in (GPU, SERVICE, SOCKET))

    def why_silent(self, runner: Runner) -> str:
        """See `Manager`."""
        done = runner.run(self._systemctl("is-system-running"), timeout_s=ASK_TIMEOUT_S)
        if done.out.strip() in ALIVE:
            return ""
        return done.problem

    def on_install(self, *, at_start: bool) -> tuple[Command, ...]:
        """See `Manager`."""
        units = (SOCKET, SERVICE) if at_start else (SOCKET,)
        return (self._command("daemon-reload"), self._command("enable", "--now", *units))

    def before_removal(self, present: Collection[Path]) -> tuple[Command, ...]:
        """See `Manager`. To disable a unit without a file is an error; it may run all the same."""
        there = [unit for unit in (SOCKET, SERVICE) if self.folder / unit in present]
        gone = [unit for unit in (SOCKET, SERVICE) if unit not in there]
        stopping = Command(argv=self._systemctl("stop", *gone), may_fail=True)
        disabling = self._command("disable", "--now", *there)
        return ((stopping,) if gone else ()) + ((disabling,) if there else ())

    def after_removal(self) -> tuple[Command, ...]:
        """See `Manager`."""
        forget = Command(argv=self._systemctl("reset-failed", SERVICE, SOCKET), may_fail=True)
        return (self._command("daemon-reload"), forget)

    def restart(self) -> Command:
        """See `Manager`."""
        return self._command("restart", SERVICE)

    def units(self, runner: Runner) -> tuple[Unit, ...]:
        """See `Manager`."""
        properties = f"--property={','.join(SHOWN)}"
        argv = self._systemctl("show", properties, SERVICE, SOCKET)
        done: Done = runner.run(argv, timeout_s=ASK_TIMEOUT_S)
        found = {unit.name: unit for unit in self._read(done.out)}
        if done.code or found.keys() < {SERVICE, SOCKET}:
            raise CommandError(f"systemd does not tell: {done.problem}", Exit.UNAVAILABLE)
        return found[SERVICE], found[SOCKET]

    def log_command(self, *, lines: int, follow: bool) -> tuple[str, ...]:
        """See `Manager`."""
        scope = ["--user"] if self.scope is Scope.USER else []
        following = ["--follow"] if follow else []
        return ("journalctl", *scope, "--unit=asrd", f"--lines={lines}", "--no-pager", *following)

    def keeps(self, *, at_start: bool) -> str:
        """See `Manager`."""
        if self.scope is Scope.SYSTEM:
            begins = "with the machine" if at_start else "with its first client, after boots too"
            return f"it starts {begins}\n{ADMITTING.format(socket=self.socket)}"
        begins = "now and with each login" if at_start else "with its first client"
        return (
            f"it starts {begins}, and ends with your last session; on a server let it outlast "
            "that: loginctl enable-linger"
        )

    def _command(self, *arguments: str) -> Command:
        return Command(argv=self._systemctl(*arguments))

    def _systemctl(self, *arguments: str) -> tuple[str, ...]:
        scope = ["--user"] if self.scope is Scope.USER else []
        return ("systemctl", *scope, *arguments)

    def _read(self, shown: str) -> Iterator[Unit]:
        """The units in what `systemctl show` printed, a paragraph for each."""
        for paragraph in shown.split("\n\n"):
            pairs = [line.partition("=") for line in paragraph.splitlines()]
            values = {key: value.strip() for key, _, value in pairs}
            since_us = _number(values, "StateChangeTimestampMonotonic")
            if values.get("Id"):
                yield Unit(
                    name=values["Id"],
                    path=values.get("FragmentPath", ""),
                    is_known=values.get("LoadState") != "not-found",
                    enablement=values.get("UnitFileState", ""),
                    state=values.get("ActiveState", ""),
                    sub_state=values.get("SubState", ""),
                    pid=_number(values, "MainPID") or None,
                    active_s=max(0.0, self.now_s() - since_us / 1e6) if since_us else None,
                    restarts=_number(values, "NRestarts"),
                    result=values.get("Result", ""),
                    says=values.get("StatusText", ""),
                )


def _number(values: Mapping[str, str], key: str) -> int | None:
    text = values.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else None
