"""Telling systemd how the service is: sd_notify(3), one datagram per message.

Never blocks: a manager that does not read costs the message, not the daemon.
"""

import os
import socket

import structlog

log = structlog.get_logger()


def notify(state: str) -> None:
    """Send e.g. `READY=1` to the service manager, if there is one that asked for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.setblocking(False)
        try:
            channel.sendto(state.encode(), address)
        except OSError as error:
            log.warning("notify_failed", state=state, problem=str(error))
