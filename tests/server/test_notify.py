"""Telling the service manager, on real datagram sockets."""

import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asrd.server.notify import notify


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """A socket that a service manager would read from, not bound yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        yield channel


def test_a_message_is_one_datagram(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notify("READY=1")
    notify("STOPPING=1")
    assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.skipif(sys.platform != "linux", reason="the abstract namespace is Linux's")
def test_an_address_may_be_abstract(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"asrd-test-{secrets.token_hex(8)}"
    manager.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    notify("READY=1")
    assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, ""])
def test_without_a_manager_nothing_is_said(
    address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    with capture_logs() as lines:
        notify("READY=1")
    assert not lines


def test_a_manager_that_does_not_read_costs_the_message_and_no_time(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    manager.bind(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with suppress(BlockingIOError):
            while other.sendto(b"x" * 100, path):
                pass
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    started = time.monotonic()
    with capture_logs() as lines:
        notify("READY=1")
    assert time.monotonic() - started < 1.0
    assert [line["event"] for line in lines] == ["notify_failed"]


def test_a_manager_that_is_gone_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (tmp_path / "nobody", Path("/" + "x" * 200)):
        monkeypatch.setenv("NOTIFY_SOCKET", os.fspath(address))
        with capture_logs() as lines:
            notify("READY=1")
        assert [line["event"] for line in lines] == ["notify_failed"]
