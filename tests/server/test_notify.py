"""Telling the service manager, on real datagram sockets."""

import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asrd.server.notify import ServiceManager
from support.service_manager import HearingManager, hearing_manager


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[HearingManager]:
    with hearing_manager(tmp_path) as hearing:
        yield hearing


@contextmanager
def told_at(address: object, **more: str) -> Iterator[ServiceManager]:
    manager = ServiceManager({"NOTIFY_SOCKET": str(address), **more})
    try:
        yield manager
    finally:
        manager.close()


def test_each_message_is_one_datagram(heard: HearingManager) -> None:
    with told_at(heard.path) as manager:
        before_us = time.monotonic_ns() // 1000
        manager.ready()
        manager.status("echo ready; 0 streams")
        manager.alive()
        manager.reloading()
        manager.reloaded()
        manager.stopping()
        ready, status, alive, reloading, reloaded, stopping = heard.drain()
        assert (ready, reloaded, stopping) == ("READY=1", "READY=1", "STOPPING=1")
        assert (status, alive) == ("STATUS=echo ready; 0 streams", "WATCHDOG=1")
        first, _, moment = reloading.partition("\nMONOTONIC_USEC=")
        assert first == "RELOADING=1"
        assert before_us <= int(moment) <= time.monotonic_ns() // 1000


def test_before_it_is_ready_the_manager_knows_of_no_reload(heard: HearingManager) -> None:
    with told_at(heard.path) as manager:
        manager.reloading()
        manager.reloaded()
        assert heard.drain() == []


def test_a_status_cannot_begin_another_message(heard: HearingManager) -> None:
    with told_at(heard.path) as manager:
        manager.status("model\nMAINPID=1\udc80")
        assert heard.drain() == ["STATUS=model?MAINPID=1?"]


@pytest.mark.skipif(sys.platform != "linux", reason="the abstract namespace is Linux's")
def test_an_address_may_be_abstract() -> None:
    name = f"asrd-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        channel.settimeout(5)
        with told_at(f"@{name}") as manager:
            manager.ready()
            assert channel.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "1000000"}])
def test_without_a_manager_nothing_is_said(environment: dict[str, str]) -> None:
    manager = ServiceManager(environment)
    with capture_logs() as lines:
        manager.ready()
        manager.alive()
        manager.close()
    assert not lines
    assert manager.watchdog_s is None


def test_a_manager_that_does_not_read_costs_messages_and_no_time(heard: HearingManager) -> None:
    sent = 1
    while sent:  # by several: what one may have under way can be less than what the manager holds
        sent = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
            other.setblocking(False)
            while other.sendto(b"x" * 100, str(heard.path)):
                sent += 1
    started = time.monotonic()
    with capture_logs() as lines, told_at(heard.path) as manager:
        for _ in range(3):
            manager.alive()
        heard.drain()
        manager.ready()
        assert heard.drain()[-1] == "READY=1"
    assert time.monotonic() - started < 1.0
    assert [line["event"] for line in lines] == ["notify_failed"]  # once


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    for address in (tmp_path / "nobody", "/" + "x" * 200):
        with capture_logs() as lines, told_at(address) as manager:
            manager.ready()
            manager.stopping()
        assert [line["event"] for line in lines] == ["notify_failed"]


def test_it_watches_only_the_process_it_names() -> None:
    own = str(os.getpid())
    for usec, pid, watchdog_s in (
        ("1500000", own, 1.5),
        ("1500000", None, 1.5),
        ("1500000", "1", None),
        ("0", own, None),
        ("soon", own, None),
        ("-5", own, None),
        ("", own, None),
    ):
        named = {} if pid is None else {"WATCHDOG_PID": pid}
        with told_at("/nowhere", WATCHDOG_USEC=usec, **named) as manager:
            assert manager.watchdog_s == watchdog_s, (usec, pid)


def test_children_inherit_none_of_it() -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    ServiceManager(environment).close()
    assert environment == {"HOME": "/"}
