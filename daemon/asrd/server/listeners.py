"""The socket that clients connect to: bound by ourselves, or handed over by a service manager.

Binding is done under a lock file that is held for as long as the daemon lives: whoever holds it
owns the path, so a second daemon is refused and what a dead one left behind is safely replaced.
"""

import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from asrd.errors import StartupError
from asrd.exit_codes import Exit
from asrd.server.admission import Admission
from asrd.server.launchd import activated_descriptors, system_library

log = structlog.get_logger()

MAX_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""`sun_path` with its closing zero."""

BACKLOG = 128

OWN_DIRECTORY = 0o700
GROUPS_SOCKET = 0o660
ANYBODYS_SOCKET, PASSABLE_DIRECTORY = 0o666, 0o711
FIRST_INHERITED_FD = 3
LISTENING = "a listening Unix stream socket"


def inherited_socket() -> socket.socket | None:
    """The listening socket that a service manager hands over, if any: systemd, in the way of
    sd_listen_fds(3), or launchd.

    Raises:
        StartupError: what was handed over is not one listening Unix stream socket.
    """
    descriptors, names = _handed_over()
    if not descriptors and (library := system_library()) is not None:
        descriptors = activated_descriptors(library)
    if not descriptors:
        return None
    if len(descriptors) > 1:
        raise _unexpected(f"{len(descriptors)} descriptors{names}")
    os.set_inheritable(descriptors[0], False)
    try:
        listener = socket.socket(fileno=descriptors[0])
    except OSError:
        raise _unexpected(f"a descriptor{names} that is no socket") from None
    kind = _kind_of(listener)
    if kind != LISTENING:
        listener.close()
        raise _unexpected(f"{kind}{names}")
    return listener


def _handed_over() -> tuple[Sequence[int], str]:
    """The descriptors that are meant for us, and what they are called, for people."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return (), ""
    count = os.environ.get("LISTEN_FDS", "0")
    names = os.environ.get("LISTEN_FDNAMES", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # they are not our children's
    if not (count.isascii() and count.isdigit()):
        raise _unexpected(f"{count!r} descriptors")
    told = f" ({names.replace(':', ', ')})" if names else ""
    return range(FIRST_INHERITED_FD, FIRST_INHERITED_FD + int(count)), told


def _kind_of(given: socket.socket) -> str:
    if given.family != socket.AF_UNIX:
        return "an internet socket"
    if given.type != socket.SOCK_STREAM:
        return "a Unix socket for datagrams"
    is_listening = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return LISTENING if is_listening else "a socket that does not listen"


def _unexpected(what: str) -> StartupError:
    return StartupError(
        f"the service manager handed over {what}; one listening Unix stream socket is expected "
        "(in a .socket unit: one ListenStream= with a path, and no Accept=yes)",
        Exit.USAGE,
    )


@contextmanager
def bound_socket(
    path: Path, admission: Admission, *, setting: str = "--socket"
) -> Iterator[socket.socket]:
    """A listening socket at `path`, mode 0600 in a 0700 directory of one's own.

    Where others are admitted they must be able to reach it: the directory becomes 0711, and the
    socket 0660 with the one group that is admitted, or 0666. Then it is who connects that decides.
    The path is removed again at the end. `setting` is what to choose another one with.

    Raises:
        StartupError: the path is too long, in use by a living daemon, or not ours to use.
    """
    if not path.name or "\0" in str(path):
        raise StartupError(
            f"{str(path)!r} names no file: choose another path with {setting}", Exit.USAGE
        )
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise StartupError(
            f"the socket path has {len(os.fsencode(path))} bytes, {MAX_PATH_BYTES} is the "
            f"system's limit: choose a shorter one with {setting} ({path})",
            Exit.USAGE,
        )
    try:
        _prepare_directory(path.parent, setting)
        # No link is followed: in a directory that others write to, it could lead anywhere.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        lock = os.open(path.with_name(path.name + ".lock"), flags, 0o600)
    except OSError as error:
        raise StartupError(
            f"cannot use {path.parent} for the socket ({error.strerror}): choose another "
            f"place with {setting}",
            Exit.NOT_PERMITTED,
        ) from None
    try:
        _take(lock, path, setting)
        listener = _bind(path, setting)
        try:
            if admission.serves_others:
                _open_up(path, admission.only_group)
            yield listener
        finally:
            listener.close()
            path.unlink(missing_ok=True)
    finally:
        os.close(lock)  # which gives the lock back; the file stays, for removing it would race


def _prepare_directory(directory: Path, setting: str) -> None:
    """Make the directory if there is none; a directory that others may write to is refused."""
    directory.mkdir(mode=OWN_DIRECTORY, parents=True, exist_ok=True)
    info = directory.stat()
    others_write = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not info.st_mode & stat.S_ISVTX
    if info.st_uid not in (os.geteuid(), 0) or others_write:
        raise StartupError(
            f"{directory} belongs to somebody else or may be written by others: choose another "
            f"place with {setting}, or chmod 700 it",
            Exit.NOT_PERMITTED,
        )


def _take(lock: int, path: Path, setting: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartupError(
            f"a daemon is already running on {path}: use it, or choose another path with {setting}",
            Exit.BUSY,
        ) from None


def _bind(path: Path, setting: str) -> socket.socket:
    """Bind at `path`, replacing a socket that nobody answers at and nothing else."""
    if path.exists() or path.is_symlink():
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartupError(
                f"{path} exists and is not a socket: move it away or choose another path "
                f"with {setting}",
                Exit.USAGE,
            )
        if _answers(path):
            raise StartupError(
                f"something else already answers on {path}: choose another path with {setting}",
                Exit.BUSY,
            )
        try:
            path.unlink()
        except OSError as error:  # in a sticky directory, what is another user's
            raise StartupError(
                f"{path} is left over and cannot be removed ({error.strerror}): choose another "
                f"path with {setting}",
                Exit.NOT_PERMITTED,
            ) from None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old_mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot bind {path} ({error.strerror}): choose another path with {setting}",
            Exit.NOT_PERMITTED,
        ) from None
    finally:
        os.umask(old_mask)
    listener.listen(BACKLOG)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _open_up(path: Path, only_group: int | None) -> None:
    """Let others reach the socket: one group, or anybody.

    The directory is opened for passing through if it is ours and holds nothing but the socket and
    its lock, and such sockets and locks as are closed to others (what monitoring reads, say). Any
    other is left as it is, with a word in the log where it is in the way.
    """
    mode = ANYBODYS_SOCKET
    if only_group is not None:
        try:
            os.chown(path, -1, only_group)
            mode = GROUPS_SOCKET
        except PermissionError:  # we are not in it: then the check of who connects does it alone
            log.info("socket_open_to_all", reason=f"cannot give the socket to group {only_group}")
    path.chmod(mode)
    directory = path.parent
    is_ours = directory.stat().st_uid == os.geteuid()
    holds_nothing_else = all(_may_be_passed(each, path) for each in directory.iterdir())
    if is_ours and holds_nothing_else and not _lets_pass(directory, only_group):
        directory.chmod(directory.stat().st_mode | PASSABLE_DIRECTORY)
    closed = [each for each in directory.absolute().parents if not _lets_pass(each, only_group)]
    if not _lets_pass(directory, only_group):
        closed.insert(0, directory)
    if closed:
        log.warning(
            "socket_out_of_reach",
            directory=str(closed[0]),
            advice="others are admitted but cannot pass here: chmod 711 it, or choose another "
            "place with --socket",
        )


def _may_be_passed(entry: Path, own: Path) -> bool:
    """Whether others may pass by an entry of the directory of our `own` socket."""
    if entry.name in (own.name, own.name + ".lock"):
        return True
    try:
        mode = entry.lstat().st_mode
    except FileNotFoundError:  # it has gone meanwhile
        return True
    is_lock = stat.S_ISREG(mode) and entry.name.endswith(".lock")
    return (is_lock or stat.S_ISSOCK(mode)) and not mode & (stat.S_IRWXG | stat.S_IRWXO)


def _lets_pass(directory: Path, only_group: int | None) -> bool:
    """Whether those who are admitted can pass: one group, or anybody."""
    info = directory.stat()
    is_of_group = only_group is not None and info.st_gid == only_group
    return bool(info.st_mode & (stat.S_IXGRP if is_of_group else stat.S_IXOTH))
