"""The socket that clients connect to: bound by ourselves, or handed over by systemd.

Binding is done under a lock file that is held for as long as the daemon lives: whoever holds it
owns the path, so a second daemon is refused and what a dead one left behind is safely replaced.
"""

import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from asrd.errors import StartupError
from asrd.server.admission import Admission

log = structlog.get_logger()

EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
EX_NOPERM = 77

MAX_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""`sun_path` with its closing zero."""

BACKLOG = 128

OWN_DIRECTORY = 0o700
GROUPS_SOCKET = 0o660
ANYBODYS_SOCKET, PASSABLE_DIRECTORY = 0o666, 0o711
FIRST_INHERITED_FD = 3


def inherited_socket() -> socket.socket | None:
    """The listening socket that the service manager hands over (sd_listen_fds(3)), if any.

    Raises:
        StartupError: what was handed over is not one listening Unix stream socket.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "0")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # they are not our children's
    if count == "0":
        return None
    listener = _listener_at(FIRST_INHERITED_FD) if count == "1" else None
    if listener is None:
        raise StartupError(
            f"the service manager handed over {count} descriptors; one listening Unix stream "
            "socket is expected (ListenStream= with a path in the .socket unit)",
            EX_USAGE,
        )
    return listener


def _listener_at(descriptor: int) -> socket.socket | None:
    """The listening Unix stream socket that the descriptor is, or None."""
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        return None
    is_unix = listener.family == socket.AF_UNIX and listener.type == socket.SOCK_STREAM
    if is_listening and is_unix:
        return listener
    listener.close()
    return None


@contextmanager
def bound_socket(path: Path, admission: Admission) -> Iterator[socket.socket]:
    """A listening socket at `path`, mode 0600 in a 0700 directory of one's own.

    Where others are admitted they must be able to reach it: the directory becomes 0711, and the
    socket 0660 with the one group that is admitted, or 0666. Then it is who connects that decides.
    The path is removed again at the end.

    Raises:
        StartupError: the path is too long, in use by a living daemon, or not ours to use.
    """
    if not path.name:
        raise StartupError(f"{path} names no file: choose another path with --socket", EX_USAGE)
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise StartupError(
            f"the socket path has {len(os.fsencode(path))} bytes, {MAX_PATH_BYTES} is the "
            f"system's limit: choose a shorter one with --socket ({path})",
            EX_USAGE,
        )
    try:
        _prepare_directory(path.parent)
        # No link is followed: in a directory that others write to, it could lead anywhere.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        lock = os.open(path.with_name(path.name + ".lock"), flags, 0o600)
    except OSError as error:
        raise StartupError(
            f"cannot use {path.parent} for the socket ({error.strerror}): choose another "
            "place with --socket",
            EX_NOPERM,
        ) from None
    try:
        _take(lock, path)
        listener = _bind(path)
        try:
            if admission.serves_others:
                _open_up(path, admission.only_group)
            yield listener
        finally:
            listener.close()
            path.unlink(missing_ok=True)
    finally:
        os.close(lock)  # which gives the lock back; the file stays, for removing it would race


def _prepare_directory(directory: Path) -> None:
    """Make the directory if there is none; a directory that others may write to is refused."""
    directory.mkdir(mode=OWN_DIRECTORY, parents=True, exist_ok=True)
    info = directory.stat()
    others_write = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not info.st_mode & stat.S_ISVTX
    if info.st_uid not in (os.geteuid(), 0) or others_write:
        raise StartupError(
            f"{directory} belongs to somebody else or may be written by others: choose another "
            "place with --socket, or chmod 700 it",
            EX_NOPERM,
        )


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartupError(
            f"a daemon is already running on {path}: use it, or choose another path with --socket",
            EX_TEMPFAIL,
        ) from None


def _bind(path: Path) -> socket.socket:
    """Bind at `path`, replacing a socket that nobody answers at and nothing else."""
    if path.exists() or path.is_symlink():
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartupError(
                f"{path} exists and is not a socket: move it away or choose another path "
                "with --socket",
                EX_USAGE,
            )
        if _answers(path):
            raise StartupError(
                f"something else already answers on {path}: choose another path with --socket",
                EX_TEMPFAIL,
            )
        try:
            path.unlink()
        except OSError as error:  # in a sticky directory, what is another user's
            raise StartupError(
                f"{path} is left over and cannot be removed ({error.strerror}): choose another "
                "path with --socket",
                EX_NOPERM,
            ) from None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old_mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise StartupError(
            f"cannot bind {path} ({error.strerror}): choose another path with --socket", EX_NOPERM
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
    its lock. Any other is left as it is, with a word in the log where it is in the way.
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
    others = {each.name for each in directory.iterdir()} - {path.name, path.name + ".lock"}
    is_ours = directory.stat().st_uid == os.geteuid() and not others
    if is_ours and not _lets_pass(directory, only_group):
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


def _lets_pass(directory: Path, only_group: int | None) -> bool:
    """Whether those who are admitted can pass: one group, or anybody."""
    info = directory.stat()
    is_of_group = only_group is not None and info.st_gid == only_group
    return bool(info.st_mode & (stat.S_IXGRP if is_of_group else stat.S_IXOTH))
