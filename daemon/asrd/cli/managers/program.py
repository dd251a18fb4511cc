"""Which program a service is to start, and whether the service could reach it."""

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

import asrd


def running_program() -> tuple[str, ...]:
    """The asrd that runs now, as an absolute command line without arguments.

    Links are kept: what an installer moves along at an update goes on being meant.
    """
    called = Path(os.path.abspath(sys.argv[0]))  # noqa: PTH100 - resolve() would follow links
    if called.name == "asrd" and os.access(called, os.X_OK) and called.is_file():
        return (str(called),)
    return (sys.executable, "-m", "asrd")


def needed(program: str) -> tuple[Path, ...]:
    """What that program needs to be reached: itself, its interpreter, and the code of asrd."""
    paths = (Path(program), Path(sys.executable), Path(sys.base_prefix), Path(asrd.__file__).parent)
    return tuple(dict.fromkeys(each for path in paths for each in (path, path.resolve())))


def why_unreachable(
    paths: Iterable[Path], hidden_folders: Iterable[Path], *, is_other_user: bool
) -> str:
    """Why a service cannot run what needs these paths; "" where it can.

    Args:
        paths: all that it needs.
        hidden_folders: what it does not see.
        is_other_user: it runs as somebody else than who installs it.
    """
    paths = tuple(paths)
    for folder in hidden_folders:
        for path in paths:
            if path.is_relative_to(folder):
                return f"it does not see {folder}, where {path} is"
    for path in paths if is_other_user else ():
        for part in (path, *path.parents):
            if not _is_open_to_others(part):
                return f"its user may not enter {part}, which {path} needs"
    return ""


def _is_open_to_others(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IXOTH if path.is_dir() else stat.S_IROTH))
