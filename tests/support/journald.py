"""A journald that keeps what it is sent, and reads it as the protocol's description says."""

import socket
from pathlib import Path
from types import TracebackType


def read_entry(datagram: bytes) -> dict[str, str]:
    """The fields of one datagram. Raises ValueError for what is none, or names that are none."""
    fields: dict[str, str] = {}
    rest = datagram
    while rest:
        line, newline, rest = rest.partition(b"\n")
        if not newline:
            raise ValueError(f"{line!r} does not end")
        name, equals, value = line.partition(b"=")
        if not equals:
            size, rest = int.from_bytes(rest[:8], "little"), rest[8:]
            value, newline, rest = rest[:size], rest[size : size + 1], rest[size + 1 :]
            if len(value) != size or newline != b"\n":
                raise ValueError(f"{name!r} is cut")
        text = name.decode("ascii")
        has_right_letters = all(each.isupper() or each.isdigit() or each == "_" for each in text)
        if not has_right_letters or not text[:1].isupper() or len(text) > 64:
            raise ValueError(f"{text!r} is no name of a field")
        fields[text] = value.decode()
    return fields


class Journald:
    """A socket as journald's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def entries(self) -> list[dict[str, str]]:
        """What has come since the last look."""
        found = []
        while True:
            try:
                found.append(read_entry(self._socket.recv(2**20)))
            except BlockingIOError:
                return found

    def __enter__(self) -> "Journald":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
