"""Secrets read from where the configuration says that they are."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from asrd.configuring.layers import Value, Values
from asrd.configuring.schema import Path, dotted, is_setting
from asrd.secrets import Secret

MAX_SECRET_BYTES = 2**16


class _Unreadable(Exception):
    """A sentence that says why, and nothing of what is in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Values with the secrets in their places, and what is to be told."""

    values: Values
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def is_reference(path: Path, value: Any) -> bool:
    """Whether a value says where a secret is; whether it says so rightly is seen later."""
    return is_setting(path) and isinstance(value, Mapping)


def resolved(values: Values, *, is_read: bool = True) -> Resolved:
    """Every `{ file = ... }` and `{ credential = ... }` read. Without `is_read` none is opened."""
    found: dict[Path, Value] = dict(values)
    problems, warnings = [], []
    for path, value in values.items():
        if not is_reference(path, value.value):
            continue
        place = f"{value.origin}: {dotted(path)}"
        try:
            name = _name_of(value.value)
            file = _file_of(*name) if is_read else None
            text, is_public = _read(file) if file is not None else ("", False)
        except _Unreadable as problem:
            problems.append(f"{place}: {problem}")
            del found[path]
            continue
        if is_public:
            warnings.append(f"{place}: others can read {file}: chmod o= {file}")
        found[path] = Value(Secret(text), value.origin)
    return Resolved(values=found, problems=tuple(problems), warnings=tuple(warnings))


def _name_of(reference: Mapping[str, Any]) -> tuple[str, str]:
    """`file` or `credential`, and which."""
    match reference:
        case {"file": str(name), **more} if not more:
            if not name.startswith(("/", "~/")) or "\0" in name:
                raise _Unreadable(f"file {name!r} is no absolute path")
            return "file", name
        case {"credential": str(name), **more} if not more:
            if not name or "/" in name or "\0" in name or name in (".", ".."):
                raise _Unreadable(f"credential {name!r} is no name of one")
            return "credential", name
        case _:
            raise _Unreadable('expected { file = "/path" } or { credential = "name" } and no more')


def _file_of(kind: str, name: str) -> FilePath:
    if kind == "file":
        return FilePath(os.path.expanduser(name))  # noqa: PTH111 - leaves a home that there is not
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise _Unreadable(
            f"there is no credential {name!r}: $CREDENTIALS_DIRECTORY is not set; systemd sets it "
            f"with LoadCredential={name}:/path"
        )
    return FilePath(folder) / name


def _read(path: FilePath) -> tuple[str, bool]:
    """What is in a file, without the newline at its end, and whether others can read it."""
    try:
        # Without waiting: a pipe that nobody writes to would hold up the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _Unreadable(f"{path} is no regular file")
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise _Unreadable(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_SECRET_BYTES:
        raise _Unreadable(f"{path} is larger than {MAX_SECRET_BYTES} bytes, and no secret")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _Unreadable(f"{path} is no UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise _Unreadable(f"{path} is empty")
    return text, bool(status.st_mode & stat.S_IROTH)
