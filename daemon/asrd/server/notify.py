"""The service manager that has started us, and what it is told: sd_notify(3).

Each message is one datagram. It never waits: a manager that does not read costs the message, not
the daemon.
"""

import os
import socket
import time
from collections.abc import MutableMapping

import structlog

log = structlog.get_logger()


class ServiceManager:
    """Tells systemd how the service is, where it has asked for that in `environment`.

    The variables are taken out: what our children say is not for the manager to hear. The socket
    is opened here and kept, so that no sign of life stays out for want of a descriptor.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", str(os.getpid()))
        is_ours = pid == str(os.getpid()) and usec.isascii() and usec.isdigit()
        self.watchdog_s = int(usec) / 1e6 if address and is_ours and int(usec) else None
        """How long it waits for a sign of life before it ends us; None: it does not watch."""
        if address.startswith("@"):  # Linux's abstract namespace
            address = "\0" + address[1:]
        self._address = address
        self._channel: socket.socket | None = None
        if address:
            self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._channel.setblocking(False)
        self._is_ready = False
        self._has_failed = False

    def ready(self) -> None:
        """The socket answers."""
        self._is_ready = True
        self._tell("READY=1")

    def status(self, text: str) -> bool:
        """One line for people, as `systemctl status` shows it; returns whether it was taken."""
        line = "".join(char if char.isprintable() else "?" for char in text)
        return self._tell(f"STATUS={line}")  # a line break in a name would begin another message

    def alive(self) -> None:
        """A sign of life; see `watchdog_s`."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is read again. Said of a service that is ready only: before, the
        manager knows of no reload."""
        if self._is_ready:
            self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """It has been read."""
        if self._is_ready:
            self._tell("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def close(self) -> None:
        """There is nothing more to be told."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _tell(self, message: str) -> bool:
        if self._channel is None:
            return False
        try:
            self._channel.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._has_failed:  # said once: a sign of life comes every few seconds
                log.warning("notify_failed", state=message, problem=str(error))
            self._has_failed = True
            return False
        return True
