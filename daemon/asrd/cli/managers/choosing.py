"""Which service manager this machine has."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from asrd.cli.exits import CommandError, Exit
from asrd.cli.managers.base import Manager, Scope


def choose(
    scope: Scope | None,
    *,
    platform: str = sys.platform,
    environment: Mapping[str, str] = os.environ,
) -> Manager:
    """The manager of this machine, for a scope: the user's own, for root the whole machine.

    Raises:
        CommandError: this system has none that asrd knows, or not with that scope.
    """
    is_root = os.geteuid() == 0
    if platform == "darwin":
        from asrd.cli.managers.launchd import Launchd

        if scope is Scope.SYSTEM or (scope is None and is_root):
            raise CommandError(
                "on macOS asrd is an agent of the user who is logged in",
                Exit.USAGE,
                "run it as that user, without --system",
            )
        return Launchd(home=Path.home(), uid=os.geteuid())
    if not platform.startswith("linux"):
        raise CommandError(
            f"asrd knows no service manager of {platform}",
            Exit.UNAVAILABLE,
            "have yours run `asrd serve`",
        )
    from asrd.cli.managers.systemd import Systemd

    scope = scope or (Scope.SYSTEM if is_root else Scope.USER)
    return Systemd.of(scope, environment, home=Path.home(), uid=os.geteuid())
