"""Who is at the other end of a socket: what the kernel noted, and nothing that the peer says."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence

import pytest

from asrd.server import credentials
from asrd.server.credentials import Credentials, credentials_of

ROOT_ONLY = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root becomes somebody else"
)
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="macOS has one structure for all")

CONNECT = """
import os, socket, sys
name, uid, gid, groups, when = sys.argv[1:]
def become():
    os.setgroups([int(group) for group in groups.split()])
    os.setgid(int(gid))
    os.setuid(int(uid))
if when == "before":
    become()
client = socket.socket(socket.AF_UNIX)
client.connect("\\0" + name)
if when == "after":
    become()
print(flush=True)
sys.stdin.read()
"""


def of_a_child(
    uid: int, gid: int, groups: Sequence[int] = (), *, becomes_so: str = "before"
) -> Credentials:
    """The credentials of a child that becomes somebody else before or after it connects."""
    name = f"asrd-test-credentials-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)  # a name without a file: everybody may connect
        listener.listen()
        whose = [str(uid), str(gid), " ".join(map(str, groups))]
        with subprocess.Popen(
            [sys.executable, "-c", CONNECT, name, *whose, becomes_so],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"\n"
            with listener.accept()[0] as accepted:
                return credentials_of(accepted)


def test_a_client_of_ours_is_us_with_all_of_our_groups() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = credentials_of(ours)
    assert found.uid == os.getuid()
    assert found.gids == {os.getgid(), *os.getgroups()}


@ROOT_ONLY
def test_a_client_of_somebody_else_is_he() -> None:
    found = of_a_child(12_345, 12_346, [12_347, 12_348])
    assert found == Credentials(12_345, frozenset((12_346, 12_347, 12_348)))


@ROOT_ONLY
def test_what_a_client_becomes_later_changes_nothing() -> None:
    found = of_a_child(12_345, 12_346, [12_347], becomes_so="after")
    assert found.uid == os.geteuid()
    assert not found.gids & {12_346, 12_347}


@ROOT_ONLY
def test_who_is_in_more_groups_than_can_be_taken_counts_by_the_primary_one() -> None:
    most = [*range(20_000, 20_256)]
    assert of_a_child(12_345, 12_346, most).gids == {12_346, *most}
    assert of_a_child(12_345, 12_346, [*most, 20_256]).gids == {12_346}


@LINUX_ONLY
def test_a_kernel_that_does_not_tell_the_groups_tells_the_primary_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "_SO_PEERGROUPS", 0xFFFF)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert credentials_of(ours).gids == {os.getgid()}


def test_a_connection_that_is_gone_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        credentials_of(ours)


def test_macos_tells_all_in_one_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As sys/ucred.h has it: 76 bytes, of sixteen groups only the first so many count."""

    class Mac:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option, size) == (0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED
            groups = [20, 12, 61, *[999] * 13]
            return struct.pack("=IIhxx16I", 0, 501, 3, *groups)

    monkeypatch.setattr(sys, "platform", "darwin")
    found = credentials_of(Mac())  # type: ignore[arg-type]
    assert found == Credentials(501, frozenset((20, 12, 61)))
