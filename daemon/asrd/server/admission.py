"""Who may connect: the daemon's own user, root, and whom the configuration names.

Names are looked up once, at the start: a name service may take its time, or be down.
"""

import grp
import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from asrd.config import Access
from asrd.errors import StartupError
from asrd.exit_codes import Exit
from asrd.server.credentials import Credentials

ROOT = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """The users and groups that are served. Own uid and root are always among the users."""

    uids: frozenset[int]
    gids: frozenset[int] = frozenset()

    @property
    def serves_others(self) -> bool:
        """Whether anybody but the daemon's own user and root is served."""
        return bool(self.gids or self.uids - _always())

    @property
    def only_group(self) -> int | None:
        """The one group that is served, where no user is served beside it."""
        return next(iter(self.gids)) if len(self.gids) == 1 and self.uids == _always() else None

    def admits(self, peer: Credentials) -> bool:
        """Whether that peer is served."""
        return peer.uid in self.uids or not self.gids.isdisjoint(peer.gids)


def admission_of(access: Access) -> Admission:
    """Whom a configuration admits.

    Raises:
        StartupError: a name in it is nobody's.
    """
    users = _numbers(access.uids, "uids", "user", lambda name: pwd.getpwnam(name).pw_uid)
    groups = _numbers(access.groups, "groups", "group", lambda name: grp.getgrnam(name).gr_gid)
    return Admission(_always() | frozenset(users), frozenset(groups))


def _numbers(
    named: Iterable[int | str], key: str, what: str, look_up: Callable[[str], int]
) -> Iterable[int]:
    for name in named:
        if isinstance(name, int):
            yield name
            continue
        try:
            yield look_up(name)
        except KeyError:
            raise StartupError(
                f"access.{key}: there is no {what} {name!r} on this machine", Exit.CONFIG
            ) from None


def _always() -> frozenset[int]:
    return frozenset((os.geteuid(), ROOT))
