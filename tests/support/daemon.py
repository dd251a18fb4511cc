"""A real daemon in a child process, on a socket of its own, and a look at its workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from support.waiting import PATIENCE_S, wait_until
from support.wire_client import WireClient

TESTS = Path(__file__).parent.parent
START_PATIENCE_S = 30.0

LOG_LAG_S = 0.01
"""Many times what passes between a line of the log and its being written."""


def install_plugins(folder: Path, plugins: Mapping[str, str]) -> Path:
    """Make modules known as installed plugins; the folder returned belongs on PYTHONPATH.

    `plugins` maps entry-point names to import paths.
    """
    info = folder / "asrd_plugins_under_test-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: asrd-plugins-under-test\nVersion: 1.0\n")
    lines = [f"{name} = {module}" for name, module in plugins.items()]
    (info / "entry_points.txt").write_text("\n".join(["[asrd]", *lines, ""]))
    return folder


def environment(*folders: Path) -> dict[str, str]:
    """This process's environment, with the tests and `folders` on the path of Python."""
    path = os.pathsep.join(map(str, (*folders, TESTS)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error"}


def command(
    socket: Path | None,
    *,
    provider: str = "echo",
    settings: Mapping[str, Any] | None = None,
    eager: bool = True,
    use: Mapping[str, Any] | None = None,
    providers: Mapping[str, Any] | None = None,
    **more: Any,
) -> list[str]:
    """How to start a daemon: on `socket`, or on stdin and stdout when there is none.

    `use` is the configuration of `provider` beside its `settings`, `providers` that of others, and
    `more` whatever else `Config` has.
    """
    own = {"loading": "eager" if eager else "lazy", "settings": dict(settings or {}), **(use or {})}
    wish = {
        "socket": None if socket is None else str(socket),
        "provider": provider,
        "providers": {provider: own, **(providers or {})},
        **more,
    }
    return [sys.executable, "-P", "-m", "support.daemon_program", json.dumps(wish)]


class Daemon:
    """A running daemon."""

    def __init__(self, folder: Path, plugin_folders: Sequence[Path] = (), **config: Any) -> None:
        self.path = folder / "d" / "s"
        self.stderr_path = folder / "stderr"
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                command(self.path, **config),
                env=environment(*plugin_folders),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> WireClient:
        """A client that has said nothing yet; waits until somebody listens."""

        def try_once() -> WireClient | None:
            assert self.process.poll() is None, self.stderr
            try:
                return WireClient(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                return None

        return wait_until(try_once, "a listening socket", START_PATIENCE_S)

    def greet(self, **fields: Any) -> WireClient:
        """A client that has said hello."""
        client = self.connect()
        client.hello(**fields)
        return client

    def wait_until_ready(self) -> None:
        with self.greet() as client:
            wait_until(lambda: client.health().ready, "a daemon that is ready", START_PATIENCE_S)

    # ── what it wrote, what it started ────────────────────────────────────────────────────────

    @property
    def stderr(self) -> str:
        """What it wrote so far. A thread of the daemon's writes its log: this waits until it has
        written what there was to write just now."""
        size = -1
        while size != (size := self.stderr_path.stat().st_size):
            time.sleep(LOG_LAG_S)
        return self.stderr_path.read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        lines = self.stderr.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    @property
    def strays(self) -> list[str]:
        """What is on stderr and no line of the log, such as a traceback."""
        return [line for line in self.stderr.splitlines() if not line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]

    def worker(self, name: str) -> int:
        """The process id of the worker that last became ready under that name."""

        def look() -> int | None:
            ready = [line["pid"] for line in self.logged("model_ready") if line["worker"] == name]
            return ready[-1] if ready else None

        return wait_until(look, f"a worker {name}")

    @property
    def worker_pids(self) -> list[int]:
        """Every living child."""
        children = psutil.Process(self.pid).children(recursive=True)
        return [child.pid for child in children if is_alive(child.pid)]

    # ── its end ───────────────────────────────────────────────────────────────────────────────

    def terminate(self, patience_s: float = PATIENCE_S) -> int:
        """Ask it to end; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running_daemon(
    folder: Path, plugin_folders: Sequence[Path] = (), **config: Any
) -> Iterator[Daemon]:
    """A daemon that is ready, or, with `eager=False`, one that listens."""
    folder.mkdir(exist_ok=True)
    daemon = Daemon(folder, plugin_folders, **config)
    try:
        if config.get("eager", True):
            daemon.wait_until_ready()
        else:
            daemon.connect().socket.close()
        yield daemon
    finally:
        daemon.kill()


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
