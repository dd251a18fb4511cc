"""Real daemons as child processes."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flow.independent_client import Client
from flow.protocol_rules import Message, require

START_PATIENCE_S = 30.0


DECODE_S = 1.5
SLOW = ("-o", f"latency_ms={1000 * DECODE_S:.0f}")
"""A provider that takes a second and a half for each decode."""


class Daemon:
    """`asrd serve --socket` with the provider echo, in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.path = folder / "asrd.sock"
        self.errors = folder / "errors.log"
        command = [sys.executable, "-m", "asrd", "serve", "--socket", str(self.path)]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, "--provider", "echo", *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_PATIENCE_S
        while True:
            require(self.process.poll() is None, "it ended", self.errors.read_text()[-2000:])
            require(time.monotonic() < deadline, "it never listened", self.errors.read_text())
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(str(self.path))
                except (FileNotFoundError, ConnectionRefusedError):
                    time.sleep(0.02)
                else:
                    return

    def connect(self) -> Client:
        """A client that has said nothing yet."""
        return Client.over_socket(self.path)

    def greet(self) -> Client:
        """A client that has said hello."""
        client = self.connect()
        client.hello()
        return client

    def resume(self, welcome: Message, *, have: dict[int, int]) -> tuple[Client, Message]:
        """A new connection that goes on with the session of an old one, and its welcome.

        `have` names every stream of the session; -1 is one of which no segment was received.
        """
        client = self.connect()
        for stream, last in have.items():
            client.knows(stream, last + 1)
        known = {stream: last for stream, last in have.items() if last >= 0}
        return client, client.hello(resume=welcome["resume"], have=known)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running_daemon(folder: Path, *options: str) -> Iterator[Daemon]:
    daemon = Daemon(folder, *options)
    try:
        yield daemon
    finally:
        daemon.kill()


def stdio_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "asrd", "serve", "--stdio", "--provider", "echo", *options]


@contextmanager
def stdio_daemon(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`asrd serve --stdio` on two pipes."""
    process = subprocess.Popen(
        stdio_command(*options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
