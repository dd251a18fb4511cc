"""journald's native protocol: a datagram for each line, each value a field that it can be found by.

A datagram never waits: what journald has no room for is lost, counted, and told before the next
that it takes. Where there is no journald, lines go elsewhere.
"""

import errno
import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

SOCKET_PATH = Path("/run/systemd/journal/socket")

IDENTIFIER = "asrd"
PREFIX = "ASRD_"
"""Of every field that is ours: journald keeps names with a leading underscore for itself."""

MAX_NAME_CHARACTERS = 64
"""journald ignores fields with longer names."""

MAX_VALUE_BYTES = 2**14
MAX_ENTRY_BYTES = 2**16
"""Under what Linux lets a datagram have by default, 208 KiB, several times over."""

MESSAGE_CHARACTERS = 300

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}

Event = Mapping[str, Any]

_OWN_KEYS = ("event", "level", "timestamp")
_NO_ROOM = (errno.EAGAIN, errno.ENOBUFS)
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def is_journal(descriptor: int, journal_stream: str) -> bool:
    """Whether a descriptor is the journal's, as `$JOURNAL_STREAM` says ("device:inode")."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def entry(event: Event) -> bytes:
    """The datagram for one line.

    A value that is too long is cut in its middle, with a mark; ASRD_LEFT_OUT says how many fields
    found no room at all. A value of None is no field.
    """
    data = bytearray()
    left_out = 0
    for name, value in _fields(event):
        field = _field(name, _cut(value.encode("utf-8", "backslashreplace")))
        if len(data) + len(field) <= MAX_ENTRY_BYTES:
            data += field
        else:
            left_out += 1
    if left_out:
        data += _field(f"{PREFIX}LEFT_OUT", str(left_out).encode())
    return bytes(data)


def field_name(key: str) -> str:
    """The name of the field that has the value of a key."""
    return (PREFIX + _NOT_IN_NAMES.sub("_", key.upper()))[:MAX_NAME_CHARACTERS]


def message_of(event: Event) -> str:
    """A line for people: the event in words, then its first values."""
    parts = [str(event.get("event", "")).replace("_", " ")]
    for key, value in event.items():
        if key == "exception":
            lines = str(value).strip().splitlines()
            parts.append(lines[-1] if lines else "")
        elif key not in _OWN_KEYS and value is not None:
            parts.append(f"{key}={_text(value)}")
    text = _CONTROL.sub(" ", " ".join(parts))
    return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 1] + "…"


def _fields(event: Event) -> Iterator[tuple[str, str]]:
    yield "MESSAGE", message_of(event)
    yield "PRIORITY", str(PRIORITIES.get(str(event.get("level")), PRIORITIES["info"]))
    yield "SYSLOG_IDENTIFIER", IDENTIFIER
    yield f"{PREFIX}EVENT", str(event.get("event", ""))
    for key, value in event.items():
        if key not in _OWN_KEYS and value is not None:
            yield field_name(key), _text(value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys of another kind, a circle
        return repr(value)


def _cut(value: bytes) -> bytes:
    if len(value) <= MAX_VALUE_BYTES:
        return value
    half = MAX_VALUE_BYTES // 2 - 32  # the mark has room between
    mark = f" [{len(value) - 2 * half} bytes cut] "
    begin = value[:half].decode(errors="ignore")
    end = value[-half:].decode(errors="ignore")
    return f"{begin}{mark}{end}".encode()


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
    return b"%b=%b\n" % (name.encode(), value)


class Journal:
    """Sends lines to journald. For any thread.

    `elsewhere` takes a line while there is no journald to take it.
    """

    def __init__(self, path: Path, elsewhere: Callable[[Event], object]) -> None:
        self._path = str(path)
        self._elsewhere = elsewhere
        self._lock = threading.Lock()
        self._lost = 0
        self.lost_lines = 0
        """Since the start, told or not."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, event: Event) -> None:
        """Send a line, or lose it. Never waits, never fails."""
        with self._lock:
            if not self._tell_lost() or not self._put(event):
                self._lost += 1
                self.lost_lines += 1

    def tell_lost(self) -> None:
        """Tell how many lines were lost, if any. To be called now and then."""
        with self._lock:
            self._tell_lost()

    def close(self) -> None:
        """Send nothing any more."""
        self._socket.close()

    def _tell_lost(self) -> bool:
        """Returns whether there is room for the next."""
        if self._lost:
            lost = {"event": "log_lines_lost", "lines": self._lost, "level": "warning"}
            if not self._put(lost):
                return False
            self._lost = 0
        return True

    def _put(self, event: Event) -> bool:
        try:
            # To the path each time: a journald that was started anew has a socket of its own.
            self._socket.sendto(entry(event), self._path)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            self._elsewhere(event)
        return True
