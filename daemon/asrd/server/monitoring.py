"""The optional listener that monitoring reads: its address, and its life.

TCP is for loopback: any user of the machine can connect there, nobody from outside. A Unix socket
is for the daemon's own user and root. Nothing else is bound unless the configuration says so twice.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from asrd.config import Access, Monitoring
from asrd.errors import StartupError
from asrd.exit_codes import Exit
from asrd.server.admission import admission_of
from asrd.server.listeners import bound_socket
from asrd.server.sight import Sight

log = structlog.get_logger()

UNIX_PREFIX = "unix:"
BACKLOG = 16
MAX_PORT = 2**16 - 1
NOT_YET = frozenset((socket.EAI_AGAIN, socket.EAI_SYSTEM, socket.EAI_MEMORY))
"""Why a name has no address that may have one in a moment: no network yet, for one."""


_Place = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, kind and protocol of a socket, nothing of use, and what it is bound to: as getaddrinfo(3)
gives them."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host, by name or number, and a port; 0 stands for any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(listen: str) -> TcpAddress | Path:
    """What `monitoring.listen` means: an address, or the path of a Unix socket.

    Raises:
        StartupError: it means neither.
    """
    if listen.startswith(UNIX_PREFIX):
        path = Path(listen.removeprefix(UNIX_PREFIX))
        if not path.is_absolute():
            raise _senseless(listen, "the path of the socket has to begin with /")
        return path
    host, colon, port = listen.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= MAX_PORT
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not is_port or (":" in host and not is_bracketed):
        raise _senseless(listen, "expected 127.0.0.1:9464, [::1]:9464 or unix:/path")
    return TcpAddress(host[1:-1] if is_bracketed else host, int(port))


@asynccontextmanager
async def monitored(rule: Monitoring, sight: Sight) -> AsyncIterator[None]:
    """Answer where the configuration says, for as long as the context lasts.

    Raises:
        StartupError: it cannot be bound, or is not to be, and what to do.
    """
    if rule.listen is None:
        yield
        return
    # Here, because a daemon that nobody monitors starts a tenth of a second sooner without them.
    from asrd.server.http import HttpListener, is_loopback_name
    from asrd.server.pages import Pages

    address = address_of(rule.listen)
    own_name = "" if isinstance(address, Path) else str(address).lower()
    is_anybodys = rule.expose or isinstance(address, Path)
    places = [] if isinstance(address, Path) else await _places_of(address, rule)
    with _bound(address, places) as bound:
        listener = HttpListener(
            bound,
            Pages(sight).answer,
            is_own_name=lambda host: (
                is_anybodys or is_loopback_name(host) or host.lower() == own_name
            ),
            tasks=sight.hub.tasks,
        )
        log.info("monitoring_listening", address=_told(bound))
        try:
            yield
        finally:
            listener.close()


@contextmanager
def _bound(address: TcpAddress | Path, places: Sequence[_Place]) -> Iterator[socket.socket]:
    if isinstance(address, Path):
        with bound_socket(address, admission_of(Access()), setting="monitoring.listen") as bound:
            yield bound
    else:
        with _bound_tcp(address, places[0]) as bound:
            yield bound


async def _places_of(address: TcpAddress, rule: Monitoring) -> Sequence[_Place]:
    """What the host stands for, looked up in a thread: that may take seconds."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except ValueError:  # a part of it is empty, or too long
        raise _senseless(str(address), "that is no name of a host") from None
    except OSError as error:
        text = f"no address is known for it ({error.strerror})"
        if error.errno in NOT_YET:
            raise _wrong(str(address), text, Exit.BUSY) from None
        raise _senseless(str(address), text) from None
    hosts = [str(place[0]) for *_, place in found]
    if not rule.expose and not all(_is_loopback(host) for host in hosts):
        raise _senseless(
            str(address),
            "other machines could connect to it, and there is no password: choose 127.0.0.1, or "
            "set monitoring.expose = true",
        )
    return found


def _bound_tcp(address: TcpAddress, place_of: _Place) -> socket.socket:
    family, kind, protocol, _, place = place_of
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        # In use, or not there yet: it may be so in a moment, so the service manager tries again.
        is_forbidden = error.errno in (errno.EACCES, errno.EPERM)
        raise StartupError(
            f"cannot listen on {address} ({error.strerror}): choose another monitoring.listen",
            Exit.NOT_PERMITTED if is_forbidden else Exit.BUSY,
        ) from None
    return bound


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _told(bound: socket.socket) -> str:
    """The address that a socket really has."""
    name = bound.getsockname()
    return f"unix:{name}" if isinstance(name, str) else str(TcpAddress(name[0], name[1]))


def _senseless(listen: str, problem: str) -> StartupError:
    return _wrong(listen, problem, Exit.CONFIG)


def _wrong(listen: str, problem: str, exit_code: int) -> StartupError:
    return StartupError(f"monitoring.listen = {listen!r}: {problem}", exit_code)
