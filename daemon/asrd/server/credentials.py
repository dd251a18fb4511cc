"""Who is at the other end of a Unix socket, as the kernel attests it.

The kernel noted it when the peer connected (or bound), so nothing that the peer does later changes
it. No name service is asked: that may block, and the loop calls this.
"""

import socket
import struct
import sys
from dataclasses import dataclass

_UCRED = struct.Struct("=iII")
"""Linux, struct ucred: pid, uid, gid."""

_SO_PEERGROUPS = 59
"""Linux from 4.13 on, asm-generic/socket.h: the supplementary groups, an array of gid_t."""

_MAX_OPTION_BYTES = 1024
"""What Python takes of an option: 256 groups. Who is in more counts by the primary group alone."""

_LOCAL_PEERCRED = 0x001
_XUCRED = struct.Struct("=IIh2x16I")
"""macOS, sys/ucred.h, struct xucred: version, uid, number of groups, the groups, primary first."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and all of its groups."""

    uid: int
    gids: frozenset[int]


def credentials_of(connection: socket.socket) -> Credentials:
    """Who opened the other end. Raises OSError when the connection is gone."""
    if sys.platform == "darwin":
        raw = connection.getsockopt(0, _LOCAL_PEERCRED, _XUCRED.size)
        _, uid, count, *groups = _XUCRED.unpack(raw)
        return Credentials(uid, frozenset(groups[: max(0, count)]))
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, gid = _UCRED.unpack(raw)
    return Credentials(uid, frozenset((gid, *_supplementary(connection))))


def _supplementary(connection: socket.socket) -> tuple[int, ...]:
    """The supplementary groups; none where the kernel does not tell them."""
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION_BYTES)
    except OSError:  # an older kernel, or more groups than can be taken
        return ()
    return struct.unpack(f"={len(raw) // 4}I", raw)
