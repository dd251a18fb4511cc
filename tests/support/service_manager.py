"""A service manager that hears what a daemon tells it: sd_notify(3), from the other end."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

PATIENCE_S = 60.0

BESIDE = ("STATUS=", "WATCHDOG=1")
"""What is told again and again, between whatever else is."""


class HearingManager:
    """Reads what is sent to the socket at `path`, the value of NOTIFY_SOCKET.

    The kernel may hold as few as ten messages that were not read, and drops none: who does not wait
    loses what he has to say. `listen` reads all the time, as systemd does.
    """

    def __init__(self, path: Path, channel: socket.socket) -> None:
        self.path = path
        self._channel = channel
        self._came: SimpleQueue[str] | None = None
        self.heard: list[str] = []

    def listen(self) -> None:
        """Read in a thread from now on, until the socket is shut."""
        self._came = SimpleQueue()
        threading.Thread(target=self._listen, args=(self._came,), daemon=True).start()

    def _listen(self, came: "SimpleQueue[str]") -> None:
        self._channel.settimeout(None)
        with suppress(OSError):
            while message := self._channel.recv(4096):
                came.put(message.decode())

    def receive(self) -> str:
        """The next message; waits for it."""
        if self._came is None:
            message = self._channel.recv(4096).decode()
        else:
            message = self._came.get(timeout=PATIENCE_S)
        self.heard.append(message)
        return message

    def until(self, is_it: Callable[[str], bool]) -> str:
        """The next message that is so; the others are in `heard`."""
        while not is_it(message := self.receive()):
            pass
        return message

    def state(self) -> str:
        """The next message that is neither a status nor a sign of life."""
        return self.until(lambda message: not message.startswith(BESIDE))

    def drain(self) -> list[str]:
        """Everything that came so far."""
        if self._came is not None:
            with suppress(Empty):
                while True:
                    self.heard.append(self._came.get_nowait())
            return self.heard
        self._channel.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.receive()
        self._channel.settimeout(PATIENCE_S)
        return self.heard


@contextmanager
def hearing_manager(folder: Path) -> Iterator[HearingManager]:
    """A manager whose socket is in `folder`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(folder / "notify"))
        channel.settimeout(PATIENCE_S)
        yield HearingManager(folder / "notify", channel)
        channel.shutdown(socket.SHUT_RD)  # a thread that reads ends
