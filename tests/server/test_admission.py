"""Who is at the other end, and whether it is served."""

import grp
import os
import pwd
import socket
from pathlib import Path

import pytest

from asrd.config import Access
from asrd.errors import StartupError
from asrd.server.admission import Admission, admission_of
from asrd.server.credentials import Credentials, credentials_of


def peer(uid: int, *gids: int) -> Credentials:
    return Credentials(uid, frozenset(gids))


def test_the_daemons_own_user_and_root_are_always_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    admission = admission_of(Access())
    served = [admission.admits(peer(uid, uid, 4)) for uid in (0, 1000, 1001, 65534)]
    assert served == [True, True, False, False]
    assert (admission.serves_others, admission.only_group) == (False, None)
    assert not admission_of(Access(uids=(1000, 0))).serves_others


def test_users_and_groups_are_named_by_number_or_name() -> None:
    user, group = pwd.getpwall()[-1], grp.getgrall()[-1]
    by_name = admission_of(Access(uids=(user.pw_name,), groups=(group.gr_name,)))
    assert by_name == admission_of(Access(uids=(user.pw_uid,), groups=(group.gr_gid,)))
    assert by_name.admits(peer(user.pw_uid))
    assert by_name.admits(peer(54_321, 1, group.gr_gid))  # whichever of its groups it is
    assert not by_name.admits(peer(54_321, 1))


def test_one_group_alone_may_be_told_from_all_else() -> None:
    assert admission_of(Access(groups=(12_345,))).only_group == 12_345
    assert admission_of(Access(groups=(12_345, 12_346))).only_group is None
    assert admission_of(Access(uids=(12_345,), groups=(12_345,))).only_group is None
    assert admission_of(Access(uids=(12_345,))).serves_others


@pytest.mark.parametrize(
    ("access", "told"),
    [
        (Access(uids=("nobody-has-this",)), r"access\.uids: there is no user 'nobody-has-this'"),
        (Access(groups=("nor-this",)), r"access\.groups: there is no group 'nor-this'"),
    ],
)
def test_a_name_that_nobody_has_is_told(access: Access, told: str) -> None:
    with pytest.raises(StartupError, match=told) as error:
        admission_of(access)
    assert error.value.exit_code == 78


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        told = credentials_of(ours)
    assert told.uid == os.geteuid()
    assert os.getegid() in told.gids


def _connect_as(path: Path, uid: int, gid: int, groups: list[int]) -> int:
    """A child of another user connects and waits; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(path))
        client.recv(1)
    finally:
        os._exit(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_users_supplementary_groups_are_told(tmp_path: Path) -> None:
    for each in (tmp_path, *tmp_path.parents[:-2]):
        each.chmod(0o755)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        child = _connect_as(path, 12_345, 12_346, [12_347, 12_348])
        accepted, _ = listener.accept()
        with accepted:
            told = credentials_of(accepted)
    os.waitpid(child, 0)
    assert (told.uid, 12_346 in told.gids) == (12_345, True)
    if told.gids == {12_346}:
        pytest.skip("this kernel does not tell supplementary groups")
    assert told.gids == {12_346, 12_347, 12_348}
    assert Admission(frozenset(), frozenset((12_348,))).admits(told)
