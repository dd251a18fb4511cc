"""The files of a service: written at once, known again, and never taken from who changed them.

The first line that `asrd service install` adds to each names a digest of all the rest. So a file
that nobody has touched is known as ours, whichever version wrote it.
"""

import contextlib
import difflib
import hashlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from asrd.cli.exits import CommandError, Exit

MAX_FILE_BYTES = 65536
"""A service's file is one or two thousand bytes; more is nobody's service."""

MODE = 0o644

MACHINES_FOLDER = Path("/etc")
"""Where files are the whole machine's."""

_ASKING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""To open a FIFO with it does not wait for somebody who writes."""

_NOTE = "Written by `asrd service install`; sha256 of the rest: "
_DIGEST = re.compile(re.escape(_NOTE) + r"([0-9a-f]{64})")


class Found(Enum):
    """What stands where a file is to be written."""

    NOTHING = "nothing"
    SAME = "same"
    OURS = "ours"
    """Untouched since an installation wrote it."""
    CHANGED = "changed"
    """By hand, or not ours at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """A file and what is to stand in it, the note of ours included."""

    path: Path
    text: str

    def look(self) -> Found:
        """What stands there. Raises CommandError where that cannot be read."""
        text = read(self.path)
        if text is None:
            return Found.NOTHING
        if text == self.text and not self.path.is_symlink():
            return Found.SAME
        return Found.OURS if is_ours(self.path) else Found.CHANGED

    def difference(self) -> str:
        """What writing it would change, as `diff -u` shows it."""
        there = (read(self.path) or "").splitlines()
        lines = difflib.unified_diff(
            there, self.text.splitlines(), str(self.path), "asrd service install", lineterm=""
        )
        return "\n".join(lines)

    def write(self) -> None:
        """Write it whole or not at all. Raises CommandError."""
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=folder)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(self.text)
                    file.flush()
                    os.fchmod(descriptor, MODE)
                    os.fsync(descriptor)
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise refused("cannot write", self.path, error) from error


def signed(text: str) -> str:
    """The text of a template with our note: a comment at its head, or behind XML's own line."""
    note = f"{_NOTE}{_digest(text)}"
    if not text.startswith("<?xml"):
        return f"# {note}\n{text}"
    head, _, rest = text.partition("\n")
    return f"{head}\n<!-- {note} -->\n{rest}"


def is_ours(path: Path) -> bool:
    """Whether an installation wrote it and nobody has touched it since."""
    text = None if path.is_symlink() else read(path)
    lines = (text or "").splitlines(keepends=True)
    for place, line in enumerate(lines[:2]):
        found = _DIGEST.search(line)
        if found:
            return found[1] == _digest("".join(lines[:place] + lines[place + 1 :]))
    return False


def read(path: Path) -> str | None:
    """What stands in it as text; None where there is nothing. Raises CommandError."""
    found = read_bytes(path)
    return None if found is None else found.decode(errors="replace")


def read_bytes(path: Path) -> bytes | None:
    """What stands in it; None where there is nothing. Raises CommandError.

    A link to nowhere, or to what is no file, is something that must not be written over unasked,
    and has nothing in it.
    """
    try:
        descriptor = os.open(path, _ASKING)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                with open(descriptor, "rb", closefd=False) as file:
                    return file.read(MAX_FILE_BYTES)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return b"" if path.is_symlink() else None
    except OSError as error:
        raise refused("cannot read", path, error) from error
    if path.is_symlink():
        return b""
    raise CommandError(f"{path} is no regular file", Exit.CONFIG, "remove it yourself")


def remove(path: Path) -> None:
    """Remove it, and its folder where that was a drop-in's and is empty. Raises CommandError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise refused("cannot remove", path, error) from error
    if path.parent.suffix == ".d":
        with contextlib.suppress(OSError):  # it holds somebody else's
            path.parent.rmdir()


def refused(what: str, path: Path, error: OSError) -> CommandError:
    """What an error of the file system becomes: without permission 77, else 74."""
    if isinstance(error, PermissionError):
        remedy = "see to whom it belongs, and its folder: it should be yours"
        if path.is_relative_to(MACHINES_FOLDER):
            remedy = "run it with sudo, or with --user for a service of your own"
        return CommandError(f"{what} {path}: {error.strerror}", Exit.NOT_PERMITTED, remedy)
    return CommandError(
        f"{what} {path}: {error.strerror}", Exit.IO, "make room, or put it right by hand"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
