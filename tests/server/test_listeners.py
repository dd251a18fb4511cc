"""The socket that clients connect to, and who may have it."""

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asrd.config import Access
from asrd.errors import StartupError
from asrd.server.admission import Admission, admission_of
from asrd.server.listeners import MAX_PATH_BYTES, bound_socket, inherited_socket

ONLY_US = admission_of(Access())


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    return client


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here" / "s"
    old_mask = os.umask(0)
    try:
        with bound_socket(path, ONLY_US) as listener:
            assert mode(path) == 0o600
            assert mode(path.parent) == 0o700
            assert mode(path.with_name("s.lock")) == 0o600
            connect(path).close()
            listener.accept()[0].close()
            assert os.umask(0) == 0  # as it was
    finally:
        os.umask(old_mask)
    assert not path.exists()


def test_a_path_in_use_is_refused_and_its_owner_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bound_socket(path, ONLY_US) as listener:
        with (
            pytest.raises(StartupError, match="already running on") as told,
            bound_socket(path, ONLY_US),
        ):
            pass
        assert told.value.exit_code == 75
        connect(path).close()
        listener.accept()[0].close()


def test_the_path_is_free_again_behind_its_owner(tmp_path: Path) -> None:
    for _ in range(2):
        with bound_socket(tmp_path / "s", ONLY_US):
            pass


def test_what_a_dead_daemon_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
        dead.listen()
    path.with_name("s.lock").touch()
    with bound_socket(path, ONLY_US) as listener:
        connect(path).close()
        listener.accept()[0].close()


def test_somebody_who_answers_without_our_lock_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        with (
            pytest.raises(StartupError, match="already answers") as told,
            bound_socket(path, ONLY_US),
        ):
            pass
        assert told.value.exit_code == 75
        connect(path).close()


@pytest.mark.parametrize("kind", ["file", "folder", "link_to_file", "link_to_nothing"])
def test_what_is_no_socket_is_refused_and_untouched(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "s", tmp_path / "other"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(other)
    if kind == "link_to_file":
        other.write_text("precious")
    with pytest.raises(StartupError, match="is not a socket") as told, bound_socket(path, ONLY_US):
        pass
    assert told.value.exit_code == 64
    assert path.is_symlink() == kind.startswith("link")
    if kind in ("file", "link_to_file"):
        assert path.read_text() == "precious"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "s.lock").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(StartupError, match="cannot use") as told,
        bound_socket(tmp_path / "s", ONLY_US),
    ):
        pass
    assert told.value.exit_code == 77
    assert not (tmp_path / "elsewhere").exists()


def test_what_another_user_left_behind_and_is_not_ours_to_remove_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a sticky directory."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    with (
        pytest.raises(StartupError, match="is left over and cannot be") as told,
        bound_socket(path, ONLY_US),
    ):
        pass
    assert told.value.exit_code == 77


def test_a_path_that_is_too_long_is_told_with_both_numbers(tmp_path: Path) -> None:
    room = MAX_PATH_BYTES - len(os.fsencode(tmp_path)) - 1
    with bound_socket(tmp_path / ("é" * (room // 2) + "x" * (room % 2)), ONLY_US):
        pass
    told_so = rf"{MAX_PATH_BYTES + 1} bytes, {MAX_PATH_BYTES}"
    too_long = tmp_path / ("x" * (room + 1))
    with pytest.raises(StartupError, match=told_so) as told, bound_socket(too_long, ONLY_US):
        pass
    assert told.value.exit_code == 64


@pytest.mark.parametrize("path", ["/", ".", ""])
def test_a_path_without_a_name_is_refused(path: str) -> None:
    with (
        pytest.raises(StartupError, match="names no file") as told,
        bound_socket(Path(path), ONLY_US),
    ):
        pass
    assert told.value.exit_code == 64


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    for bits in (0o720, 0o702, 0o777):
        folder.chmod(bits)
        with (
            pytest.raises(StartupError, match="chmod 700") as told,
            bound_socket(folder / "s", ONLY_US),
        ):
            pass
        assert told.value.exit_code == 77
    folder.chmod(0o1777)  # as /tmp is: nobody removes what is not theirs
    with bound_socket(folder / "s", ONLY_US):
        pass


def test_a_place_where_nothing_can_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "s", Path("/proc/asrd/s")):
        with (
            pytest.raises(StartupError, match="place with --socket") as told,
            bound_socket(path, ONLY_US),
        ):
            pass
        assert told.value.exit_code == 77


# ── where others are admitted ─────────────────────────────────────────────────────────────────


OTHERS = Admission(ONLY_US.uids | {12_345})
ONE_GROUP = Admission(ONLY_US.uids, frozenset((12_345,)))


def test_others_can_reach_the_socket_and_not_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "made" / "s"
    with bound_socket(path, OTHERS):
        assert (mode(path), mode(path.parent)) == (0o666, 0o711)
        assert mode(path.with_name("s.lock")) == 0o600
    with bound_socket(path, ONLY_US):  # whom we admit may change between two runs
        assert mode(path) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a socket to any group")
def test_where_one_group_alone_is_admitted_the_socket_is_its(tmp_path: Path) -> None:
    path = tmp_path / "made" / "s"
    with bound_socket(path, ONE_GROUP):
        assert (mode(path), path.stat().st_gid) == (0o660, 12_345)
        assert mode(path.parent) == 0o711
    with bound_socket(path, Admission(OTHERS.uids, ONE_GROUP.gids)):
        assert mode(path) == 0o666


def test_where_the_group_is_not_ours_to_give_anybody_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with bound_socket(tmp_path / "made" / "s", ONE_GROUP):
        assert mode(tmp_path / "made" / "s") == 0o666


def test_a_directory_with_other_things_in_it_is_left_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    (folder / "diary").touch()
    with bound_socket(folder / "s", OTHERS):
        assert mode(folder) == 0o700
        assert mode(folder / "s") == 0o666
    said = capsys.readouterr().out
    assert "socket_out_of_reach" in said
    assert str(folder) in said


def test_a_socket_of_our_own_beside_it_is_not_in_its_way(tmp_path: Path) -> None:
    """Monitoring's may stand there, and leaves its lock behind."""
    folder = tmp_path / "made"
    with bound_socket(folder / "metrics.sock", ONLY_US):
        with bound_socket(folder / "s", OTHERS):
            assert mode(folder) == 0o711
        folder.chmod(0o700)
    assert {each.name for each in folder.iterdir()} == {"metrics.sock.lock", "s.lock"}
    with bound_socket(folder / "s", OTHERS):
        assert mode(folder) == 0o711


@pytest.mark.parametrize("name", ["theirs.sock", "theirs.lock"])
def test_what_is_open_to_others_beside_it_keeps_the_directory_closed(
    tmp_path: Path, name: str
) -> None:
    """It is the directory that keeps them from it."""
    folder = tmp_path / "made"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as theirs:
        if name.endswith(".sock"):
            theirs.bind(str(folder / name))
        else:
            (folder / name).touch()
        (folder / name).chmod(0o666)
        with bound_socket(folder / "s", OTHERS):
            assert mode(folder) == 0o700


def test_a_path_with_a_zero_in_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "s\0s"
    with pytest.raises(StartupError, match="names no file") as told, bound_socket(path, ONLY_US):
        pass
    assert told.value.exit_code == 64


def test_a_directory_of_the_admitted_group_is_not_in_its_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor opened to all: 0750 is what its owner gave to that group."""
    group = os.getegid()
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | 0o711)
    tmp_path.chmod(0o711)
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o750)
    os.chown(folder, -1, group)
    with bound_socket(folder / "s", admission_of(Access(groups=(group,)))):
        assert mode(folder) == 0o750
    assert "socket_out_of_reach" not in capsys.readouterr().out
    (folder / "diary").touch()
    folder.chmod(0o740)
    with bound_socket(folder / "s", admission_of(Access(groups=(group,)))):
        assert mode(folder) == 0o740
    assert "socket_out_of_reach" in capsys.readouterr().out


# ── handed over by a service manager ──────────────────────────────────────────────────────────

SAY_WHAT_CAME = """
import os, sys
from asrd.errors import StartupError
from asrd.server.listeners import inherited_socket
if sys.argv[1] == "me":
    os.environ["LISTEN_PID"] = str(os.getpid())
try:
    listener = inherited_socket()
except StartupError as error:
    print(error)
    sys.exit(error.exit_code)
assert not [name for name in os.environ if name.startswith("LISTEN_")] or sys.argv[1] != "me"
print(listener and listener.getsockname())
assert listener is None or not listener.get_inheritable()
"""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "given"))
        listener.listen()
        yield listener


def hand_over(descriptor: int, *, whose: str = "me", **environment: str) -> tuple[int, str]:
    """Start a child whose descriptor 3 is `descriptor`; returns its exit code and its words."""
    kept = os.dup(3) if _is_open(3) else None
    moved = os.dup(descriptor)
    try:
        os.dup2(moved, 3)
        done = subprocess.run(
            [sys.executable, "-c", SAY_WHAT_CAME, whose],
            env={**os.environ, **environment},
            pass_fds=[3],
            capture_output=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(moved)
        if kept is None:
            os.close(3)
        else:
            os.dup2(kept, 3)
            os.close(kept)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode().strip()


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_listening_socket_is_taken(listening: socket.socket, tmp_path: Path) -> None:
    code, said = hand_over(listening.fileno(), LISTEN_FDS="1")
    assert (code, said) == (0, str(tmp_path / "given"))


def test_what_is_meant_for_another_process_is_left(listening: socket.socket) -> None:
    assert hand_over(listening.fileno(), whose="other", LISTEN_PID="1", LISTEN_FDS="1") == (
        0,
        "None",
    )


def test_nothing_may_be_handed_over(listening: socket.socket) -> None:
    assert hand_over(listening.fileno(), LISTEN_FDS="0") == (0, "None")


@pytest.mark.parametrize("count", ["2", "many", "-1", ""])
def test_anything_but_one_socket_is_refused(listening: socket.socket, count: str) -> None:
    code, said = hand_over(listening.fileno(), LISTEN_FDS=count)
    assert code == 64
    assert "one listening Unix stream socket is expected" in said


def test_several_sockets_are_told_by_name(listening: socket.socket) -> None:
    code, said = hand_over(listening.fileno(), LISTEN_FDS="2", LISTEN_FDNAMES="asrd.socket:other")
    assert code == 64
    assert "handed over 2 descriptors (asrd.socket, other);" in said


WRONG = {
    "file": "a descriptor that is no socket",
    "datagram": "a Unix socket for datagrams",
    "internet": "an internet socket",
    "not_listening": "a socket that does not listen",
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_listening_unix_stream_socket_is_refused(tmp_path: Path, kind: str) -> None:
    family = socket.AF_INET if kind == "internet" else socket.AF_UNIX
    with (
        socket.socket(
            family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
        ) as given,
        (tmp_path / "file").open("w") as file,
    ):
        if kind == "internet":
            given.bind(("127.0.0.1", 0))
            given.listen()
        elif kind != "file":
            given.bind(str(tmp_path / "given"))
        code, said = hand_over(file.fileno() if kind == "file" else given.fileno(), LISTEN_FDS="1")
    assert code == 64
    assert f"handed over {WRONG[kind]};" in said
    assert "one listening Unix stream socket is expected" in said


def test_launchd_is_asked_where_there_is_one(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    monkeypatch.setattr("asrd.server.listeners.system_library", lambda: "libSystem")
    given = os.dup(listening.fileno())
    monkeypatch.setattr("asrd.server.listeners.activated_descriptors", lambda library: [given])
    taken = inherited_socket()
    assert taken is not None
    with taken:
        assert taken.fileno() == given
        assert taken.getsockname() == listening.getsockname()
    monkeypatch.setattr("asrd.server.listeners.activated_descriptors", lambda library: [])
    assert inherited_socket() is None


def test_without_the_variables_nothing_was_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert inherited_socket() is None
