"""journald's native protocol: a datagram for each line, each value a field that it can be found by.

journald takes some ten datagrams at once and the next when it has read one. So a thread sends them
and waits for it; what finds no room before that thread is lost, counted, and told where it is
missing. Where there is no journald, lines go elsewhere.
"""

import json
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from asrd.controls import without_controls
from asrd.server.log_backlog import Backlog

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
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9_]")


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
    text = without_controls(" ".join(parts), " ")
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
    """Sends lines to journald. For any thread: a thread of its own waits for the socket.

    `elsewhere` takes a line while there is no journald to take it.
    """

    def __init__(self, path: Path, elsewhere: Callable[[Event], object]) -> None:
        self._path = str(path)
        self._elsewhere = elsewhere
        self._backlog: Backlog[tuple[bytes, Event]] = Backlog()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        threading.Thread(target=self._run, name="journal", daemon=True).start()

    @property
    def lost_lines(self) -> int:
        """Since the start, told or not."""
        return self._backlog.lost_lines

    def send(self, event: Event) -> None:
        """Let a line wait to be sent, or lose it. Never waits."""
        data = entry(event)
        self._backlog.put((data, _kept(event)), len(data))

    def drain(self, patience_s: float) -> bool:
        """Wait until all is sent, and for so long at the most; returns whether it is."""
        return self._backlog.drain(patience_s)

    # ── in its thread ─────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while True:
            taken = self._backlog.take()
            for data, event in taken.lines:
                self._put(data, event)
            if taken.dropped:
                lost = {"event": "log_lines_lost", "lines": taken.dropped, "level": "warning"}
                self._put(entry(lost), lost)

    def _put(self, data: bytes, event: Event) -> None:
        try:
            # To the path each time: a journald that was started anew has a socket of its own.
            self._socket.sendto(data, self._path)
        except OSError:
            self._put_elsewhere(event)

    def _put_elsewhere(self, event: Event) -> None:
        try:
            self._elsewhere(event)
        except Exception:  # noqa: BLE001 - a value that cannot be written: it costs its line
            self._backlog.lose(1)


def _kept(event: Event) -> Event:
    """The line with its values cut as its datagram has them: what waits is bounded by that."""
    return {
        key: _cut(value.encode("utf-8", "backslashreplace")).decode()
        if isinstance(value, str) and len(value) * 4 > MAX_VALUE_BYTES
        else value
        for key, value in event.items()
    }
